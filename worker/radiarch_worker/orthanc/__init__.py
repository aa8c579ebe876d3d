"""Orthanc as a worker meets it: fetching inputs, storing results; what objects mean is not known here."""
