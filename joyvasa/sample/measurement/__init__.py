"""How good the bundle `sample` is, on portraits, recordings and videos that its training never saw.

The whole chain makes the videos, with the bundle's own detector, motion extractor, sound encoder and diffusion. The
face mesh that was the teacher looks at them afterwards, and only to measure.
"""
