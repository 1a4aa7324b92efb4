"""Time of the networks that render, published sizes, against the same as the papers have them: run by `make bench`."""

from copy import deepcopy

import pytest
import torch

from joyvasa.networks import build
from joyvasa.networks.cpu import accelerate
from joyvasa.rendering.renderer import to_uint8
from joyvasa.runtime.device import autocast
from joyvasa.runtime.memory import default_allocation, keep_freed_memory
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
    def warp_plainly():
        return torch.cat([plain_warping(feature, source, frame[None])["out"] for frame in driving])

    def paint(warped):
        with autocast(CPU, precision):
            return generator(warped)

    @default_allocation()
    def paint_plainly(warped):
        return torch.cat([plain_generator(frame[None]) for frame in warped])

    print(
        f"\n{FRAMES} frames, {precision}, {torch.get_num_threads()} threads; seconds of wall-clock and of the processor"
    )
    with torch.inference_mode():
        warped, warped_s = compared("warping module", warp_plainly, warp, bound)
        pictures, painted_s = compared("generator", lambda: paint_plainly(warped), lambda: paint(warped), bound)
    assert len(to_uint8(pictures)) == FRAMES
    whole = {way: warped_s[way] + painted_s[way] for way in warped_s}
    print(f"together        {whole['plain'] / whole['fast']:.2f} times as fast")


def compared(name, plain, fast, bound):
    """Prints times and how far the results lie apart; gives the plain result, and seconds of each."""
    found = compare_speed(plain, fast, rounds=ROUNDS)
    ways = found.plain, found.fast
    # The least, as others may use the machine.
    wall, processor = [min(way.seconds) for way in ways], [min(way.processor_s) for way in ways]
    print(
        f"{name:15s} plain {wall[0]:6.2f} {processor[0]:6.2f}, here {wall[1]:6.2f} {processor[1]:6.2f}: "
        f"{wall[0] / wall[1]:.2f} and {processor[0] / processor[1]:.2f} times as fast; apart by {found.relative_error:.1e}"
    )
    assert found.relative_error <= bound
    return found.result, dict(zip(("plain", "fast"), wall, strict=True))
