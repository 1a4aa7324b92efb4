"""Measure the distance of the few-step sampler from full sampling: `python -m tests.bench.sampler_study`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from joyvasa.networks import build
from joyvasa.networks.motion_generator import MotionGenerator


@dataclass(frozen=True)
class SamplerDistances:
    """Distances between motions of the same sound, relative to the root mean square of the full deterministic one.

    Args:
        few_steps: distance of `ddim` from its own full run, by number of steps.
        ancestral: distance of an ancestral run from the full deterministic run with the same start.
        seeds: distance between two ancestral runs with different seeds; smaller distances are below chance variation.
    """

    few_steps: dict[int, float]
    ancestral: float
    seeds: float


def few_step_distance(
    network: MotionGenerator,
    audio: Tensor,
    *,
    steps: Sequence[int] = (5, 10, 25, 50),
    cfg_scale: float = 2.8,
    seed: int = 0,
) -> SamplerDistances:
    """Compare samplers on one batch of windows.

    Args:
        network: motion generator in eval mode.
        audio: waveforms (B, samples) or features (B, n_motions, dim), on the network's device.
        steps: numbers of steps of the few-step sampler.
        cfg_scale: guidance scale of all runs.
        seed: seed of the starts and of the ancestral noise.
    """
    if audio.ndim == 2:
        with torch.no_grad():
            audio = network.encode(audio)

    def sample(generator_seed: int, **options: object) -> Tensor:
        generator = torch.Generator().manual_seed(generator_seed)  # its first draw is the start
        return network.sample(audio, cfg_scale=cfg_scale, generator=generator, **options)  # pyright: ignore

    full = sample(seed, sampler="ddim")
    ancestral, other = sample(seed), sample(seed + 1)
    scale = _root_mean_square(full)
    return SamplerDistances(
        few_steps={n: _root_mean_square(sample(seed, sampler="ddim", steps=n) - full) / scale for n in steps},
        ancestral=_root_mean_square(ancestral - full) / scale,
        seeds=_root_mean_square(ancestral - other) / scale,
    )


def markdown_table(distances: SamplerDistances, n_full: int) -> str:
    """Return the distances as a Markdown table.

    Args:
        distances: result of `few_step_distance`.
        n_full: number of steps of the full run.
    """
    rows = [
        *((f"`ddim`, {n} steps", value) for n, value in distances.few_steps.items()),
        (f"`ancestral`, {n_full} steps, same start", distances.ancestral),
        (f"two `ancestral` runs, {n_full} steps, different seeds", distances.seeds),
    ]
    lines = [f"| sampler | distance from `ddim` with {n_full} steps |", "|---|---|"]
    lines += [f"| {name} | {value:.1%} |" for name, value in rows[:-1]]
    name, value = rows[-1]
    return "\n".join([*lines, f"| for scale: {name} | {value:.1%} from each other |"])


def _root_mean_square(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()


def _synthetic_speech(batch: int, n_samples: int, rate: int, seed: int) -> Tensor:
    """Return noise modulated by a rhythm of four to six syllables per second; shape (batch, n_samples)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / rate
    syllables = 4 + 2 * torch.rand(batch, 1, generator=generator)
    loudness = torch.sin(torch.pi * syllables * time).square()
    return 0.1 * loudness * torch.randn(batch, n_samples, generator=generator)


def main() -> None:
    """Print the table for the published sizes with seeded weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, sound and starts")
    parser.add_argument("--windows", type=int, default=2, help="number of windows of sound")
    parser.add_argument("--cfg-scale", type=float, default=2.8)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    network = build("motion_generator")
    assert isinstance(network, MotionGenerator)
    config = network.config
    n_samples = config.n_motions * config.sample_rate // config.fps
    speech = _synthetic_speech(options.windows, n_samples, config.sample_rate, options.seed)
    distances = few_step_distance(network, speech, cfg_scale=options.cfg_scale, seed=options.seed)
    print(markdown_table(distances, config.n_diff_steps))
    print(
        f"\nRoot mean square over {options.windows} windows, published sizes, guidance {options.cfg_scale:g}. The "
        "weights are random (seeded), not trained; distances depend on the weights."
    )


if __name__ == "__main__":
    main()
