"""Implicit keypoints of a face: canonical points, moved by head pose and expression.

Points are row vectors (x, y, z): x to the right, y down, z inward; the crop spans -1 to 1.
Everything is computed in float32, also under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from joyvasa.errors import ModelError
from joyvasa.networks.layers import full_precision

POSE_BINS = 66  # bins of the head pose; bin i stands for 3 i - 97.5 degrees, so they centre on 0
DEGREES_PER_BIN = 3.0
FIRST_BIN_DEGREES = -97.5
FLAT = 1e-6  # volume of a convex hull without thickness, where its longest side is 1


@dataclass(frozen=True)
class KeypointInfo:
    """What the motion extractor sees in portraits.

    Args:
        pitch: degrees, shape (batch, 1).
        yaw: degrees, shape (batch, 1).
        roll: degrees, shape (batch, 1).
        translation: shape (batch, 3); z has no effect.
        expression: displacement of each keypoint, shape (batch, keypoints, 3).
        scale: shape (batch, 1).
        canonical: keypoints of the face without pose and expression, shape (batch, keypoints, 3).
    """

    pitch: Tensor
    yaw: Tensor
    roll: Tensor
    translation: Tensor
    expression: Tensor
    scale: Tensor
    canonical: Tensor

    @classmethod
    def from_heads(cls, heads: Mapping[str, Tensor]) -> KeypointInfo:
        """Reads the raw heads of the motion extractor: pitch, yaw, roll, t, exp, scale, kp."""
        return cls(
            pitch=degrees_from_bins(heads["pitch"]),
            yaw=degrees_from_bins(heads["yaw"]),
            roll=degrees_from_bins(heads["roll"]),
            translation=heads["t"].float(),
            expression=heads["exp"].float().unflatten(1, (-1, 3)),
            scale=heads["scale"].float(),
            canonical=heads["kp"].float().unflatten(1, (-1, 3)),
        )

    def __len__(self) -> int:
        return len(self.canonical)

    def __getitem__(self, index: slice) -> KeypointInfo:
        """Some of the portraits."""
        return KeypointInfo(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def rotation(self) -> Tensor:
        """Head rotation, shape (batch, 3, 3)."""
        return head_rotation(self.pitch, self.yaw, self.roll)

    def to(self, device: torch.device | str) -> KeypointInfo:
        """The same on another device."""
        return KeypointInfo(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def degrees_from_bins(bins: Tensor) -> Tensor:
    """Expected angle of a distribution over bins.

    Args:
        bins: logits, shape (batch, 66). A tensor of another width holds degrees already.

    Returns:
        degrees, shape (batch, 1), float32; or the argument itself.
    """
    if bins.shape[1] != POSE_BINS:
        return bins
    index = torch.arange(POSE_BINS, device=bins.device, dtype=torch.float32)
    expected = (bins.float().softmax(dim=1) * index).sum(dim=1, keepdim=True)
    return expected * DEGREES_PER_BIN + FIRST_BIN_DEGREES


def head_rotation(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """Rotation of row vectors, `points @ R`: about x by pitch, then y by yaw, then z by roll.

    Args:
        pitch: degrees, shape (batch, 1).
        yaw: degrees, shape (batch, 1).
        roll: degrees, shape (batch, 1).

    Returns:
        shape (batch, 3, 3), float32.
    """
    angles = torch.cat([pitch, yaw, roll], dim=1).float().deg2rad()
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(dim=1), angles.sin().unbind(dim=1)
    rows = [
        [cy * cz, cy * sz, -sy],
        [sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy],
        [cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def pose_keypoints(
    canonical: Tensor, rotation: Tensor, expression: Tensor, scale: Tensor, translation: Tensor
) -> Tensor:
    """Keypoints of a face with a pose and an expression; each batch may be 1.

    Args:
        canonical: shape (batch, keypoints, 3).
        rotation: of `head_rotation`, shape (batch, 3, 3).
        expression: shape (batch, keypoints, 3).
        scale: shape (batch, 1).
        translation: shape (batch, 3); z has no effect.

    Returns:
        shape (batch, keypoints, 3), float32.
    """
    with full_precision(canonical):
        keypoints = scale[:, :, None] * (canonical @ rotation + expression)
    return keypoints + F.pad(translation[:, None, :2], (0, 1))


def transform_keypoints(info: KeypointInfo) -> Tensor:
    """Keypoints of the portraits as they are, shape (batch, keypoints, 3)."""
    return pose_keypoints(info.canonical, info.rotation, info.expression, info.scale, info.translation)


def stitch_keypoints(network: nn.Module, source: Tensor, driving: Tensor) -> Tensor:
    """Driving keypoints, corrected so that the face still fits the shoulders of the source.

    Args:
        network: `stitching`.
        source: shape (batch or 1, keypoints, 3).
        driving: shape (batch, keypoints, 3).

    Returns:
        shape (batch, keypoints, 3).
    """
    with full_precision(driving):
        delta = network(torch.cat([source.expand_as(driving).flatten(1), driving.flatten(1)], dim=1))
    shift = F.pad(delta[:, None, -2:], (0, 1))  # in x and y, the same for all keypoints
    return driving + delta[:, :-2].unflatten(1, (-1, 3)) + shift


def retargeting_delta(network: nn.Module, keypoints: Tensor, ratios: Tensor) -> Tensor:
    """The change of keypoints that opens or closes lips or eyes to a wanted degree.

    Args:
        network: `lip` or `eye`.
        keypoints: of the source, shape (batch, keypoints, 3).
        ratios: height / width of the opening: source and target for lips, shape (batch, 2); left and
            right of the source and target for eyes, shape (batch, 3).

    Returns:
        to be added to keypoints, shape (batch, keypoints, 3).
    """
    with full_precision(keypoints):
        return network(torch.cat([keypoints.flatten(1), ratios], dim=1)).unflatten(1, (-1, 3))


def motion_multiplier(source_keypoints: Tensor, first_keypoints: Tensor) -> float:
    """How much larger the portrait's face is than the driving one.

    JoyVASA's measure: the square root of the volume of the convex hull of the keypoints.

    Args:
        source_keypoints: shape (1, keypoints, 3).
        first_keypoints: of the motion's first frame, shape (1, keypoints, 3).

    Returns:
        The ratio of the two sizes; 1 where one of the hulls is flat (fewer than four keypoints, or all
        in one plane), as nothing can be measured then and the motion keeps its own size.

    Raises:
        ModelError: `keypoints_not_finite`.
    """
    source, first = _hull_volume(source_keypoints), _hull_volume(first_keypoints)
    return math.sqrt(source) / math.sqrt(first) if source and first else 1.0


def _hull_volume(keypoints: Tensor) -> float:
    """Volume of the convex hull of keypoints (1, keypoints, 3); 0 where it is flat."""
    from scipy.spatial import ConvexHull, QhullError  # heavy: only where it is used

    points = keypoints[0].double().cpu().numpy()
    if not np.isfinite(points).all():
        raise ModelError(
            "keypoints_not_finite",
            "keypoints: found NaN or infinity; expected finite coordinates: "
            "check the picture, and the weights of the motion extractor",
        )
    try:
        volume = float(ConvexHull(points).volume)
    except QhullError:
        return 0.0
    # A plane that is not parallel to an axis is flat up to the rounding of float32.
    return volume if volume > FLAT * np.ptp(points, axis=0).max() ** 3 else 0.0
