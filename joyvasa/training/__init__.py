"""Training of the motion generator: data sets, losses, the loop, checkpoints and what they become."""
