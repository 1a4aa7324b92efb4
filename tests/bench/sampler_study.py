"""Measure how far the few-step sampler lands from full sampling: `python -m tests.bench.sampler_study`."""

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
        few_steps: of `ddim` from its own full run, by number of steps.
        ancestral: of an ancestral run from the full deterministic run of the same start.
        seeds: between two ancestral runs of different seeds; what is below it is less than chance changes.
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
    """Compares samplers on one batch of windows.

    Args:
        network: in eval mode.
        audio: waveforms (B, samples) or features (B, n_motions, dim), on the network's device.
        steps: for the few-step sampler.
        cfg_scale: of all runs.
        seed: of the starts and of the ancestral noise.
    """
    if audio.ndim == 2:
        with torch.no_grad():
            audio = network.audio_features(audio)

    def sampled(generator_seed: int, **options: object) -> Tensor:
        generator = torch.Generator().manual_seed(generator_seed)  # its first draw is the start
        return network.sample(audio, cfg_scale=cfg_scale, generator=generator, **options)  # pyright: ignore

    full = sampled(seed, sampler="ddim")
    ancestral, other = sampled(seed), sampled(seed + 1)
    scale = _root_mean_square(full)
    return SamplerDistances(
        few_steps={n: _root_mean_square(sampled(seed, sampler="ddim", steps=n) - full) / scale for n in steps},
        ancestral=_root_mean_square(ancestral - full) / scale,
        seeds=_root_mean_square(ancestral - other) / scale,
    )


def markdown_table(distances: SamplerDistances, n_full: int) -> str:
    """The distances as a table.

    Args:
        distances: of `few_step_distance`.
        n_full: steps of the full run.
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
    """Noise under the rhythm of syllables, four to six a second; shape (batch, n_samples)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / rate
    syllables = 4 + 2 * torch.rand(batch, 1, generator=generator)
    loudness = torch.sin(torch.pi * syllables * time).square()
    return 0.1 * loudness * torch.randn(batch, n_samples, generator=generator)


def main() -> None:
    """Prints the table for the published sizes with seeded weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of weights, sound and starts")
    parser.add_argument("--windows", type=int, default=2, help="windows of sound that are compared")
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
        "weights are random (seeded), not trained; distances depend on the weights: measure again with those you use."
    )


if __name__ == "__main__":
    main()
