"""From a user's request to a run that can be queued, or the reason why not; nothing is stored here."""
