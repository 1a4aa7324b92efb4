"""Application of controls to a motion."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from joyvasa.motion.blinks import change_blinks
from joyvasa.motion.controls import Controls
from joyvasa.motion.keypoints import KeypointInfo, check_keypoint_count
from joyvasa.motion.layouts import KeypointLayout
from joyvasa.motion.openings import LOWER_LIP, UPPER_LIP, estimate_mouth_opening
from joyvasa.motion.sequence import MotionSequence, MotionTemplate

NO_LAYOUT = "its keypoints are unknown"
FACIAL = ("mouth.amount", "mouth.open", "eyes.open", "blink.rate", "blink.amount")  # need to know lips and lids
DIRECTED = ("gaze.x", "gaze.y", "smile", "brow", "wink")  # need a direction of the layout
# A mouth that is open in the portrait closes if its lips are driven past each other by as much as they are apart there,
# at most by this opening, height over width; less if the motion opens the mouth, not at all from this opening on.
MAX_CLOSING = 0.145
# The open mouth of an animal closes while the motion's is closed, and has its own opening when the motion's has it. The
# rendered jaw rises by about 0.87 of the displacement of its keypoints.
ANIMAL_CLOSING = 1.15
FOR_PEOPLE = ("eyes.open", "blink.rate", "blink.amount", *DIRECTED)


class MotionController:
    """Applies controls to motions with the keypoints of one bundle.

    Strengths and blinks change the motion itself, see `shape`. Offsets are added to its frames but not to the first
    frame that a relative motion refers to, where they would cancel, see `displace`.

    Args:
        controls: controls of a record; those that `find_unsupported` returns must be neutral.
        layout: layout of the keypoints; None if it is unknown.
        template: template of the bundle's motion.
        animal: whether the portrait shows an animal, whose open mouth closes although its motion is relative.
        lips_by_network: whether the network `lip` applies `mouth.open`, and `eye` applies `eyes.open`, to the portrait.
    """

    def __init__(
        self,
        controls: Controls,
        layout: KeypointLayout | None,
        template: MotionTemplate,
        *,
        animal: bool = False,
        lips_by_network: bool,
    ) -> None:
        self._controls = controls
        self._layout = layout
        self.animal = animal
        self._neutral = _neutral_expression(layout, template)
        self._turn = layout.turn if layout and not animal else {}
        self._offset = _sum_offsets(controls, layout, opens_mouth=not lips_by_network)

    def rest(self, portrait: KeypointInfo) -> MotionSequence:
        """Return one frame that shows a portrait with a neutral expression in its own pose."""
        return MotionSequence(
            expression=self._neutral[None],
            scale=portrait.scale.cpu(),
            translation=portrait.translation.cpu(),
            pitch=portrait.pitch.cpu(),
            yaw=portrait.yaw.cpu(),
            roll=portrait.roll.cpu(),
        )

    def shape(self, motion: MotionSequence, seed: int) -> MotionSequence:
        """Apply strengths and blinks to a whole motion; the seed is that of added blinks.

        Raises:
            InputError: `keypoints_mismatch`.
        """
        check_keypoint_count(motion.expression.shape[1], len(self._neutral))
        pose, mouth, blink = self._controls.pose, self._controls.mouth, self._controls.blink
        layout, neutral = self._layout, self._neutral
        if pose.amount != 1:
            names = ("pitch", "yaw", "roll", "scale", "translation")
            values = {name: getattr(motion, name) for name in names}
            scaled = {name: value[:1] + pose.amount * (value - value[:1]) for name, value in values.items()}
            motion = replace(motion, **scaled)
        if (amount := self._controls.expression.amount) != 1:
            motion = replace(motion, expression=neutral + amount * (motion.expression - neutral))
        if layout and mouth.amount != 1:
            expression, index = motion.expression.clone(), list(layout.mouth)
            expression[:, index] = neutral[index] + mouth.amount * (expression[:, index] - neutral[index])
            motion = replace(motion, expression=expression)
        if layout and (blink.rate is not None or blink.amount != 1):
            motion = change_blinks(motion, layout, rate=blink.rate, amount=blink.amount, seed=seed)
        return motion

    def displace(self, motion: MotionSequence, portrait: KeypointInfo | None = None) -> MotionSequence:
        """Add offsets to frames of a motion; the motion itself if there are none.

        Args:
            motion: frames of the motion.
            portrait: keypoints of the portrait whose mouth the controls may close, or of each frame of a source video.
        """
        pose, layout = self._controls.pose, self._layout
        if layout and layout.name == "compact" and portrait is not None:
            closing = self._compute_closing(motion, layout, portrait)
            if closing.any():
                expression = motion.expression - closing[:, None, None] * layout.opening.offset(1.0)
                motion = replace(motion, expression=expression)
        if self._offset is not None:
            motion = replace(motion, expression=motion.expression + self._offset)
        if layout and layout.name == "compact":
            motion = replace(motion, expression=self._set_compact_lids(motion.expression, layout))

        if pose.yaw or pose.pitch or pose.roll:
            angles = {
                name: getattr(motion, name) + self._turn.get(name, 1.0) * getattr(pose, name)
                for name in ("pitch", "yaw", "roll")
            }
            turned = replace(motion, **angles)
            if layout and layout.name == "compact":  # its expression has the axes of the picture, not of the head
                turn = motion.rotation.transpose(1, 2) @ turned.rotation
                turned = replace(turned, expression=turned.expression @ turn)
            motion = turned
        return motion

    def _compute_closing(self, motion: MotionSequence, layout: KeypointLayout, portrait: KeypointInfo) -> Tensor:
        """Return by how much the lips are driven past each other, height over width, shape (T,), float32."""
        driven = torch.from_numpy(estimate_mouth_opening(motion, layout.fit))
        if self.animal:  # its keypoints have no expression
            own = _measure_lips(portrait.canonical, layout)
            return (ANIMAL_CLOSING * (own - driven.clamp(min=0)).clamp(min=0)).float()
        frontal = portrait.expression @ portrait.rotation.transpose(1, 2)  # axes of the head
        own = _measure_lips(frontal, layout).clamp(max=MAX_CLOSING)
        return (self._closing * own * (1 - driven / MAX_CLOSING).clamp(0, 1)).float()

    @property
    def _closing(self) -> float:
        """Share of the opening of a person's mouth to remove: the more, the less of the mouth's motion remains."""
        if self._controls.mouth.open is not None:
            return float(self._controls.mouth.open == 0)
        return max(0.0, 1 - self._controls.mouth.amount * self._controls.expression.amount)

    def _set_compact_lids(self, expression: Tensor, layout: KeypointLayout) -> Tensor:
        """Apply `eyes.open` and `wink`; rest and closed eyes are the same for everyone."""
        target, wink = self._controls.eyes.open, self._controls.wink
        if target is None and not wink:
            return expression
        before = layout.eye_openings(expression)
        after = before
        if target is not None:
            closed, rest = layout.closed_eye, layout.fit.eye_intercept
            if target > rest:
                target = min(rest + layout.widening * (target - rest), layout.widest_eye)
            after = closed + (after - closed) * (target - closed) / (rest - closed)
        closure = torch.tensor([max(wink, 0.0), max(-wink, 0.0)], dtype=after.dtype)
        after = after + closure * (layout.closed_eye - after).clamp(max=0)
        return layout.shift_lids(expression, after - before)


def find_unsupported(controls: Controls, layout: KeypointLayout | None, *, animal: bool) -> tuple[str, str] | None:
    """Return the first control that is set and cannot be applied, and the reason, or None."""
    for name in (*FACIAL, *DIRECTED):
        if not is_set(controls, name):
            continue
        if layout is None:
            return name, NO_LAYOUT
        if animal and name in FOR_PEOPLE:
            return name, "eyes, brows and smiles can be controlled for people only"
        if name in DIRECTED and name not in layout.directions:
            return name, "none of its keypoints follows the irises" if "gaze" in name else "it has no direction for it"
    return None


def any_facial(controls: Controls) -> bool:
    """Return whether a control is set that depends on the layout of the keypoints."""
    return any(is_set(controls, name) for name in (*FACIAL, *DIRECTED))


def is_set(controls: Controls, name: str) -> bool:
    """Return whether a control differs from the value that changes nothing."""
    value: object = controls
    for part in name.split("."):
        value = getattr(value, part)
    neutral = 1.0 if name.endswith(".amount") else None if name.endswith((".open", ".rate")) else 0.0
    return value != neutral


def _measure_lips(keypoints: Tensor, layout: KeypointLayout) -> Tensor:
    """Return how far the lips are apart, height over width, (frames, keypoints, 3) to (frames,), float64."""
    height = keypoints[:, :, 1].double().cpu()
    return (layout.fit.mouth_slope * (height[:, LOWER_LIP] - height[:, UPPER_LIP])).clamp(min=0)


def _neutral_expression(layout: KeypointLayout | None, template: MotionTemplate) -> Tensor:
    """Return the expression of a neutral face with closed lips, shape (keypoints, 3).

    For the compact networks that is no expression. Otherwise it is the mean of the training motion, with the lower lip
    where the estimated opening is 0.
    """
    mean = template.expression_mean.unflatten(0, (-1, 3)).float()
    if layout is None:
        return mean
    if layout.name == "compact":
        return torch.zeros_like(mean)
    neutral = mean.clone()
    neutral[LOWER_LIP, 1] = neutral[UPPER_LIP, 1] - layout.fit.mouth_intercept / layout.fit.mouth_slope
    return neutral


def _sum_offsets(controls: Controls, layout: KeypointLayout | None, *, opens_mouth: bool) -> Tensor | None:
    """Return the offset of the expression, shape (keypoints, 3), or None if there is none."""
    if layout is None:
        return None
    values = {
        "gaze.x": controls.gaze.x,
        "gaze.y": controls.gaze.y,
        "smile": controls.smile,
        "brow": controls.brow,
        "wink": controls.wink,
    }
    offsets = [layout.directions[name].offset(value) for name, value in values.items() if value]
    if controls.mouth.open and opens_mouth:
        offsets.append(layout.opening.offset(controls.mouth.open))
    return torch.stack(offsets).sum(0) if offsets else None
