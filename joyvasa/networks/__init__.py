"""Registry of the networks.

State-dict keys equal those of the published files, which therefore load with `strict=True`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from torch import nn

from joyvasa.errors import ConfigError


@dataclass(frozen=True)
class NetworkEntry:
    """Location of a network. Its module is imported when the network is first built."""

    module: str  # full name of the module
    network: str  # name of the class; its constructor accepts a configuration
    config: str  # name of the configuration, a frozen dataclass
    preset: Mapping[str, Any] = field(default_factory=dict)  # values that replace defaults of the configuration


NETWORKS: dict[str, NetworkEntry] = {
    "appearance_feature_extractor": NetworkEntry(
        "joyvasa.networks.appearance_feature_extractor",
        "AppearanceFeatureExtractor",
        "AppearanceFeatureExtractorConfig",
    ),
    "motion_extractor": NetworkEntry("joyvasa.networks.motion_extractor", "MotionExtractor", "MotionExtractorConfig"),
    "warping_module": NetworkEntry("joyvasa.networks.warping_module", "WarpingModule", "WarpingConfig"),
    "spade_generator": NetworkEntry("joyvasa.networks.spade_generator", "SpadeGenerator", "SpadeGeneratorConfig"),
    "stitching": NetworkEntry("joyvasa.networks.retargeting", "RetargetingNetwork", "StitchingConfig"),
    "lip": NetworkEntry("joyvasa.networks.retargeting", "RetargetingNetwork", "LipConfig"),
    "eye": NetworkEntry("joyvasa.networks.retargeting", "RetargetingNetwork", "EyeConfig"),
    "motion_generator": NetworkEntry("joyvasa.networks.motion_generator", "MotionGenerator", "MotionGeneratorConfig"),
    # Sizes in JoyVASA's training script; the published weights have 73 and 10.
    "motion_generator_train": NetworkEntry(
        "joyvasa.networks.motion_generator",
        "MotionGenerator",
        "MotionGeneratorConfig",
        {"motion_feat_dim": 70, "n_prev_motions": 25},
    ),
    "wav2vec2": NetworkEntry("joyvasa.networks.speech_encoder", "SpeechEncoder", "SpeechEncoderConfig"),
    "i3d": NetworkEntry("joyvasa.networks.metrics.i3d", "I3d", "I3dConfig"),
    "amt": NetworkEntry("joyvasa.networks.metrics.amt", "Amt", "AmtConfig"),
    "mplug_owl2": NetworkEntry("joyvasa.networks.metrics.mplug_owl2", "MplugOwl2", "MplugOwl2Config"),
    "syncnet": NetworkEntry("joyvasa.networks.metrics.syncnet", "SyncNet", "SyncNetConfig"),
    "s3fd": NetworkEntry("joyvasa.networks.metrics.s3fd", "S3fd", "S3fdConfig"),
    "xpose": NetworkEntry("joyvasa.networks.xpose", "Xpose", "XposeConfig"),
    "blazeface_short_range": NetworkEntry("joyvasa.networks.faces.blazeface", "ShortRange", "BlazeFaceConfig"),
    "blazeface_full_range": NetworkEntry("joyvasa.networks.faces.blazeface", "FullRange", "BlazeFaceConfig"),
    "face_mesh": NetworkEntry("joyvasa.networks.faces.face_mesh", "FaceMesh", "FaceMeshConfig"),
    "compact_appearance": NetworkEntry(
        "joyvasa.sample.networks.appearance", "CompactAppearance", "CompactAppearanceConfig"
    ),
    "compact_motion_extractor": NetworkEntry(
        "joyvasa.sample.networks.motion_extractor", "CompactMotionExtractor", "CompactMotionExtractorConfig"
    ),
    "compact_animal_motion_extractor": NetworkEntry(
        "joyvasa.sample.networks.animal_motion_extractor", "AnimalMotionExtractor", "AnimalLandmarksConfig"
    ),
    "compact_animal_warping": NetworkEntry(
        "joyvasa.sample.networks.warping", "CompactAnimalWarping", "CompactWarpingConfig"
    ),
    "compact_warping": NetworkEntry("joyvasa.sample.networks.warping", "CompactWarping", "CompactWarpingConfig"),
    "compact_animal_generator": NetworkEntry(
        "joyvasa.sample.networks.generator", "CompactAnimalGenerator", "CompactGeneratorConfig"
    ),
    "compact_generator": NetworkEntry(
        "joyvasa.sample.networks.generator", "CompactGenerator", "CompactGeneratorConfig"
    ),
}


def build(name: str, **config: Any) -> nn.Module:
    """Build a network with freshly initialized weights.

    Args:
        name: key of `NETWORKS`.
        **config: fields of the network's configuration that differ from the defaults.

    Returns:
        The network in eval mode, on the CPU, float32.

    Raises:
        ConfigError: `unknown_network`, `unknown_network_option`, or the code of the network's configuration.
    """
    entry = NETWORKS.get(name)
    if entry is None:
        raise ConfigError(
            "unknown_network", f"{name}: no network has this name; expected one of {', '.join(NETWORKS)}: choose one"
        )

    module = import_module(entry.module)
    config_class = getattr(module, entry.config)
    options = [option.name for option in fields(config_class)]
    if unknown := sorted(set(config) - set(options)):
        raise ConfigError(
            "unknown_network_option",
            f"{name}: found {', '.join(unknown)}; expected some of {', '.join(options)}: correct the option's name",
        )

    return getattr(module, entry.network)(config_class(**{**entry.preset, **config})).eval()
