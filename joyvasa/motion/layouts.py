"""Layouts of 21 keypoints: which of them are lips and lids, and the directions in which controls move them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from joyvasa.motion.openings import COMPACT, LIVEPORTRAIT, OpeningFit
from joyvasa.runtime.parsing import parse_yaml

KEYPOINTS = 21
_FITS = {"liveportrait": LIVEPORTRAIT, "compact": COMPACT}


@dataclass(frozen=True, eq=False)
class Direction:
    """Offset of the expression for one control."""

    both: Tensor  # offset in proportion to the control, shape (keypoints, 3)
    positive: Tensor  # offset for positive values, in proportion to their size
    negative: Tensor  # offset for negative values, in proportion to their size

    def offset(self, value: float) -> Tensor:
        """Return the offset for a value of the control, shape (keypoints, 3)."""
        one_sided = self.positive if value > 0 else self.negative
        return self.both * value + one_sided * abs(value)


@dataclass(frozen=True, eq=False)
class KeypointLayout:
    """A layout of 21 keypoints."""

    name: str  # `liveportrait` for the published weights, `compact` for those of this project
    fit: OpeningFit  # map from distances between keypoints to openings
    mouth: tuple[int, ...]  # keypoints that move when the mouth does
    upper_lids: tuple[int, int]  # keypoints of the upper lids, of the person's right and left eye
    lower_lids: tuple[int, int]  # keypoints of the lower lids, of the person's right and left eye
    upper_share: float  # share of the upper lid in the closing of an eye
    closed_eye: float  # opening of a closed eye, as `fit` estimates it
    widening: float  # motion of the lids that opens eyes beyond rest, in proportion to the change of their opening
    widest_eye: float  # opening, as `fit` estimates it, beyond which rendered eyes open no further
    # degrees by which keypoints turn so that the rendered head of a person turns by one, for pitch, yaw and roll
    turn: Mapping[str, float]
    opening: Direction  # offset that opens the mouth by its width, for `mouth.open` without a network
    # offsets of the controls that the layout supports, by the names of their options
    directions: Mapping[str, Direction]

    def shift_lids(self, expression: Tensor, change: Tensor) -> Tensor:
        """Return an expression, (T, keypoints, 3), whose eyes are open further.

        `change` is that of the person's right and left eye, shape (T, 2), or (T, 1) for both.
        """
        distance = (change / self.fit.eye_slope).to(expression).expand(-1, 2)
        moved = expression.clone()
        moved[:, list(self.upper_lids), 1] -= self.upper_share * distance
        moved[:, list(self.lower_lids), 1] += (1 - self.upper_share) * distance
        return moved

    def eye_openings(self, expression: Tensor) -> Tensor:
        """Estimate the opening of the person's right and left eye, shape (T, 2), float64."""
        height = expression[:, :, 1].double()
        distance = height[:, list(self.lower_lids)] - height[:, list(self.upper_lids)]
        return self.fit.eye_intercept + self.fit.eye_slope * distance


@cache
def load_layout(name: str) -> KeypointLayout:
    """Return a layout by its name, `liveportrait` or `compact`."""
    content: Any = parse_yaml(Path(__file__).with_name("layouts.yaml").read_text(encoding="utf-8"))
    entry = content[name]
    return KeypointLayout(
        name=name,
        fit=_FITS[name],
        mouth=tuple(entry["mouth"]),
        upper_lids=tuple(entry["upper_lids"]),
        lower_lids=tuple(entry["lower_lids"]),
        upper_share=entry["upper_share"],
        closed_eye=entry["closed_eye"],
        widening=entry["widening"],
        widest_eye=entry["widest_eye"],
        turn=entry["turn"],
        opening=_direction(entry["opening"]),
        directions={control: _direction(parts) for control, parts in entry["directions"].items()},
    )


def _direction(parts: Mapping[str, Mapping[int, list[float]]]) -> Direction:
    tensors = []
    for part in ("both", "positive", "negative"):
        offset = torch.zeros(KEYPOINTS, 3)
        for keypoint, values in parts.get(part, {}).items():
            offset[keypoint] = torch.tensor(values)
        tensors.append(offset)
    return Direction(*tensors)
