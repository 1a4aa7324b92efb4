"""Time the previews of one frame with the built-in model; `make bench`."""

import time

import pytest

from joyvasa.motion.controls import PoseControls
from joyvasa.options import AnimationConfig
from pipelines.web.previewer import Previewer
from tests.media import EXAMPLES


@pytest.mark.bench
def test_measure_previews():
    previewer = Previewer(AnimationConfig(device="cpu"))
    print()
    for title, picture, yaw in (
        ("first preview, which loads the models", "officer.jpg", 0),
        ("another portrait", "astronaut.jpg", 0),
        ("a moved slider", "astronaut.jpg", 5),
        ("a moved slider", "astronaut.jpg", 10),
    ):
        started = time.monotonic()
        previewer.render(EXAMPLES / picture, AnimationConfig(pose=PoseControls(yaw=yaw)))
        print(f"{title:40} {time.monotonic() - started:5.2f} s")
