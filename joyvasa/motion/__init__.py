"""Motion of a head: its sequence and file, how it is sampled from sound, and how it drives keypoints."""
