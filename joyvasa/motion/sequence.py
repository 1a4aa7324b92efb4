"""Sequences of poses and expressions, and the template that scales network outputs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from joyvasa.errors import InputError, ModelError
from joyvasa.motion.keypoints import head_rotation

# Pose in a coefficient vector of the motion generator, after the expression: name and number of values.
POSE_LAYOUT = {"scale": 1, "t": 3, "pitch": 1, "yaw": 1, "roll": 1}
POSE_SIZE = sum(POSE_LAYOUT.values())


@dataclass(frozen=True, kw_only=True)
class MotionSequence:
    """Motion of one face, T frames of K keypoints; float32 on the CPU."""

    expression: Tensor  # displacement of each keypoint, shape (T, K, 3)
    scale: Tensor  # scale of the head, shape (T, 1)
    translation: Tensor  # translation of the head, shape (T, 3)
    pitch: Tensor  # head angle in degrees, shape (T, 1)
    yaw: Tensor  # head angle in degrees, shape (T, 1)
    roll: Tensor  # head angle in degrees, shape (T, 1)
    frames_per_second: float = 25.0  # frame rate

    def __len__(self) -> int:
        return len(self.expression)

    def __getitem__(self, frames: slice) -> MotionSequence:
        """Return a slice of the frames."""
        tensors = {field.name: getattr(self, field.name)[frames] for field in fields(self)[:-1]}
        return MotionSequence(**tensors, frames_per_second=self.frames_per_second)

    @property
    def rotation(self) -> Tensor:
        """Head rotation, shape (T, 3, 3)."""
        return head_rotation(self.pitch, self.yaw, self.roll)

    @property
    def pose(self) -> Tensor:
        """Scale, translation, pitch, yaw and roll, shape (T, 7)."""
        return torch.cat([self.scale, self.translation, self.pitch, self.yaw, self.roll], dim=1)

    @classmethod
    def from_pose(cls, expression: Tensor, pose: Tensor, frames_per_second: float = 25.0) -> MotionSequence:
        """Build a sequence from an expression (T, K, 3) and a pose (T, 7) in the order of `MotionSequence.pose`."""
        scale, translation, pitch, yaw, roll = pose.float().split(list(POSE_LAYOUT.values()), dim=1)
        return cls(
            expression=expression.float(),
            scale=scale,
            translation=translation,
            pitch=pitch,
            yaw=yaw,
            roll=roll,
            frames_per_second=frames_per_second,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], *, name: str = "motion") -> MotionSequence:
        """Build a sequence from the arrays of a LivePortrait motion file, which has `R`, angles or both.

        Args:
            arrays: exp (T, K, 3) or (T, 3 K), scale (T,), t (T, 3), then R (T, 3, 3) or pitch, yaw and roll (T,) in
                degrees, and optionally fps, by default 25. Additional axes of length one are ignored.
            name: name of the file for error messages.

        Raises:
            InputError: `motion_incomplete`, `motion_shape` or `motion_not_finite`.
        """
        angles = ("pitch", "yaw", "roll")
        has_angles = all(angle in arrays for angle in angles)
        needed = ("exp", "scale", "t", *(angles if has_angles else ("R",)))
        if missing := [key for key in needed if key not in arrays]:
            raise InputError(
                "motion_incomplete",
                f"{name}: no {', '.join(missing)} (found: {', '.join(sorted(arrays)) or 'nothing'}); expected exp, "
                "scale, t, and R or pitch, yaw, roll: use a motion file of this program or of LivePortrait",
            )

        with np.errstate(over="ignore"):  # refused as infinite below
            # NumPy converts from any byte order, torch does not
            tensors = {key: torch.as_tensor(np.asarray(arrays[key], dtype=np.float32)) for key in needed}
        n_frames = tensors["exp"].shape[0] if tensors["exp"].ndim else 0
        sizes = {"scale": 1, "t": 3, "R": 9, "pitch": 1, "yaw": 1, "roll": 1}
        for key, tensor in tensors.items():
            expected = f"{n_frames} frames of {sizes.get(key, '3 K')} numbers" if n_frames else "at least one frame"
            size = tensor.numel() // n_frames if n_frames else 0
            whole = size > 0 and tensor.shape[0] == n_frames
            if not whole or (size % 3 if key == "exp" else size != sizes[key]):
                raise InputError(
                    "motion_shape",
                    f"{name}: {key} has shape {tuple(tensor.shape)}; expected {expected}: export it again",
                )
            if not tensor.isfinite().all():
                raise InputError(
                    "motion_not_finite",
                    f"{name}: {key} holds NaN or infinity; expected finite numbers: export it again",
                )

        if not has_angles:
            rotation = tensors["R"].reshape(n_frames, 3, 3)
            tensors |= dict(zip(angles, head_angles(rotation), strict=True))
        return cls(
            expression=tensors["exp"].reshape(n_frames, -1, 3),
            scale=tensors["scale"].reshape(n_frames, 1),
            translation=tensors["t"].reshape(n_frames, 3),
            pitch=tensors["pitch"].reshape(n_frames, 1),
            yaw=tensors["yaw"].reshape(n_frames, 1),
            roll=tensors["roll"].reshape(n_frames, 1),
            frames_per_second=float(np.asarray(arrays.get("fps", 25.0))),
        )


@dataclass(frozen=True, kw_only=True)
class MotionTemplate:
    """Statistics of the training motion; float64, so that scaling adds no rounding error."""

    expression_mean: Tensor  # mean of the expression, shape (3 K,)
    expression_std: Tensor  # standard deviation of the expression, shape (3 K,)
    pose_min: Tensor  # minima of scale, translation, pitch, yaw and roll, shape (7,)
    pose_max: Tensor  # maxima of the same, shape (7,)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> MotionTemplate:
        """Build a template from the arrays of JoyVASA's file: mean_exp, std_exp, and min_* and max_* of the pose.

        Raises:
            ModelError: `template_invalid`.
        """

        def read(key: str, size: int | None) -> Tensor:
            if key not in arrays:
                raise ModelError(
                    "template_invalid",
                    f"motion template: no {key} (found: {', '.join(sorted(arrays)) or 'nothing'}): use the template "
                    "that belongs to the motion generator",
                )

            values = torch.as_tensor(np.asarray(arrays[key], dtype=np.float64)).flatten()
            fits = len(values) % 3 == 0 if size is None else len(values) == size
            if not len(values) or not fits or not values.isfinite().all():
                raise ModelError(
                    "template_invalid",
                    f"motion template: {key} holds {len(values)} numbers; expected {size or 'three per keypoint'}, all "
                    "finite: use the template that belongs to the motion generator",
                )
            return values

        mean = read("mean_exp", None)
        template = cls(
            expression_mean=mean,
            expression_std=read("std_exp", len(mean)),
            pose_min=torch.cat([read(f"min_{key}", size) for key, size in POSE_LAYOUT.items()]),
            pose_max=torch.cat([read(f"max_{key}", size) for key, size in POSE_LAYOUT.items()]),
        )
        if bool((template.expression_std < 0).any()) or bool((template.pose_max < template.pose_min).any()):
            raise ModelError(
                "template_invalid",
                "motion template: a standard deviation is negative or a maximum is below its minimum: use the template "
                "that belongs to the motion generator",
            )
        return template

    def denormalize(self, coefficients: Tensor, frames_per_second: float = 25.0) -> MotionSequence:
        """Convert the output of the motion generator to a sequence.

        Args:
            coefficients: shape (T, D): expression 3 K (standardized), scale, translation 3, pitch, yaw, roll (scaled to
                0 to 1 within their range); further coefficients are ignored.
            frames_per_second: frame rate of the sequence.

        Raises:
            ModelError: `template_mismatch` if D is smaller than 3 K + 7.
        """
        size = len(self.expression_mean)
        if coefficients.shape[1] < size + POSE_SIZE:
            raise ModelError(
                "template_mismatch",
                f"motion generator: {coefficients.shape[1]} numbers per frame; expected at least {size + POSE_SIZE} "
                f"for a template of {size // 3} keypoints: use network and template of the same bundle",
            )
        values = coefficients.detach().cpu().double()
        expression = values[:, :size] * self.expression_std + self.expression_mean
        pose = values[:, size : size + POSE_SIZE] * (self.pose_max - self.pose_min) + self.pose_min
        return MotionSequence.from_pose(expression.unflatten(1, (-1, 3)), pose, frames_per_second)


MOTION_FIELDS = tuple(field.name for field in fields(MotionSequence) if field.name != "frames_per_second")


def head_angles(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute pitch, yaw and roll of rotations, the inverse of `head_rotation`.

    Rotation matrices for row vectors, (T, 3, 3), give degrees, (T, 1) each; yaw is within -90 and 90.
    """
    yaw = torch.asin(-rotation[:, 0, 2].clamp(-1, 1))
    pitch = torch.atan2(rotation[:, 1, 2], rotation[:, 2, 2])
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 0, 0])
    return pitch.rad2deg()[:, None], yaw.rad2deg()[:, None], roll.rad2deg()[:, None]
