"""What Orthanc has, kept so that it is listed and searched at once."""
