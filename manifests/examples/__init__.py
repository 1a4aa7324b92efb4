"""Portraits and recordings that come with the package, and manifests that pair them."""

from pathlib import Path

FOLDER = Path(__file__).parent
PAIRS = FOLDER / "pairs.csv"  # every portrait with every recording
DEMO = FOLDER / "demo.csv"  # every portrait with one recording
