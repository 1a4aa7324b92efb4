"""Time of one denoising step, published sizes, against one record and half of the guidance at a time: `make bench`."""

import time

import numpy as np
import pytest
import torch

from joyvasa.allocation import keep_freed_memory, usual_allocation
from joyvasa.device import autocast
from joyvasa.networks import build
from pipelines.bench.plain_motion import PlainDenoiser

pytestmark = pytest.mark.bench

RECORDS, ROUNDS, STEP, SCALE = 16, 5, 25, 2.8
CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.05)])
@torch.no_grad()
def test_a_denoising_step_of_many_records(precision, bound):
    torch.manual_seed(0)
    network = build("motion_generator")
    sizes = network.config
    plain = PlainDenoiser(sizes, network.denoising_net.state_dict()).eval()
    audio, motion = torch.randn(RECORDS, 100, sizes.feature_dim), torch.randn(RECORDS, 100, sizes.motion_feat_dim)
    prev_motion = torch.randn(RECORDS, sizes.n_prev_motions, sizes.motion_feat_dim)
    prev_audio = torch.randn(RECORDS, sizes.n_prev_motions, sizes.feature_dim)
    with autocast(CPU, precision):
        predict = network._predictor(audio, prev_motion, prev_audio, SCALE, None)  # of a window: its 50 steps share it

    @usual_allocation()
    def plainly():
        results, step = [], torch.tensor([STEP])
        for i in range(RECORDS):
            x, sound, before, sound_before = (each[i : i + 1] for each in (motion, audio, prev_motion, prev_audio))
            heard = plain(x, sound, before, sound_before, step)
            unheard = plain(x, network.null_audio_feat.expand_as(sound), before, sound_before, step)
            results.append((unheard + SCALE * (heard - unheard))[:, -sizes.n_motions :])
        return torch.cat(results)

    def here():
        with autocast(CPU, precision):
            return predict(motion, STEP)

    keep_freed_memory()
    times, results = {"plain": [], "here": []}, {}
    for _ in range(ROUNDS):
        for way, function in (("plain", plainly), ("here", here)):
            wall, processor = time.perf_counter(), time.process_time()
            results[way] = function()
            times[way].append((time.perf_counter() - wall, time.process_time() - processor))
    (wall, processor), (fast_wall, fast_processor) = (np.median(times[way], axis=0) for way in ("plain", "here"))
    apart = (results["plain"] - results["here"]).abs().max() / results["plain"].abs().max()
    print(
        f"\n{RECORDS} records, {precision}, {torch.get_num_threads()} threads: {wall:.3f} s plainly, "
        f"{fast_wall:.3f} s here, {wall / fast_wall:.2f} times as fast; "
        f"processor {processor / fast_processor:.2f}; apart by {apart:.1e}"
    )
    assert apart <= bound
