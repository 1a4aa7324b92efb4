"""What is animated: a person or an animal."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Mode: TypeAlias = Literal["human", "animal"]
MODES: tuple[Mode, ...] = get_args(Mode)
