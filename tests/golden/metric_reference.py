"""Loading of the reference data of metrics: recipe weights, seeded inputs, stored outputs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden import metric_recipe

METRICS = Path(__file__).parents[1] / "data/metrics"


@cache
def meta() -> dict[str, Any]:
    return json.loads((METRICS / "golden/meta.json").read_text())


@cache
def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(METRICS / f"golden/{name}.npz") as arrays:
        return dict(arrays)


def seeded_state(section: str) -> dict[str, torch.Tensor]:
    """Return the recipe's weights of a section, without batch counters and computed tables."""
    weights = meta()[section]["weights"]
    rows = metric_recipe.load_keys(METRICS / weights["keys"])
    options = {name: weights[name] for name in ("gain", "w1_mean", "w1_std")}
    return metric_recipe.seeded_state_dict(rows, weights["seed"], **options)


def published_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Return shapes by key, from `keys/NAME.json`."""
    return {key: tuple(shape) for key, shape, _ in json.loads((METRICS / f"keys/{name}.json").read_text())}


def fill(network: torch.nn.Module, section: str, *, exempt: str = "num_batches_tracked") -> torch.nn.Module:
    """Load the recipe's weights strictly, except for names that end with `exempt`, which are not changed."""
    state = seeded_state(section)
    own = {name: tensor for name, tensor in network.state_dict().items() if name.endswith(exempt)}
    network.load_state_dict({**own, **state}, strict=True)
    return network.eval()


def pattern_video(seed: int, n_frames: int, height: int, width: int, sha: str) -> np.ndarray:
    """Return a video, uint8, shape (n_frames, height, width, 3), checked against its stored hash."""
    video = metric_recipe.pattern_video(seed, n_frames, height, width)
    assert metric_recipe.sha(video) == sha
    return video


def check(actual: Any, expected: np.ndarray, relative: float) -> None:
    """Assert the same shape and max|difference| / max|expected| <= relative."""
    array = actual.detach().cpu().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    assert array.shape == expected.shape
    difference = np.abs(array.astype(np.float64) - expected.astype(np.float64)).max()
    assert difference <= relative * np.abs(expected.astype(np.float64)).max(), f"max difference {difference:.3g}"
