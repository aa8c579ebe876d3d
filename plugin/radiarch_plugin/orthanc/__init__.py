"""Orthanc as the plugin meets it: its REST callback and its REST API; what is asked for lives elsewhere."""
