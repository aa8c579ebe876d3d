"""Runs the whole service on one machine, for `scripts/serve` and `scripts/demo`, from the commands of its parts."""
