"""Planning with photons: apertures, their leaves and MU; what every modality shares is in `planning`."""
