"""Who may ask what of Orthanc's port; standard library only, since it stands where nothing else can be imported."""
