"""Head motion: sequences and files, sampling from sound, and driving of keypoints."""
