"""The columns of a manifest that set options of the method for their row."""

from __future__ import annotations

import dataclasses

from joyvasa.bundles import Bundle
from joyvasa.bundles.requirements import require_controls
from joyvasa.config import apply_options
from joyvasa.mode import MODES
from joyvasa.options import AnimationConfig
from manifests.option_columns import OptionColumns
from manifests.record import Options
from stages.record_options import list_animation_options, list_record_options


def build_option_columns(config: AnimationConfig, bundle: Bundle | None = None) -> OptionColumns:
    """Return the columns that set options, with the values of a configuration as defaults.

    Args:
        config: options of the run.
        bundle: bundle that must be able to apply the controls of each row; None to check ranges alone.
    """
    by_mode: dict[str, AnimationConfig] = {mode: dataclasses.replace(config, mode=mode) for mode in MODES}

    def check(mode: str, options: Options) -> None:
        animation = apply_options(by_mode[mode], options)
        if bundle:
            require_controls(animation, bundle)

    return OptionColumns(list_record_options(config), list_animation_options(config), check)
