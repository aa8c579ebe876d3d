"""Runs the whole service on one machine, for `scripts/serve` and `scripts/demo`; its parts are known as commands only."""
