"""Portrait encoding, rendering of keypoints, and composition of video frames."""
