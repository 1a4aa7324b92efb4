"""Small networks for a bundle of a few megabytes: the same roles and calls as the published ones, other insides.

The pixels of the portrait travel inside its feature and are warped, not decoded; only what no warp can know (the
inside of a mouth that was closed) is painted. Keypoints are 21, with lips and lids where LivePortrait has them, so
that every formula of driving holds.
"""
