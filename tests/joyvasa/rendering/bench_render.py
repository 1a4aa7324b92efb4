"""Speed of the rendering networks at published sizes, compared with plain ones; run by `make bench`."""

from copy import deepcopy

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.cpu import accelerate
from joyvasa.networks.pictures import to_uint8
from joyvasa.runtime.device import autocast
from joyvasa.runtime.memory import keep_freed_memory
from tests.allocation import default_allocation
from tests.joyvasa.speed_comparison import compare_speed

pytestmark = pytest.mark.bench

FRAMES, ROUNDS = 8, 2
CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.2)])
def test_frames_of_one_portrait(precision, bound):
    torch.manual_seed(0)
    plain_warping, plain_generator = build("warping_module"), build("spade_generator")
    warping, generator = accelerate(deepcopy(plain_warping)), accelerate(deepcopy(plain_generator))
    feature, source = torch.randn(1, 32, 16, 64, 64), 1.6 * torch.rand(1, 21, 3) - 0.8
    driving = source + 0.1 * torch.randn(FRAMES, 21, 3)

    keep_freed_memory()

    def warp():
        with autocast(CPU, precision):
            return warping(feature, source, driving)["out"]

    @default_allocation()
    def warp_plain():
        return torch.cat([plain_warping(feature, source, frame[None])["out"] for frame in driving])

    def paint(warped):
        with autocast(CPU, precision):
            return generator(warped)

    @default_allocation()
    def paint_plain(warped):
        return torch.cat([plain_generator(frame[None]) for frame in warped])

    print(
        f"\n{FRAMES} frames, {precision}, {torch.get_num_threads()} threads; seconds of wall-clock and of the processor"
    )
    with torch.inference_mode():
        warped, warped_s = print_comparison("warping module", warp_plain, warp, bound)
        pictures, painted_s = print_comparison("generator", lambda: paint_plain(warped), lambda: paint(warped), bound)
    assert len(to_uint8(pictures)) == FRAMES
    whole = {way: warped_s[way] + painted_s[way] for way in warped_s}
    print(f"together        {whole['plain'] / whole['fast']:.2f} times as fast")


def print_comparison(name, plain, fast, bound):
    """Print times and the relative error; return the plain result, and the seconds of both."""
    comparison = compare_speed(plain, fast, rounds=ROUNDS)
    ways = comparison.plain, comparison.fast
    # The minimum is least affected by other processes.
    wall, processor = [min(way.seconds) for way in ways], [min(way.processor_s) for way in ways]
    print(
        f"{name:15s} plain {wall[0]:6.2f} {processor[0]:6.2f}, fast {wall[1]:6.2f} {processor[1]:6.2f}: "
        f"speed-up {wall[0] / wall[1]:.2f} and {processor[0] / processor[1]:.2f}; "
        f"relative error {comparison.relative_error:.1e}"
    )
    assert comparison.relative_error <= bound
    return comparison.result, dict(zip(("plain", "fast"), wall, strict=True))
