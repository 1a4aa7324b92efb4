"""Time of one denoising step, published sizes, against one record and half of the guidance at a time: `make bench`."""

from copy import deepcopy

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.cpu import accelerate
from joyvasa.runtime.device import autocast
from joyvasa.runtime.memory import default_allocation, keep_freed_memory
from tests.joyvasa.speed_comparison import compare_speed

pytestmark = pytest.mark.bench

RECORDS, ROUNDS, STEP, SCALE = 16, 5, 25, 2.8
CPU = torch.device("cpu")


def windows_of_records():
    """A plain network of published sizes; motion, audio, and both before the window, of each record."""
    torch.manual_seed(0)
    network = build("motion_generator")
    sizes = network.config
    audio, motion = torch.randn(RECORDS, 100, sizes.feature_dim), torch.randn(RECORDS, 100, sizes.motion_feat_dim)
    prev_motion = torch.randn(RECORDS, sizes.n_prev_motions, sizes.motion_feat_dim)
    prev_audio = torch.randn(RECORDS, sizes.n_prev_motions, sizes.feature_dim)
    return network, motion, audio, prev_motion, prev_audio


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.05)])
@torch.no_grad()
def test_a_denoising_step_of_many_records(precision, bound):
    plain, motion, audio, prev_motion, prev_audio = windows_of_records()
    network, n_motions = accelerate(deepcopy(plain)), plain.config.n_motions
    with autocast(CPU, precision):
        predict = network._predictor(audio, prev_motion, prev_audio, SCALE, None)  # of a window: its 50 steps share it

    @default_allocation()
    def plainly():
        results, step = [], torch.tensor([STEP])
        for i in range(RECORDS):
            x, sound, before, sound_before = (each[i : i + 1] for each in (motion, audio, prev_motion, prev_audio))
            heard = plain.denoise(x, sound, before, sound_before, step)
            unheard = plain.denoise(x, network.null_audio_feat.expand_as(sound), before, sound_before, step)
            results.append((unheard + SCALE * (heard - unheard))[:, -n_motions:])
        return torch.cat(results)

    def here():
        with autocast(CPU, precision):
            return predict(motion, STEP)

    keep_freed_memory()
    found = compare_speed(plainly, here, rounds=ROUNDS)
    wall, fast_wall = found.plain.median_s, found.fast.median_s
    print(
        f"\n{RECORDS} records, {precision}, {torch.get_num_threads()} threads: {wall:.3f} s plainly, "
        f"{fast_wall:.3f} s here, {wall / fast_wall:.2f} times as fast; "
        f"processor {found.plain.median_processor_s / found.fast.median_processor_s:.2f}; apart by {found.relative_error:.1e}"
    )
    assert found.relative_error <= bound
