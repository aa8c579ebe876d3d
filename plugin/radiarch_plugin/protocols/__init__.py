"""Planning protocols: those in use, and which one fits; their files are read by the contract."""
