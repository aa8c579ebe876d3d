"""The plugin inside Orthanc: it decides and records; it never computes dose."""
