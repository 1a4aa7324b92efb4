"""Portraits and recordings that come with the package, and a manifest that pairs them."""

from pathlib import Path

FOLDER = Path(__file__).parent
PAIRS = FOLDER / "pairs.csv"
