"""Speed of face detection and of SyncNet; run by `make bench`."""

import time

import numpy as np
import pytest
import torch

from joyvasa.metrics.support.face_boxes import FaceBoxFinder
from joyvasa.metrics.support.face_tracks import FaceTrack, crop_faces
from joyvasa.metrics.support.sound_windows import SoundWindows
from joyvasa.metrics.sync import score_face
from joyvasa.networks import build
from joyvasa.runtime.device import choose_device

pytestmark = pytest.mark.bench
FRAMES = 32
ROUNDS = 2


@pytest.fixture(scope="module")
def device() -> torch.device:
    return choose_device("auto")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, 512, 512, 3), dtype=np.uint8)


def print_speed(title: str, device: torch.device, call) -> None:
    call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(f"\n{title} on {device}, {torch.get_num_threads()} threads: {FRAMES / min(times):.1f} frames/s")


@pytest.mark.parametrize("batch", [1, 16])
def test_faces_per_second(device, frames, batch):
    finder = FaceBoxFinder(build("s3fd").to(device), device)

    def call() -> None:
        for start in range(0, FRAMES, batch):
            finder.find(frames[start : start + batch])

    print_speed(f"S3FD, frames of 512x512, {batch} at once", device, call)


@pytest.mark.parametrize("batch", [1, 16])
def test_lips_per_second(device, frames, batch):
    network = build("syncnet").to(device)
    sound = np.random.default_rng(1).integers(-3000, 3000, 640 * FRAMES, dtype=np.int16)
    track = FaceTrack(0, np.tile([150.0, 150.0, 350.0, 350.0], (FRAMES, 1)))

    def call() -> None:
        batches = (frames[start : start + batch] for start in range(0, FRAMES, batch))
        assert score_face(network, crop_faces(track, batches), SoundWindows([sound]), device)

    print_speed(f"SyncNet with crops and sound, {batch} frames at once", device, call)
