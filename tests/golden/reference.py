"""Loading of the golden reference data: recipe weights, seeded inputs, stored outputs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from joyvasa.motion.sequence import MotionSequence
from joyvasa.networks.cpu import accelerate
from tests.golden import recipe

GOLDEN = Path(__file__).parents[1] / "data/golden"

# A network as built, and as accelerated for inference on CPUs, which is what runs use.
FORMS = (pytest.param("plain", marks=pytest.mark.slow), "accelerated")


@cache
def base_seed() -> int:
    return int(json.loads((GOLDEN / "inputs/set.json").read_text())["base_seed"])


@cache
def keys(net: str) -> dict[str, Any]:
    """Load state-dict keys, shapes, buffers, aliases and checks of a network."""
    return json.loads((GOLDEN / f"keys/{net}.json").read_text())


def fill(module: torch.nn.Module, net: str, form: str = "plain") -> torch.nn.Module:
    """Load the recipe's weights strictly, after a check against the stored figures.

    Args:
        module: network to fill.
        net: name of the network in the recipe.
        form: one of `FORMS`.
    """
    spec = keys(net)
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    assert shapes == {key: shape for key, shape, _ in spec["keys"]}
    state = recipe.fill_state_dict(module.state_dict(), net, base_seed(), spec.get("aliases"))
    for key, (mean, mean_abs, *_) in spec["check"].items():
        assert state[key].double().mean().item() == pytest.approx(mean, rel=1e-4, abs=1e-6), key
        assert state[key].double().abs().mean().item() == pytest.approx(mean_abs, rel=1e-4, abs=1e-6), key
    module.load_state_dict(state, strict=True)
    return accelerate(module.eval()) if form == "accelerated" else module.eval()


def make(spec: dict[str, Any]) -> Any:
    """Create an input: a tensor, a literal array, an image (uint8 RGB) or a waveform (float32)."""
    kind = spec.get("kind", "tensor")
    if kind == "synth_image":
        return recipe.synth_image(spec["h"], spec["w"], spec["seed"])
    if kind == "synth_wave":
        return recipe.synth_wave(spec["n"], spec["sr"], spec["seed"])
    if kind == "literal":
        return np.asarray(spec["value"], dtype=spec["dtype"])
    return recipe.make_input(spec)


class Section:
    """Inputs and stored outputs of one golden section.

    `input` returns the first input of a name; `input_list` contains all inputs in file order.
    """

    def __init__(self, name: str, variant: str = "") -> None:
        self.name = name
        self.specs = json.loads((GOLDEN / f"inputs/{name}.json").read_text())
        self.stored = np.load(GOLDEN / f"out/{name}{variant}.npz")

    @property
    def input_list(self) -> list[tuple[str, Any]]:
        return [(spec["name"], make(spec)) for spec in self.specs]

    def input(self, name: str) -> Any:
        return make(next(spec for spec in self.specs if spec["name"] == name))

    def tape(self, prefix: str) -> torch.Tensor:
        """Return the recorded draws `prefix_000`, `prefix_001`, ..., stacked, shape (draws, ...)."""
        names = [spec for spec in self.specs if spec["name"].startswith(prefix + "_") and spec["name"][-3:].isdigit()]
        return torch.stack([make(spec) for spec in names])

    def check(self, name: str, actual: Any, relative: float, absolute: float | None = None) -> None:
        """Assert that an array equals the stored one.

        Args:
            name: name of the stored array.
            actual: array to check.
            relative: bound of max|difference| / max|stored|; 0 requires equality.
            absolute: bound of max|difference|, which replaces the relative one.
        """
        array = actual.detach().cpu().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
        if name in self.stored:
            stored = self.stored[name]
            assert array.size == stored.size, f"{name}: shape {array.shape}, stored {stored.shape}"
            array = array.reshape(stored.shape)
        else:
            stored = self.stored[f"{name}__sub"]
            stride, *shape = self.stored[f"{name}__meta"].tolist()
            assert list(array.shape) == shape, f"{name}: shape {array.shape}, stored {tuple(shape)}"
            mean, std, peak = self.stored[f"{name}__stat"]
            slack = absolute if absolute is not None else relative * peak
            full = array.astype(np.float64)
            assert abs(full.mean() - mean) <= slack + 1e-12
            assert abs(full.std() - std) <= slack + 1e-12
            array = array.ravel()[::stride]
        difference = np.abs(array.astype(np.float64) - stored.astype(np.float64)).max(initial=0.0)
        bound = absolute if absolute is not None else relative * np.abs(stored.astype(np.float64)).max(initial=0.0)
        assert difference <= bound, f"{self.name}/{name}: max difference {difference:.3g}, allowed {bound:.3g}"


def landmarks_of(section: Section, count: int, occurrence: int = 0) -> np.ndarray:
    lmk = [value for name, value in section.input_list if name == f"lmk{count}"][occurrence]
    shift = [value for name, value in section.input_list if name == f"lmk{count}_shift"][occurrence]
    return (lmk.numpy() * np.array([1, 1.15], dtype=np.float32) + shift).astype(np.float32)


def read_motion(section: Section) -> MotionSequence:
    """Return the motion in the inputs of a section."""
    pitch, yaw, roll = section.input("m_angles").split(1, dim=1)
    expression, scale, translation = (section.input(f"m_{name}") for name in ("exp", "scale", "t"))
    return MotionSequence(expression=expression, scale=scale, translation=translation, pitch=pitch, yaw=yaw, roll=roll)
