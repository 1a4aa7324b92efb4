"""Compact networks for a bundle of a few megabytes, with the roles and calls of the published networks.

The feature contains the pixels of the portrait, which are warped, not decoded; only content that no warp can provide
(the inside of a closed mouth) is painted. There are 21 keypoints, with lips and lids at LivePortrait's indices, so that
all driving formulas apply.
"""
