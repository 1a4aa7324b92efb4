"""Roles of a bundle that an animation needs, and checks that the bundle has them and may be used."""

from __future__ import annotations

from collections.abc import Sequence

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.registry import open_bundle
from joyvasa.bundles.spec import License
from joyvasa.errors import ConfigError
from joyvasa.faces.registry import DETECTORS, Opening, check_detector, list_detector_roles, list_detectors, measures
from joyvasa.mode import Mode
from joyvasa.motion.controller import any_facial, find_unsupported
from joyvasa.options import AnimationConfig

MOTION_ROLES = ("motion_generator", "motion_template")
FRAME_ROLES = ("warping_module", "spade_generator")  # run once per frame
# Networks that exist once per mode; all others serve both modes.
RENDERER_ROLES = ("appearance_feature_extractor", "motion_extractor", *FRAME_ROLES)


def resolve_role(mode: Mode, network: str) -> str:
    """Return the role of a network in a mode, for example `animal_warping_module`."""
    return f"animal_{network}" if mode == "animal" and network in RENDERER_ROLES else network


def list_network_roles(config: AnimationConfig) -> tuple[str, ...]:
    """Return the roles that options need in their mode of every bundle; detectors and controls may need more."""
    renderer = (resolve_role(config.mode, role) for role in RENDERER_ROLES)
    extra = [("stitching", config.driving.stitching), ("lip", config.driving.normalize_lip)]
    return (*renderer, *MOTION_ROLES, *(role for role, needed in extra if needed))


def resolve_detector(config: AnimationConfig, bundle: Bundle) -> str:
    """Return the name of the face detector for these options and this bundle, or `none`.

    With `licenses=commercial`, a detector of the bundle whose weights are refused is replaced by one of the program.

    Raises:
        ConfigError: `config_invalid` if the detector does not support the mode.
    """
    check_detector(config.face.detector, config.mode)
    if config.face.detector != "bundle":
        return config.face.detector
    name = bundle.switches.animal_detector if config.mode == "animal" else bundle.switches.detector
    is_refused = config.licenses == "commercial" and _find_refused(bundle, list_detector_roles(name))
    return _find_free_detector(config.mode) if is_refused else name


def find_detector_bundle(config: AnimationConfig, bundle: Bundle) -> Bundle | None:
    """Return the bundle of the program with the weights of the face detector; None if it uses roles of `bundle`."""
    spec = DETECTORS.get(resolve_detector(config, bundle))
    return open_bundle(spec.bundle) if spec and spec.bundle else None


def list_required_roles(config: AnimationConfig, bundle: Bundle) -> tuple[str, ...]:
    """Return the roles of the bundle that these options need in their mode, including those of the detector."""
    roles = (*list_network_roles(config), *list_retargeting_roles(config, bundle))
    return (*dict.fromkeys(roles), *list_detector_roles(resolve_detector(config, bundle)))


def uses_retargeting(config: AnimationConfig, bundle: Bundle) -> bool:
    """Return whether networks apply `mouth.open` and `eyes.open`; otherwise the expression does."""
    return config.mode == "human" and not bundle.switches.absolute_expression


def list_retargeting_roles(config: AnimationConfig, bundle: Bundle) -> tuple[str, ...]:
    """Return the roles of the networks that apply `mouth.open` and `eyes.open`."""
    wanted = [("lip", config.mouth.open), ("eye", config.eyes.open)]
    return tuple(role for role, ratio in wanted if ratio is not None and uses_retargeting(config, bundle))


def require_controls(config: AnimationConfig, bundle: Bundle) -> None:
    """Check that the bundle and the face detector can apply the controls.

    Raises:
        ConfigError: `control_unsupported`, or `license_refused`.
        ModelError: `models_missing`.
    """
    if not any_facial(config):
        return
    found = find_unsupported(config, bundle.layout, animal=config.mode == "animal")
    retargeting = list_retargeting_roles(config, bundle)
    detector = resolve_detector(config, bundle)
    openings: tuple[tuple[str, Opening, str], ...] = (("lip", "lips", "mouth.open"), ("eye", "eyes", "eyes.open"))
    for role, opening, name in openings:
        if not found and role in retargeting and not measures(detector, opening):
            found = name, f"the face detector {detector} does not measure the opening of the {opening}"
    if found:
        raise ConfigError(
            "control_unsupported",
            f"{found[0]} is set, mode {config.mode}: the bundle {bundle.name} cannot apply it, because {found[1]}; "
            "expected a bundle that can: remove it, or use another bundle or detector",
        )
    require_weights(config, bundle, retargeting)


def require_source_controls(config: AnimationConfig, bundle: Bundle) -> None:
    """Check that no control is set that networks apply to pictures only, for a video whose face is animated.

    Raises:
        ConfigError: `control_unsupported`.
    """
    if roles := list_retargeting_roles(config, bundle):
        name = {"lip": "mouth.open", "eye": "eyes.open"}[roles[0]]
        raise ConfigError(
            "control_unsupported",
            f"{name} is set for a video: the bundle {bundle.name} applies it to pictures only, because it needs the "
            "opening in the portrait; expected a picture: remove it for videos, or use another bundle",
        )


def require_models(config: AnimationConfig, bundle: Bundle) -> None:
    """Check that all weights exist and that their licenses permit the requested use.

    Unclear terms count as non-commercial.

    Raises:
        ConfigError: `license_refused`, with the weights and an alternative; `config_invalid` if the lips are to be
            normalized with a detector that does not measure them; `control_unsupported`.
        ModelError: `models_missing`.
    """
    detector = resolve_detector(config, bundle)
    if config.driving.normalize_lip and not measures(detector, "lips"):
        raise ConfigError(
            "config_invalid",
            f"driving.normalize_lip is true with the face detector {detector}; expected a detector that measures the "
            "mouth opening: use face.detector=blazeface, or turn it off",
        )
    require_controls(config, bundle)
    require_weights(config, bundle, list_required_roles(config, bundle))


def require_weights(config: AnimationConfig, bundle: Bundle, used: Sequence[str]) -> None:
    """Check the weights of the given roles; see `require_models`."""
    if config.licenses == "commercial":
        if refused := _find_refused(bundle, used):
            raise _license_error(config, bundle, refused)
    bundle.require_roles(used)


def _find_refused(bundle: Bundle, roles: Sequence[str]) -> dict[str, License]:
    """Return the licenses of roles that do not clearly permit commercial use."""
    return {role: license for role, license in bundle.get_licenses(roles).items() if license.commercial != "yes"}


def _find_free_detector(mode: Mode) -> str:
    """Return the detector of a mode that needs no weights of a bundle, and has no restricted license."""
    return next(name for name in list_detectors(mode) if not list_detector_roles(name))


def _license_error(config: AnimationConfig, bundle: Bundle, refused: dict[str, License]) -> ConfigError:
    weights = ", ".join(f"{role} ({license.name})" for role, license in refused.items())
    detector = resolve_detector(config, bundle)
    if refused.keys() <= set(list_detector_roles(detector)):
        other = _find_free_detector(config.mode)
        weights, remedy = f"the detector {detector}: {weights}", f"use face.detector={other}, or none for a face crop"
    else:
        remedy = "use another bundle"
    return ConfigError(
        "license_refused",
        f"licenses is commercial, mode {config.mode}: found {weights}; expected weights that may clearly be used "
        f"commercially: {remedy}",
    )
