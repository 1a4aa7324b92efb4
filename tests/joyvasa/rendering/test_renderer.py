import numpy as np
import pytest
import torch

from joyvasa.errors import ModelError
from joyvasa.networks import build
from joyvasa.networks.pictures import to_network_input, to_uint8
from joyvasa.rendering.renderer import Renderer


def small_renderer():
    torch.manual_seed(0)
    warping = build(
        "warping_module", keypoints=5, channels=4, depth=2, out_channels=8, hourglass_channels=4, hourglass_blocks=2
    )
    generator = build("spade_generator", channels=8, middle_channels=8, middle_blocks=1, up_channels=[8])
    return Renderer(warping, generator)


def test_pixels_are_truncated_and_clipped():
    image = torch.tensor([-0.5, 0.0, 0.9999 / 255, 1.9999 / 255, 254.9 / 255, 1.0, 7.0]).expand(1, 3, 1, 7)
    pixels = to_uint8(image)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1, 1, 7, 3)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]


def test_pixels_are_contiguous():
    assert to_uint8(torch.rand(2, 3, 4, 6)).is_contiguous()


def test_network_inputs_are_rgb_planes_between_0_and_1():
    image = np.zeros((256, 256, 3), np.uint8)
    image[0, 1] = 255, 51, 0
    tensor = to_network_input(image, 256)
    assert tensor.shape == (1, 3, 256, 256)
    torch.testing.assert_close(tensor[0, :, 0, 1], torch.tensor([1, 0.2, 0]))


def test_crops_shrink_by_area_without_moire():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[::2] = 200
    assert (to_network_input(stripes, 256) == 100 / 255).all()


def test_whole_pictures_shrink_bilinearly():
    fine = np.zeros((1024, 1024, 3), np.uint8)
    fine[::4] = 200  # rows between the samples of bilinear scaling to a quarter
    assert not to_network_input(fine, 256, cropped=False).any()
    assert to_network_input(fine, 256).any()


def test_frames_that_are_not_finite_are_rejected():
    renderer = small_renderer()
    feature, source = torch.full((1, 4, 2, 16, 16), torch.nan), torch.zeros(1, 5, 3)
    with pytest.raises(ModelError, match="frames_not_finite"):
        renderer.render(feature, source, source)


def test_small_pictures_are_enlarged():
    assert to_network_input(np.full((90, 100, 3), 51, np.uint8), size=128).allclose(torch.tensor(0.2))


def test_frames_do_not_depend_on_the_batch():
    renderer = small_renderer()
    feature, source = torch.rand(1, 4, 2, 16, 16), torch.rand(1, 5, 3) - 0.5
    driving = source + 0.3 * torch.randn(3, 5, 3)
    together = renderer.render(feature, source, driving)
    alone = torch.cat([renderer.render(feature, source, frame[None]) for frame in driving])
    assert together.shape == (3, 64, 64, 3)
    assert (together.int() - alone.int()).abs().max() <= 1
    assert not torch.equal(together[0], together[1])
