"""Driving keypoints of a portrait for a motion.

A driver holds one portrait and the first frame of one motion, and precomputes what depends only on these. Frames are
then independent of each other, so any slice of the motion gives the same result as the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from joyvasa.errors import ConfigError
from joyvasa.mode import Mode
from joyvasa.motion.keypoints import (
    KeypointInfo,
    check_keypoint_count,
    motion_multiplier,
    pose_keypoints,
    retargeting_delta,
    stitch_keypoints,
    transform_keypoints,
)
from joyvasa.networks.layers import full_precision

if TYPE_CHECKING:
    from joyvasa.motion.controller import MotionController
    from joyvasa.motion.sequence import MotionSequence

PUBLISHED_KEYPOINTS = 21  # of LivePortrait's weights, to which the indices below apply
LIP_INDICES = (6, 12, 14, 17, 19, 20)
EYE_INDICES = (11, 13, 15, 16, 18)
LIP_OPEN_RATIO = 0.03  # LivePortrait: minimum height over width of an open mouth

DrivingRegion = Literal["all", "exp", "pose", "lip", "eyes", "scale_and_translation"]
RelativeMode = Literal["expression-friendly", "pose-friendly"]
MouthSource = Literal["motion", "sound", "mix"]
FacePart = Literal["head", "lips", "eyes"]
_HEAD_REGIONS = ("all", "pose")  # regions in which the rotation of the head follows the motion
_LIP_REGIONS = ("all", "exp", "lip")  # regions in which lips follow the motion
_EYE_REGIONS = ("all", "exp", "eyes")  # regions in which eyelids follow the motion


@dataclass(frozen=True, kw_only=True)
class DrivingConfig:
    """Options of driving. The defaults are those of JoyVASA's command line.

    Raises:
        ConfigError: `bad_driving_option`.
    """

    relative: bool = False  # keep the portrait's own expression and pose at the first frame; animals always do
    # reference of a relative motion: `expression-friendly` adds the displacements of the motion, scaled by face size,
    # to the portrait's keypoints; `pose-friendly` uses the keypoints of pose and expression, as without `relative`
    relative_mode: RelativeMode = "expression-friendly"
    # what follows the motion: everything (`all`), expressions (`exp`), head rotation (`pose`), `lip`, or `eyes`. Size
    # and position of the head follow it in every region; `scale_and_translation` is limited to these, which is what
    # JoyVASA does for `eyes`.
    region: DrivingRegion = "all"
    stitching: bool = False  # correct the keypoints so that the face still fits the shoulders
    # close the lips of a portrait with an open mouth first; needs `relative` and a detector for people that measures
    # the opening. In a run it has no effect on rows of animals
    normalize_lip: bool = False
    multiplier: float = 1.1  # strength of the motion; 0 holds still
    keep_scale: bool | None = None  # keep the size of the portrait's head. None: for animals only.
    # keypoints of the lips. For `all` and `exp` they use the expression of the motion itself instead of its change
    # since the first frame, but not in an animal. None: those of the published weights where the portrait has 21
    # keypoints, else none.
    lip_indices: tuple[int, ...] | None = None
    eye_indices: tuple[int, ...] | None = None  # keypoints of the eyelids, in the same way
    # what the lips follow if both a motion and a recording are given: `motion`, the `sound`, or the mean of both
    # (`mix`). Head pose and the rest of the face follow the motion.
    mouth_from: MouthSource = "motion"
    # use rotation, position and expression of the motion itself instead of their changes since its first frame, as
    # LivePortrait's absolute motion does; the size of the head is the portrait's. Not with `relative`; no effect on
    # animals.
    absolute: bool = False

    @property
    def mixes_mouth(self) -> bool:
        """Whether the lips of a motion follow a recording, which must then be sampled too."""
        return self.mouth_from != "motion"

    def for_mode(self, mode: Mode) -> DrivingConfig:
        """Resolve the defaults that depend on the mode.

        Lips of animals follow the motion like all other keypoints, as a person's absolute lip shape would not fit. No
        keypoint is absolute then, so driving is always relative and `relative_mode` has no effect.
        """
        if mode == "human":
            return replace(self, keep_scale=bool(self.keep_scale))
        return replace(
            self,
            relative=True,
            absolute=False,
            relative_mode="expression-friendly",
            keep_scale=self.keep_scale is None or self.keep_scale,
            lip_indices=() if self.region in ("all", "exp") else self.lip_indices,
        )

    def __post_init__(self) -> None:
        for name in ("lip_indices", "eye_indices"):
            if isinstance(indices := getattr(self, name), list):  # read from YAML
                object.__setattr__(self, name, tuple(indices))
        for name, choices in (
            ("relative_mode", get_args(RelativeMode)),
            ("region", get_args(DrivingRegion)),
            ("mouth_from", get_args(MouthSource)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise _bad_option(name, repr(value), f"one of {', '.join(choices)}", "choose one")
        if not (math.isfinite(self.multiplier) and self.multiplier >= 0):
            raise _bad_option("multiplier", str(self.multiplier), "a number of at least 0", "correct it")
        if self.absolute and self.relative:
            raise _bad_option("absolute", "true with relative: true", "one of them", "switch one off")
        if self.normalize_lip and not self.relative:
            raise _bad_option(
                "normalize_lip", "true with relative: false", "relative: true", "switch relative on, or this off"
            )


def find_driven_parts(config: DrivingConfig, *, source_moves: bool, absolute_expression: bool) -> tuple[FacePart, ...]:
    """Return the parts of the face that move as in the motion: the head, which rotates, the lips, the eyelids.

    The other parts hold still, or they keep the motion of a source video, to which that of the region may be added.

    Args:
        config: options of driving, resolved by `DrivingConfig.for_mode`.
        source_moves: whether the source is a video.
        absolute_expression: see `PortraitDriver`.
    """
    region, alone = config.region, not source_moves or config.absolute
    replaced = alone or not (config.relative and config.relative_mode == "expression-friendly")
    parts: dict[FacePart, bool] = {
        "head": region in _HEAD_REGIONS and alone,
        "lips": region in _LIP_REGIONS and replaced,
        "eyes": region in _EYE_REGIONS and (alone or (replaced and absolute_expression and region != "eyes")),
    }
    return tuple(part for part, driven in parts.items() if driven)


class PortraitDriver:
    """Computes the driving keypoints of a portrait, human or animal.

    Attributes:
        source_keypoints: keypoints of the portrait itself, shape (1, keypoints, 3), or of each frame of a source video.

    Args:
        config: options of driving, resolved by `DrivingConfig.for_mode`.
        source: keypoints of one portrait, on the device of all results; or of consecutive frames of a source video,
            shape (frames, ...), to which the same frames of the motion belong.
        first_frame: first frame of the motion, `motion[:1]`, even if driving starts later.
        stitching: network for `config.stitching`.
        lip: network for `config.normalize_lip` and `target_lip_ratio`.
        source_lip_ratio: height / width of the portrait's mouth opening; None without landmarks, lips are then not
            normalized.
        target_lip_ratio: opening of the mouth at rest, instead of the portrait's own; needs `source_lip_ratio`.
        eye: network for `target_eye_ratio`.
        source_eye_ratios: height / width of the portrait's left and right eye.
        target_eye_ratio: opening of the eyes at rest, instead of the portrait's own; needs `source_eye_ratios`.
        controller: adds offsets to the frames; the multiplier does not apply to them.
        absolute_expression: whether expressions are free of identity, so that for `all` and `exp` all keypoints use the
            expression of the motion itself, as lips do. Ignored for animals.
        source_moves: whether the source is a video: its face keeps its own motion, lips follow that of the motion
            itself also in the region `lip`, and size and position of the head follow the motion only in the regions
            `all` and `scale_and_translation`.

    Raises:
        ConfigError: `network_missing`, `bad_driving_option` if a region has no keypoints.
        InputError: `keypoints_mismatch` if portrait and motion have different numbers of keypoints.
        ModelError: `keypoints_not_finite`.
    """

    @torch.inference_mode()
    def __init__(
        self,
        config: DrivingConfig,
        *,
        source: KeypointInfo,
        first_frame: MotionSequence,
        stitching: nn.Module | None = None,
        lip: nn.Module | None = None,
        source_lip_ratio: float | None = None,
        target_lip_ratio: float | None = None,
        eye: nn.Module | None = None,
        source_eye_ratios: tuple[float, float] | None = None,
        target_eye_ratio: float | None = None,
        controller: MotionController | None = None,
        absolute_expression: bool = False,
        source_moves: bool = False,
    ) -> None:
        _check_pair(source, first_frame, source_moves=source_moves)
        self._config = config
        self._source = source
        self._controller = controller
        self._stitching = _require(stitching, "stitching", "stitching") if config.stitching else None
        self.source_keypoints = transform_keypoints(source)

        n_keypoints = source.canonical.shape[1]
        lips = _index_mask("lip_indices", config.lip_indices, LIP_INDICES, n_keypoints)
        eyes = _index_mask("eye_indices", config.eye_indices, EYE_INDICES, n_keypoints)
        none, all_keypoints = torch.zeros_like(lips), torch.ones_like(lips)
        following = {"all": all_keypoints, "exp": all_keypoints, "lip": lips, "eyes": eyes}.get(config.region, none)
        if config.region in ("lip", "eyes") and not following.any():
            raise _bad_option(
                "region",
                f"{config.region} for a portrait of {n_keypoints} keypoints",
                f"{PUBLISHED_KEYPOINTS} keypoints, or indices",
                f"name the keypoints in {config.region.rstrip('s')}_indices, or choose another region",
            )

        device = self.source_keypoints.device
        self._following = following.to(device)  # keypoints whose expression changes with the motion
        absolute = all_keypoints if absolute_expression and lips.any() else lips
        is_absolute = config.region in ("all", "exp") or (source_moves and config.region == "lip")
        absolute = following if config.absolute else absolute & following if is_absolute else none
        self._absolute = absolute.to(device)
        closes = absolute.any() or (controller is not None and controller.animal and config.region in _LIP_REGIONS)
        self._closable = source if closes else None  # else the lips keep the opening of the portrait
        self._holds_position = source_moves and config.region not in ("all", "scale_and_translation")

        self._rotation = source.rotation
        first = _Frames(first_frame, device)
        self._expression_offset = source.expression - first.expression
        self._scale_factor = source.scale / first.scale
        self._translation_offset = source.translation - first.translation
        with full_precision(self.source_keypoints):
            self._rotation_factor = first.rotation.transpose(1, 2) @ self._rotation

        self._first_keypoints = None
        if config.relative and config.relative_mode == "expression-friendly":
            self._first_keypoints = self._posed(first, first)
            pairs = zip(self.source_keypoints.split(1), self._first_keypoints.split(1), strict=True)
            multipliers = [motion_multiplier(*pair) for pair in pairs]  # each frame of a source video has its own
            self._motion_multiplier = torch.tensor(multipliers, device=device)[:, None, None]

        self._lip_delta = self._eye_delta = None
        if config.normalize_lip or target_lip_ratio is not None:
            lip = _require(lip, "lip", "normalize_lip" if target_lip_ratio is None else "mouth.open")
            is_closed = source_lip_ratio is not None and source_lip_ratio < LIP_OPEN_RATIO and not target_lip_ratio
            if source_lip_ratio is not None and not is_closed:
                ratios = torch.tensor([[source_lip_ratio, target_lip_ratio or 0.0]], device=device)
                self._lip_delta = retargeting_delta(lip, self.source_keypoints, ratios)
        if target_eye_ratio is not None and source_eye_ratios is not None:
            ratios = torch.tensor([[*source_eye_ratios, target_eye_ratio]], device=device)
            self._eye_delta = retargeting_delta(_require(eye, "eye", "eyes.open"), self.source_keypoints, ratios)

    @torch.inference_mode()
    def keypoints(self, motion: MotionSequence) -> Tensor:
        """Compute the driving keypoints of frames.

        Returns:
            Driving keypoints, shape (frames, keypoints, 3), float32, on the portrait's device.
        """
        source, config = self.source_keypoints, self._config
        frames = _Frames(motion, source.device)
        displaced = self._controller.displace(motion, self._closable) if self._controller else motion
        x = self._posed(frames, frames if displaced is motion else _Frames(displaced, source.device))
        displacement = None if displaced is motion else x - self._posed(frames, frames)
        if self._first_keypoints is not None:
            x = source + (x - self._first_keypoints) * self._motion_multiplier
        if self._stitching is not None:
            x = stitch_keypoints(self._stitching, source, x)
        if self._lip_delta is not None:
            x = x + self._lip_delta
        if self._eye_delta is not None:
            x = x + self._eye_delta
        driven = source + (x - source) * config.multiplier
        return driven if displacement is None else driven - (config.multiplier - 1) * displacement

    def _posed(self, frames: _Frames, displaced: _Frames) -> Tensor:
        """Compute the source's keypoints with pose and expression of the frames, shape (frames, keypoints, 3).

        Args:
            frames: frames of the motion.
            displaced: the same frames with the offsets of the controls, which apply in every region.
        """
        source = self._source
        rotation = self._rotation
        with full_precision(rotation):
            if self._config.region in _HEAD_REGIONS:
                rotation = displaced.rotation if self._config.absolute else displaced.rotation @ self._rotation_factor
            elif displaced is not frames:
                rotation = rotation @ (frames.rotation.transpose(1, 2) @ displaced.rotation)
        expression = torch.where(self._following, frames.expression + self._expression_offset, source.expression)
        expression = torch.where(self._absolute, frames.expression, expression)
        if displaced is not frames:
            expression = expression + (displaced.expression - frames.expression)
        if self._holds_position:
            return pose_keypoints(source.canonical, rotation, expression, source.scale, source.translation)
        if self._config.absolute:
            return pose_keypoints(source.canonical, rotation, expression, source.scale, frames.translation)
        scale = source.scale if self._config.keep_scale else frames.scale * self._scale_factor
        translation = frames.translation + self._translation_offset
        return pose_keypoints(source.canonical, rotation, expression, scale, translation)


class _Frames:
    """Frames of a motion on the portrait's device."""

    def __init__(self, motion: MotionSequence, device: torch.device) -> None:
        self.rotation = motion.rotation.to(device)  # (T, 3, 3)
        self.expression = motion.expression.to(device)  # (T, K, 3)
        self.scale = motion.scale.to(device)  # (T, 1)
        self.translation = motion.translation.to(device)  # (T, 3)


def lip_mask(config: DrivingConfig, n_keypoints: int) -> Tensor:
    """Return the mask of the lip keypoints, shape (keypoints, 1), bool.

    Raises:
        ConfigError: `bad_driving_option` if they are unknown.
    """
    lips = _index_mask("lip_indices", config.lip_indices, LIP_INDICES, n_keypoints)
    if not lips.any():
        raise _bad_option(
            "mouth_from",
            f"{config.mouth_from} for a motion of {n_keypoints} keypoints",
            f"{PUBLISHED_KEYPOINTS} keypoints, or indices",
            "name the keypoints in lip_indices, or use motion",
        )
    return lips


def _index_mask(name: str, indices: tuple[int, ...] | None, published: tuple[int, ...], n_keypoints: int) -> Tensor:
    """Return the mask of the keypoints of an index set, shape (keypoints, 1), bool."""
    if indices is None:
        indices = published if n_keypoints == PUBLISHED_KEYPOINTS else ()
    if any(not 0 <= index < n_keypoints for index in indices):
        raise _bad_option(name, str(indices), f"numbers from 0 to {n_keypoints - 1}", "correct them")
    mask = torch.zeros(n_keypoints, 1, dtype=torch.bool)
    mask[list(indices)] = True
    return mask


def _check_pair(source: KeypointInfo, first_frame: MotionSequence, *, source_moves: bool) -> None:
    if (len(source) != 1 and not source_moves) or len(first_frame) != 1:
        raise ValueError(f"one portrait and one first frame are expected, not {len(source)} and {len(first_frame)}")
    check_keypoint_count(first_frame.expression.shape[1], source.canonical.shape[1])


def _require(network: nn.Module | None, name: str, option: str) -> nn.Module:
    if network is None:
        raise ConfigError(
            "network_missing",
            f"driving option {option}: the model bundle has no network {name}; expected one: "
            "switch the option off, or use another bundle",
        )
    return network


def _bad_option(name: str, found: str, expected: str, remedy: str) -> ConfigError:
    return ConfigError("bad_driving_option", f"driving option {name}: found {found}; expected {expected}: {remedy}")
