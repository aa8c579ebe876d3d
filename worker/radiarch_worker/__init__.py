"""The worker: runs planning jobs; it owns nothing and decides nothing about plans' states."""
