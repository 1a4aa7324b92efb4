"""A video is made and measured, without a browser."""

import shutil

from joyvasa.config import load_config
from joyvasa.metrics import FVD, METRIC_NAMES, build_metric
from joyvasa.models import AnimationConfig
from pipelines.web.jobs import Job
from pipelines.web.pace import STEPS, Pace
from pipelines.web.studio import Studio
from tests.media import EXAMPLES, tone


def test_a_job_gives_a_video_and_every_number_or_the_reason_for_none(tmp_path):
    portrait = shutil.copy(EXAMPLES / "portrait.jpg", tmp_path)
    sound = tone(tmp_path / "speech.wav", seconds=0.4)
    config = load_config(AnimationConfig, settings=["models=random", "picture.max_side=320"])
    job = Job("session", tmp_path, portrait, sound, ("portrait.jpg", "speech.wav"), 0.4, config)
    pace = Pace()
    made = Studio("cpu", pace).make(job)
    assert made.video.stat().st_size
    assert (job.step, job.done) == ("metrics", made.n_frames)
    assert pace.left(0.4, STEPS[0]).whole
    columns = {column.name for name in METRIC_NAMES if name != FVD for column in build_metric(name).columns}
    assert {one.column.name for one in made.measured} == columns
    assert all((one.value is None) == bool(one.reason) for one in made.measured)
    numbers = {one.column.name for one in made.measured if one.value is not None}
    assert "sharpness" in numbers
