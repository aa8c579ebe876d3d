"""Runs the whole service on one machine, for `scripts/serve` and `scripts/demo`; the parts are known by command only."""
