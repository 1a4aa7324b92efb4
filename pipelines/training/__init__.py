"""Training runs of the motion generator, in one process or with Ray Train."""

RUN_FILE = "train.yaml"  # marks the folder of a training run
