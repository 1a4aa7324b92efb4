"""Loss terms of the motion generator (JoyVASA)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from joyvasa.errors import ConfigError
from joyvasa.motion.sequence import POSE_SIZE
from joyvasa.networks.diffusion import Target

JOINT_FRAMES = 3  # frames on each side of the joint of two windows
EXPRESSION_TERMS = ("expression", "expression_velocity", "expression_smoothness")


@dataclass(frozen=True)
class LossConfig:
    """Options of the loss and weights of its terms; the prediction itself has weight 1.

    Raises:
        ConfigError: `config_invalid`.
    """

    # `reference` reproduces JoyVASA, where the expression of the first window is lost and that of the second counts
    # one and a half times; `both_clips` counts both equally
    losses: Literal["both_clips", "reference"] = "both_clips"
    criterion: Literal["l2", "l1"] = "l2"  # squared or absolute difference
    compare_previous: bool = True  # also compare the frames before the second window, as predicted with it
    expression: float = 0.1  # weight of the expression
    expression_velocity: float = 1e-4  # weight of its first difference over time
    expression_smoothness: float = 1e-4  # weight of its second difference over time
    head_angle: float = 1e-2  # weight of the head angles
    head_velocity: float = 1e-2  # weight of their first difference over time
    head_smoothness: float = 1e-2  # weight of their second difference over time
    head_transition: float = 1e-2  # weight of the joint between the two windows

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not weight >= 0:
                raise ConfigError("config_invalid", f"loss.{name} is {weight!r}; expected at least 0")

    @property
    def weights(self) -> dict[str, float]:
        """Weights by the names of the terms."""
        names = [*EXPRESSION_TERMS, "head_angle", "head_velocity", "head_smoothness", "head_transition"]
        return {"prediction": 1.0} | {name: getattr(self, name) for name in names}


def list_loss_parts(target: Target) -> list[str]:
    """Return the names of the parts that `combine_loss_terms` returns, in order."""
    return list(LossConfig().weights) if target == "sample" else ["prediction"]


def compute_loss_terms(
    prediction: Tensor,
    clean: Tensor,
    *,
    expression_size: int,
    end: Tensor,
    previous: Tensor | None = None,
    noise: Tensor | None = None,
    target: Target = "sample",
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Compute the unweighted terms of a window, each a mean over the valid frames and their numbers.

    A frame has the expression (`expression_size` numbers), the pose (7 numbers) and possibly further numbers, which
    count as expression. Velocities are differences of adjacent frames; smoothness compares their differences with 0.

    Args:
        prediction: output of the network for the frames before and in the window, shape (B, P + n, D).
        clean: motion of the window, shape (B, n, D).
        expression_size: number of expression values per frame, 3 K.
        end: number of valid frames of each window, 1 to n, shape (B,); the others are truncated.
        previous: clean motion before the window, shape (B, P, D); None for the first window.
        noise: noise added to `clean`, same shape; only for a network that predicts the noise.
        target: quantity that the network predicts; noise has only the term `prediction`.
        config: options of the loss; None for the defaults.

    Returns:
        Scalars by the names of `LossConfig`, and `prediction` for the whole vector.
    """
    config = config or LossConfig()
    difference = partial(mse_loss if config.criterion == "l2" else l1_loss, reduction="none")
    n_frames = clean.shape[1]
    before = prediction.shape[1] - n_frames
    valid = torch.arange(n_frames, device=clean.device) < end[:, None]  # (B, n)
    if target == "noise":
        assert noise is not None
        return {"prediction": compute_masked_mean(difference(prediction[:, before:], noise), valid)}
    if previous is None:
        prediction = prediction[:, before:]
    else:
        previous_valid = valid.new_full((len(valid), before), config.compare_previous)
        if not config.compare_previous:
            prediction = torch.cat([previous, prediction[:, before:]], dim=1)
        clean, valid = torch.cat([previous, clean], dim=1), torch.cat([previous_valid, valid], dim=1)

    terms = {"prediction": compute_masked_mean(difference(prediction, clean), valid)}
    pose = slice(expression_size, expression_size + POSE_SIZE)
    for names, predicted, true in (
        (EXPRESSION_TERMS, _without(prediction, pose), _without(clean, pose)),
        (("head_angle", "head_velocity", "head_smoothness"), prediction[..., pose], clean[..., pose]),
    ):
        velocity, true_velocity = predicted.diff(dim=1), true.diff(dim=1)
        acceleration = velocity.diff(dim=1)
        terms |= {
            names[0]: compute_masked_mean(difference(predicted, true), valid),
            names[1]: compute_masked_mean(difference(velocity, true_velocity), valid[:, 1:]),
            names[2]: compute_masked_mean(difference(acceleration, torch.zeros_like(acceleration)), valid[:, 2:]),
        }
    if previous is not None:
        joint = slice(before - JOINT_FRAMES, before), slice(before, before + JOINT_FRAMES)
        frames = torch.cat([previous[:, joint[0], pose], prediction[:, joint[1], pose]], dim=1)
        terms["head_transition"] = _transition(frames, end, difference)
    return terms


def combine_loss_terms(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], config: LossConfig | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Combine the terms of a pair of windows.

    Returns:
        The weighted sum, and its parts by name.
    """
    config = config or LossConfig()
    parts = {}
    for name, value in second.items():
        if name not in first:
            pass  # the joint belongs to the second window only
        elif config.losses == "reference" and name in EXPRESSION_TERMS:
            value = 1.5 * value
        else:
            value = (first[name] + value) / 2
        parts[name] = config.weights[name] * value
    return torch.stack(list(parts.values())).sum(), parts


def compute_masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean over all numbers of values, (B, frames, numbers), in the frames of a mask, (B, frames), bool.

    It is 0 if the mask is empty.
    """
    per_frame = torch.where(mask, values.mean(dim=-1), 0)
    return per_frame.sum() / mask.sum().clamp(min=1)


def _without(frames: Tensor, pose: slice) -> Tensor:
    return torch.cat([frames[..., : pose.start], frames[..., pose.stop :]], dim=-1)


def _transition(frames: Tensor, end: Tensor, difference: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Compute how much the head jerks at the joint of two windows.

    Args:
        frames: pose of the last frames before the joint and the first ones after it, shape (B, 6, 7).
        end: number of valid frames after the joint, shape (B,).
        difference: element-wise difference of two tensors.
    """
    velocity = frames.diff(dim=1)  # (B, 5, 7)
    acceleration = velocity.diff(dim=1)  # (B, 4, 7)
    # Each value is masked by the last frame that it depends on.
    across = difference(velocity[:, 2:4], velocity[:, 1:3])
    jerk = difference(acceleration[:, 1:], acceleration[:, :-1])
    frame = torch.arange(JOINT_FRAMES, device=end.device) < end[:, None]  # (B, 3)
    return compute_masked_mean(across, frame[:, : across.shape[1]]) + compute_masked_mean(jerk, frame)
