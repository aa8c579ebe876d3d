"""Tuning objectives until goals are met: rules and corrections, the same for every modality; solving is elsewhere."""
