"""Speed of the networks of metrics; run by `make bench`."""

import time

import numpy as np
import pytest
import torch

from joyvasa.metrics.fvd import FvdMetric
from joyvasa.metrics.smoothness import SmoothnessMetric
from joyvasa.metrics.support.q_align import QAlign
from joyvasa.networks import build
from tests.joyvasa.metrics.seeded import feed, make_silent_clip, metric_models, write_seeded_weights

pytestmark = pytest.mark.bench
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def video(n_frames, side=512):
    return np.random.default_rng(0).integers(0, 255, (n_frames, side, side, 3), np.uint8)


def seconds(function):
    """Return wall-clock and processor time of a call, after a first call to warm up."""
    for _ in range(2):
        start = time.perf_counter(), time.process_time()
        function()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def show(name, count, unit, times):
    wall, processor = times
    print(f"\n{name} on {DEVICE.type}, {torch.get_num_threads()} threads: {1000 * wall / count:.0f} ms per {unit}, "
          f"{1000 * processor / count:.0f} ms of processor time")  # fmt: skip


def test_smoothness_of_512_pixels():
    write_seeded_weights("amt_s")
    metric = SmoothnessMetric()
    metric.setup(metric_models(device=DEVICE))
    frames = video(9)
    show("AMT-S", 4, "pair", seconds(lambda: feed(metric.start(make_silent_clip(frames)), frames).finish()))


def test_features_of_clips_of_25_frames():
    write_seeded_weights("i3d")
    metric = FvdMetric()
    metric.setup(metric_models(device=DEVICE))
    frames = video(100)
    show("I3D", 4, "clip", seconds(lambda: feed(metric.start(make_silent_clip(frames)), frames).features()))


def test_frames_for_q_align():
    """Time the whole model on a GPU; on a CPU, only the vision encoder."""
    whole = DEVICE.type == "cuda"
    with torch.device("meta"):
        model = build("mplug_owl2", language={} if whole else {"num_hidden_layers": 1})
    model = (model.half() if whole else model).to_empty(device=DEVICE)
    for tensor in model.state_dict().values():
        tensor.zero_()
    judge = QAlign(model, lambda text: [1, *text.encode()])
    frames = list(video(4))
    show(
        "Q-Align",
        4,
        "frame",
        seconds(lambda: judge.image_logits(judge.encode_frames(frames)) if whole else judge.encode_frames(frames)),
    )
