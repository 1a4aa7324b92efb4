"""Noise, and squares in it that tests paste."""

import numpy as np

from joyvasa.faces.square import Square


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


SQUARES = {
    "upright": Square((330.3, 250.7), 200.3, 0.0),
    "turned": Square((330.3, 250.7), 260.9, 0.37),
    "upside down": Square((300.0, 200.0), 311.0, 2.9),
    "over the top left corner": Square((20.0, 30.0), 350.0, -0.2),
    "over the bottom right corner": Square((610.0, 470.0), 350.0, 0.2),
    "larger than the picture": Square((320.0, 240.0), 1500.0, 0.1),
}
