"""How the built-in bundle `sample` is made: from still portraits, a few videos and text-to-speech.

A face mesh (MediaPipe's, Apache-2.0) is the teacher. It turns each portrait into a head that can be turned and that
can speak; pictures of it, with keypoints and motion known exactly, are what the compact networks learn from.
"""
