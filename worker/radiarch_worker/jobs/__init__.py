"""What the queue names: one attempt at a run from fetch to store; the physics lives in the other packages."""
