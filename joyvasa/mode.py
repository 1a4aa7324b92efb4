"""The two modes of animation: people and animals."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Mode: TypeAlias = Literal["human", "animal"]
MODES: tuple[Mode, ...] = get_args(Mode)
