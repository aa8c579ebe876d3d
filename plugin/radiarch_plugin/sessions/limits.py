"""Bounds of what a session takes that no site changes; those that it does are in the plugin's settings."""

MB = 1 << 20
MAX_UPLOAD_BYTES = 128 * MB
"""Of one request: Orthanc holds a body whole, and beyond some 100 MB takes far more than its share of time for it."""
MAX_INSTANCE_BYTES = 256 * MB
"""Of one object, unpacked; workers read no larger ones."""
