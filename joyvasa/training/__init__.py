"""Training of the motion generator: data sets, losses, the training loop, checkpoints and their export."""
