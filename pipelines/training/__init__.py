"""Training runs of the motion generator, in one process or with Ray Train."""
