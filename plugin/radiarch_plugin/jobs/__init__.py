"""Getting runs done: the reconcile loop, its decisions, and the queue; what a run is made of lives elsewhere."""
