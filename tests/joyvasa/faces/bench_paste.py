"""Benchmark of paste-back on a device against OpenCV in pictures of 1280x1280; run by `make bench`."""

import numpy as np
import pytest
import torch

from joyvasa.faces.device_paster import DevicePaster
from joyvasa.faces.paster import Paster
from joyvasa.faces.square import Square, compute_crop_matrix
from pipelines.bench.timing import time_in_turns
from tests.joyvasa.faces.pictures import noise

pytestmark = pytest.mark.bench

FRAMES, ROUNDS = 8, 5


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_paste(name):
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device(name)
    to_original = np.linalg.inv(compute_crop_matrix(Square((640.0, 640.0), 850.0, 0.06), 512))
    paster = Paster(picture=noise(1280, 1280), to_original=to_original)
    device_paster = DevicePaster(paster, 512, device)
    frames = np.stack([noise(512, 512, number) for number in range(FRAMES)])
    rendered = torch.from_numpy(frames).to(device)
    patches = device_paster.paste(rendered).cpu().numpy()

    functions = {
        "OpenCV": lambda: paster.paste(rendered.cpu().numpy()),
        f"on {name}": lambda: device_paster.paste(rendered).cpu(),
        "host, afterwards": lambda: paster.insert_patches(patches),
    }
    timings = time_in_turns(functions, device, rounds=ROUNDS)
    for name, timing in timings.items():
        print(f"\n{name}: {1000 * timing.median_s / FRAMES:.2f} ms a frame", end="")
    np.testing.assert_array_equal(paster.insert_patches(patches), paster.paste(frames))
