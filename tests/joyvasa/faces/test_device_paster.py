import numpy as np
import pytest
import torch

from joyvasa.faces.device_paster import DevicePaster
from joyvasa.faces.paster import Paster
from joyvasa.faces.square import compute_crop_matrix
from tests.joyvasa.faces.pictures import SQUARES, noise

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("side", [512, 256, 700])
@pytest.mark.parametrize("square", SQUARES.values(), ids=SQUARES.keys())
def test_pixels_equal_those_of_opencv(square, side, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    frames = np.stack([noise(side, side, 1), noise(side, side, 2)])
    paster = Paster(picture=noise(480, 640), to_original=np.linalg.inv(compute_crop_matrix(square, 512)))
    device_paster = DevicePaster(paster, side, torch.device(device))
    patches = device_paster.paste(torch.from_numpy(frames).to(device))
    left, top, right, bottom = paster.rectangle
    assert patches.shape == (2, bottom - top, right - left, 3)
    np.testing.assert_array_equal(paster.insert_patches(patches.cpu().numpy()), paster.paste(frames))
