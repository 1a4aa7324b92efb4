"""The networks of the method, by name.

State-dict keys are those of the published files, so that these load strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from torch import nn

from joyvasa.errors import ConfigError


@dataclass(frozen=True)
class _Entry:
    """Where a network is defined; imported when it is first built."""

    module: str  # in the package joyvasa
    network: str  # class, takes a configuration
    config: str  # frozen dataclass
    preset: Mapping[str, Any] = field(default_factory=dict)  # values that replace the dataclass's defaults


_ENTRIES: Mapping[str, _Entry] = {
    "appearance_feature_extractor": _Entry(
        "networks.appearance_feature_extractor",
        "AppearanceFeatureExtractor",
        "AppearanceFeatureExtractorConfig",
    ),
    "motion_extractor": _Entry("networks.motion_extractor", "MotionExtractor", "MotionExtractorConfig"),
    "warping_module": _Entry("networks.warping_module", "WarpingModule", "WarpingConfig"),
    "spade_generator": _Entry("networks.spade_generator", "SpadeGenerator", "SpadeGeneratorConfig"),
    "stitching": _Entry("networks.retargeting", "RetargetingNetwork", "StitchingConfig"),
    "lip": _Entry("networks.retargeting", "RetargetingNetwork", "LipConfig"),
    "eye": _Entry("networks.retargeting", "RetargetingNetwork", "EyeConfig"),
    "motion_generator": _Entry("networks.motion_generator", "MotionGenerator", "MotionGeneratorConfig"),
    # What JoyVASA's training script makes; the published weights have 73 and 10.
    "motion_generator_train": _Entry(
        "networks.motion_generator",
        "MotionGenerator",
        "MotionGeneratorConfig",
        {"motion_feat_dim": 70, "n_prev_motions": 25},
    ),
    "wav2vec2": _Entry("networks.speech_encoder", "SpeechEncoder", "SpeechEncoderConfig"),
    "i3d": _Entry("networks.metrics.i3d", "I3d", "I3dConfig"),
    "amt": _Entry("networks.metrics.amt", "Amt", "AmtConfig"),
    "mplug_owl2": _Entry("networks.metrics.mplug_owl2", "MplugOwl2", "MplugOwl2Config"),
    "syncnet": _Entry("networks.metrics.syncnet", "SyncNet", "SyncNetConfig"),
    "s3fd": _Entry("networks.metrics.s3fd", "S3fd", "S3fdConfig"),
    "xpose": _Entry("networks.xpose", "Xpose", "XposeConfig"),
    "compact_appearance": _Entry("sample.networks.appearance", "CompactAppearance", "CompactAppearanceConfig"),
    "compact_motion_extractor": _Entry(
        "sample.networks.motion_extractor", "CompactMotionExtractor", "CompactMotionExtractorConfig"
    ),
    "compact_warping": _Entry("sample.networks.warping", "CompactWarping", "CompactWarpingConfig"),
    "compact_generator": _Entry("sample.networks.generator", "CompactGenerator", "CompactGeneratorConfig"),
}

NAMES: tuple[str, ...] = tuple(_ENTRIES)


def build(name: str, **config: Any) -> nn.Module:
    """Builds a network with constructor-initialised weights.

    Args:
        name: one of `NAMES`.
        **config: sizes that differ from the published ones; the fields of the network's configuration.

    Returns:
        The network in eval mode, on the CPU, float32.

    Raises:
        ConfigError: `unknown_network`, `unknown_network_option`, or what the configuration says of a bad value.
    """
    entry = _ENTRIES.get(name)
    if entry is None:
        raise ConfigError(
            "unknown_network", f"{name}: no network has this name; expected one of {', '.join(NAMES)}: choose one"
        )
    module = import_module(f"joyvasa.{entry.module}")
    config_class = getattr(module, entry.config)
    known = [option.name for option in fields(config_class)]
    if unknown := sorted(set(config) - set(known)):
        raise ConfigError(
            "unknown_network_option",
            f"{name}: found {', '.join(unknown)}; expected some of {', '.join(known)}: correct the option's name",
        )
    return getattr(module, entry.network)(config_class(**{**entry.preset, **config})).eval()
