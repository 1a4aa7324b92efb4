"""Controls of an animation, which a run sets for all records or a row of its manifest for one.

Directions are those of the picture: x to the right, y down. An angle of 0, a strength of 1 and an offset of 0 change
nothing; an opening or a rate of None is that of the motion. `joyvasa.motion.controller` applies the controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from joyvasa.config import RangedOptions, ranged

MAX_ANGLE = 30.0  # degrees; the built-in model was trained with 20, LivePortrait's page offers 15
MAX_OPENING = 0.8  # height over width, the largest value of LivePortrait's page
MAX_BLINK_RATE = 60.0  # per minute; speakers have about 10 to 25
SMILES = (-0.3, 1.3)  # range of LivePortrait's page


@dataclass(frozen=True, kw_only=True)
class PoseControls(RangedOptions):
    """Controls of the head."""

    _group = "pose."

    # turn of the head in addition to the motion; positive turns the face to the left of the picture
    yaw: float = ranged(0.0, -MAX_ANGLE, MAX_ANGLE, "degrees")
    pitch: float = ranged(0.0, -MAX_ANGLE, MAX_ANGLE, "degrees")  # nod in addition to the motion; positive looks down
    # tilt in addition to the motion; positive turns the head clockwise in the picture
    roll: float = ranged(0.0, -MAX_ANGLE, MAX_ANGLE, "degrees")
    # strength of the motion of the head, that is of its angles, position and size; 0 holds it still
    amount: float = ranged(1.0, 0.0, 2.0, "times")


@dataclass(frozen=True, kw_only=True)
class ExpressionControls(RangedOptions):
    """Controls of the whole face."""

    _group = "expression."

    # strength of all expressions, those of the mouth included; 0 shows a neutral face
    amount: float = ranged(1.0, 0.0, 2.0, "times")


@dataclass(frozen=True, kw_only=True)
class MouthControls(RangedOptions):
    """Controls of the mouth."""

    _group = "mouth."

    # strength of the motion of lips and jaw, in addition to `expression.amount`; 0 keeps the mouth closed
    amount: float = ranged(1.0, 0.0, 2.0, "times")
    # opening of the mouth at rest; speech opens it further, and 0 closes a mouth that is open in the portrait.
    # None: that of the motion.
    open: float | None = ranged(None, 0.0, MAX_OPENING, "height / width")


@dataclass(frozen=True, kw_only=True)
class EyeControls(RangedOptions):
    """Controls of the eyelids."""

    _group = "eyes."

    # opening of the eyes between blinks, which still close them; with the built-in model 0.48 is that of the portrait,
    # and eyes open no further from 0.6 on. None: that of the motion.
    open: float | None = ranged(None, 0.0, MAX_OPENING, "height / width")


@dataclass(frozen=True, kw_only=True)
class BlinkControls(RangedOptions):
    """Controls of blinks."""

    _group = "blink."

    # number of blinks; surplus ones are removed from the motion, missing ones added. None: those of the motion.
    rate: float | None = ranged(None, 0.0, MAX_BLINK_RATE, "per minute")
    amount: float = ranged(1.0, 0.0, 1.5, "times")  # depth of blinks; 0 keeps the eyes open


@dataclass(frozen=True, kw_only=True)
class GazeControls(RangedOptions):
    """Controls of the eyeballs."""

    _group = "gaze."

    # gaze to the side; positive is to the right of the picture, 1 the largest offset of LivePortrait's page
    x: float = ranged(0.0, -1.0, 1.0, "of the largest")
    y: float = ranged(0.0, -1.0, 1.0, "of the largest")  # gaze up or down; positive is up


class Controls(Protocol):
    """Controls of driving, as part of the options of an animation."""

    @property
    def pose(self) -> PoseControls:
        """Controls of the head."""
        ...

    @property
    def expression(self) -> ExpressionControls:
        """Controls of the whole face."""
        ...

    @property
    def mouth(self) -> MouthControls:
        """Controls of the mouth."""
        ...

    @property
    def eyes(self) -> EyeControls:
        """Controls of the eyelids."""
        ...

    @property
    def blink(self) -> BlinkControls:
        """Controls of blinks."""
        ...

    @property
    def gaze(self) -> GazeControls:
        """Controls of the eyeballs."""
        ...

    @property
    def smile(self) -> float:
        """Smile in addition to the motion, in `SMILES`."""
        ...

    @property
    def brow(self) -> float:
        """Height of the eyebrows in addition to the motion, -1 to 1."""
        ...

    @property
    def wink(self) -> float:
        """Closure of one eye, -1 to 1."""
        ...
