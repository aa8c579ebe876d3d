"""Beam data of a site's own machine from what was measured in water; plans are no matter of this room."""
