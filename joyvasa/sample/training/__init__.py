"""Training of the built-in bundle `sample` from still portraits, a few videos and synthetic speech.

MediaPipe's face mesh (Apache-2.0) is the teacher. It turns each portrait into a head that can move and speak; the
compact networks learn from pictures of this head, whose keypoints and motion are exact.
"""
