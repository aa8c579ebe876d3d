"""Dose engines behind adapters of our own; each settles its coordinates and units inside its folder."""
