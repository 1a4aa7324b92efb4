"""Networks of MediaPipe that detect faces and their landmarks."""
