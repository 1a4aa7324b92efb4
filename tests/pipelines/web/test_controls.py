"""All options with a range are sliders; values from a browser are checked."""

import pytest

from joyvasa.errors import ConfigError
from joyvasa.motion.controls import PoseControls
from joyvasa.options import AnimationConfig
from pipelines.web.controls_panel import list_controls, read_controls
from pipelines.web.limits import Limits
from pipelines.web.previewer import Previewer
from pipelines.web.try_page import FIELDS, TryPage
from pipelines.web.uploads import Uploads
from tests.media import DATA


def test_options_with_a_range_are_controls():
    controls = {control.name: control for control in list_controls()}
    assert {"pose.yaw", "mouth.open", "blink.rate", "gaze.x", "smile", "framing.scale"} <= controls.keys()
    yaw, opening = controls["pose.yaw"], controls["mouth.open"]
    assert (yaw.group, yaw.default, yaw.low, yaw.high, yaw.unit) == ("pose", 0.0, -30.0, 30.0, "degrees")
    assert (opening.default, controls["smile"].group) == (None, "face")


@pytest.mark.parametrize("values", [None, [], {"seed": 3, "pose.yaw": "5", "smile": True, "gaze.x": None}])
def test_values_that_are_no_numbers_of_controls_are_ignored(values):
    assert read_controls(values) == {}


def test_a_value_out_of_range_is_an_error(tmp_path):
    config = AnimationConfig()
    values = [config.mode, 0, 0, 2.0, config.driving.region, config.smoothing.method, True, "motion"]
    assert len(values) == len(FIELDS)
    page = TryPage(config, None, None, Uploads(tmp_path, Limits()), None)  # type: ignore[arg-type]
    assert page._read_options(values, {"pose.yaw": 5}).pose.yaw == 5
    with pytest.raises(ConfigError, match=r"pose\.yaw is 50"):
        page._read_options(values, {"pose.yaw": 50})


def test_portraits_are_encoded_once_and_faces_found():
    previewer, picture = Previewer(AnimationConfig(models="sample", device="cpu")), DATA / "portrait.jpg"
    first = previewer.render(picture, AnimationConfig())
    portrait = next(iter(previewer._portraits.values()))
    turned = previewer.render(picture, AnimationConfig(pose=PoseControls(yaw=10)))
    assert first.startswith("data:image/jpeg;base64,")
    assert turned != first
    assert next(iter(previewer._portraits.values())) is portrait
    assert len(previewer.find_faces(picture, AnimationConfig())) == 1
