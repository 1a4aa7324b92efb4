"""A device worker makes a video and computes its metrics, without a browser."""

import shutil
from pathlib import Path

import pytest

from joyvasa.config import load_config
from joyvasa.errors import InputError
from joyvasa.metrics import FVD, METRIC_NAMES, build_metric
from joyvasa.motion.file import save_motion
from joyvasa.options import AnimationConfig
from pipelines.web.device_worker import DeviceWorker
from pipelines.web.jobs import STEPS, Job, TimeEstimator
from pipelines.web.limits import Limits
from tests.media import EXAMPLES, write_tone
from tests.motions import opening_mouth, random_motion

pytestmark = pytest.mark.slow


def test_a_job_gives_a_video_and_a_value_or_a_reason_for_each_metric(tmp_path):
    portrait = shutil.copy(EXAMPLES / "portrait.jpg", tmp_path)
    sound = write_tone(tmp_path / "speech.wav", seconds=0.4)
    config = load_config(AnimationConfig, settings=["models=random", "picture.max_side=320"])
    files, names = {"portrait": portrait, "sound": sound}, {"portrait": "portrait.jpg", "sound": "speech.wav"}
    job = Job("session", tmp_path, files, names, 0.4, config)
    estimator = TimeEstimator()
    finished = DeviceWorker("cpu", estimator, Limits()).make_video(job)
    assert finished.video.stat().st_size
    assert (job.step, job.done) == ("metrics", finished.n_frames)
    assert estimator.estimate(0.4, STEPS[0]).complete
    columns = {column.name for name in METRIC_NAMES if name != FVD for column in build_metric(name).columns}
    assert {metric.column.name for metric in finished.metrics} == columns
    assert all((metric.value is None) == bool(metric.reason) for metric in finished.metrics)
    numbers = {metric.column.name for metric in finished.metrics if metric.value is not None}
    assert "sharpness" in numbers


def test_a_motion_that_is_longer_than_the_longest_recording_is_refused(tmp_path):
    portrait = shutil.copy(EXAMPLES / "portrait.jpg", tmp_path)
    save_motion(tmp_path / "motion.safetensors", random_motion(n_frames=20, keypoints=21))
    files = {"portrait": portrait, "motion": tmp_path / "motion.safetensors"}
    job = Job("session", tmp_path, files, dict.fromkeys(files, "x"), 0.0, AnimationConfig(models="random"))
    with pytest.raises(InputError, match="more than 12 frames"):
        DeviceWorker("cpu", TimeEstimator(), Limits(sound_s=0.2)).make_video(job)


def test_metrics_are_those_of_the_motion_with_its_controls(tmp_path):
    save_motion(tmp_path / "motion.safetensors", opening_mouth(30))
    openings = {}
    for amount in (1.0, 0.0):
        folder = tmp_path / str(amount)
        folder.mkdir()
        files = {
            "portrait": shutil.copy(EXAMPLES / "portrait.jpg", folder),
            "motion": shutil.copy(tmp_path / "motion.safetensors", folder),
        }
        config = load_config(AnimationConfig, settings=["picture.max_side=320", f"mouth.amount={amount}"])
        job = Job("session", folder, {name: Path(path) for name, path in files.items()}, files, 0.0, config)
        metrics = DeviceWorker("cpu", TimeEstimator(), Limits()).make_video(job).metrics
        openings[amount] = next(metric.value for metric in metrics if metric.column.name == "mouth_opening")
    assert openings[1.0] > 0.2
    assert openings[0.0] == 0
