"""Speed of a batched denoising step at published sizes, compared with single evaluations; run by `make bench`."""

from copy import deepcopy

import pytest
import torch

from joyvasa.networks.cpu import accelerate
from joyvasa.runtime.device import autocast
from joyvasa.runtime.memory import keep_freed_memory
from tests.allocation import default_allocation
from tests.joyvasa.motion.windows import RECORDS, SCALE, STEP, windows_of_records
from tests.joyvasa.speed_comparison import compare_speed

pytestmark = pytest.mark.bench

ROUNDS = 5
CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.05)])
@torch.no_grad()
def test_a_denoising_step_of_many_records(precision, bound):
    plain, motion, audio, prev_motion, prev_audio = windows_of_records()
    network, n_motions = accelerate(deepcopy(plain)), plain.config.n_motions
    with autocast(CPU, precision):
        predict = network._predictor(audio, prev_motion, prev_audio, SCALE, None)  # shared by the 50 steps of a window

    @default_allocation()
    def run_plain():
        results, step = [], torch.tensor([STEP])
        for i in range(RECORDS):
            x, sound, before, sound_before = (tensor[i : i + 1] for tensor in (motion, audio, prev_motion, prev_audio))
            conditional = plain.denoise(x, sound, before, sound_before, step)
            unconditional = plain.denoise(x, network.null_audio_feat.expand_as(sound), before, sound_before, step)
            results.append((unconditional + SCALE * (conditional - unconditional))[:, -n_motions:])
        return torch.cat(results)

    def run_fast():
        with autocast(CPU, precision):
            return predict(motion, STEP)

    keep_freed_memory()
    comparison = compare_speed(run_plain, run_fast, rounds=ROUNDS)
    plain_run, fast_run = comparison.plain, comparison.fast
    print(
        f"\n{RECORDS} records, {precision}, {torch.get_num_threads()} threads: {plain_run.median_s:.3f} s plain, "
        f"{fast_run.median_s:.3f} s fast, speed-up {plain_run.median_s / fast_run.median_s:.2f}; "
        f"processor {plain_run.median_processor_s / fast_run.median_processor_s:.2f}; "
        f"relative error {comparison.relative_error:.1e}"
    )
    assert comparison.relative_error <= bound
