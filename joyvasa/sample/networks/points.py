"""Which keypoint is where. Lips and lids have the numbers that LivePortrait gives them."""

from __future__ import annotations

KEYPOINTS = 21

FOREHEAD, CHIN, NOSE_TIP, NOSE_BRIDGE, BROW_MIDDLE = 0, 1, 2, 10, 18
RIGHT_JAW, LEFT_JAW, RIGHT_BROW, LEFT_BROW, RIGHT_SIDE, LEFT_SIDE = 3, 4, 5, 7, 8, 9  # the person's right and left
RIGHT_CORNER, LEFT_CORNER, LOWER_LIP, UPPER_LIP, INNER_UPPER_LIP, INNER_LOWER_LIP = 6, 12, 14, 17, 20, 19
RIGHT_UPPER_LID, RIGHT_LOWER_LID, LEFT_UPPER_LID, LEFT_LOWER_LID = 11, 13, 15, 16

LIPS = (RIGHT_CORNER, LEFT_CORNER, LOWER_LIP, UPPER_LIP, INNER_UPPER_LIP, INNER_LOWER_LIP)
RIGHT_LIDS, LEFT_LIDS = (RIGHT_UPPER_LID, RIGHT_LOWER_LID), (LEFT_UPPER_LID, LEFT_LOWER_LID)
FINE = (*LIPS, *RIGHT_LIDS, *LEFT_LIDS)  # they move by a few pixels, and it must be seen

BONY = (FOREHEAD, NOSE_TIP, RIGHT_SIDE, LEFT_SIDE, NOSE_BRIDGE, BROW_MIDDLE)  # no expression moves them
HEAD = (*BONY[1:], RIGHT_BROW, LEFT_BROW, RIGHT_JAW, LEFT_JAW, CHIN)  # together they tell how the head moves

MIRRORED = ((3, 4), (5, 7), (6, 12), (8, 9), (11, 15), (13, 16))  # what changes sides in a mirror
