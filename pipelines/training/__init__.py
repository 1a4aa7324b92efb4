"""Training of the motion generator: one process or Ray Train."""
