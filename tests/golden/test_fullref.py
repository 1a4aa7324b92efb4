import pytest

from joyvasa.metrics.first_frame import psnr, ssim
from tests.golden.metric_reference import meta, stored


def test_ssim_and_psnr_equal_the_reference():
    pair, expected = stored("fullref"), meta()["fullref"]
    assert ssim(pair["a"], pair["b"]) == pytest.approx(expected["ssim_per_channel_mean"], rel=1e-6)
    assert psnr(pair["a"], pair["b"]) == pytest.approx(expected["psnr"], rel=1e-6)
