"""A site's scanners and machines: CT calibrations, and what they are made of; engines get them in their own form."""
