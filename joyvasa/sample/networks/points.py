"""Indices of the keypoints; lips and lids have LivePortrait's indices."""

from __future__ import annotations

KEYPOINTS = 21

FOREHEAD, CHIN, NOSE_TIP, NOSE_BRIDGE, BROW_MIDDLE = 0, 1, 2, 10, 18
RIGHT_JAW, LEFT_JAW, RIGHT_BROW, LEFT_BROW, RIGHT_SIDE, LEFT_SIDE = 3, 4, 5, 7, 8, 9  # the person's right and left
RIGHT_CORNER, LEFT_CORNER, LOWER_LIP, UPPER_LIP, INNER_UPPER_LIP, INNER_LOWER_LIP = 6, 12, 14, 17, 20, 19
RIGHT_UPPER_LID, RIGHT_LOWER_LID, LEFT_UPPER_LID, LEFT_LOWER_LID = 11, 13, 15, 16

LIPS = (RIGHT_CORNER, LEFT_CORNER, LOWER_LIP, UPPER_LIP, INNER_UPPER_LIP, INNER_LOWER_LIP)
RIGHT_LIDS, LEFT_LIDS = (RIGHT_UPPER_LID, RIGHT_LOWER_LID), (LEFT_UPPER_LID, LEFT_LOWER_LID)
FINE = (*LIPS, *RIGHT_LIDS, *LEFT_LIDS)  # points whose motion of a few pixels must be visible

BONY = (FOREHEAD, NOSE_TIP, RIGHT_SIDE, LEFT_SIDE, NOSE_BRIDGE, BROW_MIDDLE)  # not moved by expressions
HEAD = (*BONY[1:], RIGHT_BROW, LEFT_BROW, RIGHT_JAW, LEFT_JAW, CHIN)  # points that determine the motion of the head

MIRRORED = ((3, 4), (5, 7), (6, 12), (8, 9), (11, 15), (13, 16))  # pairs that a horizontal flip exchanges
