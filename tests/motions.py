"""Motions as arrays."""

import numpy as np


def motion_to_arrays(motion):
    """Return the arrays of a motion by the names of LivePortrait's motion files."""
    names = {"exp": "expression", "scale": "scale", "t": "translation", "R": "rotation"}
    names |= {name: name for name in ("pitch", "yaw", "roll")}
    arrays = {name: getattr(motion, attribute).numpy() for name, attribute in names.items()}
    return arrays | {"fps": np.array(motion.frames_per_second)}
