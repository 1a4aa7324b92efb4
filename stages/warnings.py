"""Facts about warnings: inputs that have a problem and are used all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joyvasa.errors import InputWarning

WARNING_COLUMNS: Mapping[str, type] = {"warnings": str, "warning_codes": str}
SEPARATORS = {"warnings": "; ", "warning_codes": ","}  # of several values in one column


def warning_facts(warnings: Sequence[InputWarning]) -> dict[str, str | None]:
    """Return the facts `warnings` (sentences) and `warning_codes`; None if there are no warnings."""
    return {
        "warnings": SEPARATORS["warnings"].join(warning.sentence for warning in warnings) or None,
        "warning_codes": SEPARATORS["warning_codes"].join(warning.code for warning in warnings) or None,
    }
