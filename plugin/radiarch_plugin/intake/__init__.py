"""What arrives in Orthanc, and what is made of it; requests of users live in `requests`."""
