"""Portraits become features, keypoints become pictures, pictures become frames of a video."""
