"""`scripts/demo`: the main job from a structure set to a dose in the PACS, shown from beginning to end."""
