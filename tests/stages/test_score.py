import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from joyvasa.errors import InputError
from joyvasa.faces.geometry import CropConfig
from joyvasa.media.video_writer import EncodingConfig
from joyvasa.metrics import METRIC_NAMES, build_metric, registry
from joyvasa.metrics.base import Metric, MetricColumn
from joyvasa.models import Models
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from stages.base import Failed, FailureKind, Item, Ok
from stages.frames import VideoOutput
from stages.read_video import ReadVideoStage
from stages.score import ScoreConfig, ScoreStage
from tests.joyvasa.metrics.clips import moving_noise
from tests.media import ffmpeg, write_tone, write_video
from tests.stages.items import PORTRAIT, UpstreamStages, make_record, options, set_up, transfer

SETTINGS = ("picture.max_side=256",)
N_FRAMES = 80


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path / "models"))


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    """A record with its portrait and motion, 80 frames."""
    sound = write_tone(tmp_path_factory.mktemp("sound") / "sound.wav", seconds=N_FRAMES / 25)
    (rendered,) = UpstreamStages(options(*SETTINGS))([make_record("r", image=PORTRAIT, audio=sound)])
    return rendered


def with_video(item: Item, run, *, settings=(), moved=0) -> Item:
    """Return the item with a still video of its portrait in the run folder, the crop rolled by `moved` pixels."""
    models = Models(options(*SETTINGS, *settings))
    picture = item.inputs["portrait"].picture
    size = models.bundle.switches.output_size
    crop = cv2.resize(picture.crop.image, (size, size), interpolation=cv2.INTER_AREA)
    crops = np.repeat(np.roll(crop, moved, axis=1)[None], N_FRAMES, axis=0)
    composer = models.build_composer(picture)
    output = VideoOutput(
        storage=open_storage(run),
        video=RunFolder(open_storage(run)).video_path(0, "r"),
        composer=composer,
        n_frames=N_FRAMES,
        frames_per_second=25.0,
        sound=Path(item.record.audio or item.record.motion),
        sound_channels=1,
        sound_clock="samples" if item.record.audio else "file",
        encoding=EncodingConfig(crf=10),
        comment="",
    )
    output.write(composer.prepare(torch.from_numpy(crops)))
    return Item(item.record, {**item.inputs, "render": transfer(output.publish())})


def stage(run, *metrics, settings=(), **config) -> ScoreStage:
    names = metrics or tuple(METRIC_NAMES)
    return set_up(
        ScoreStage(ScoreConfig(run=str(run), metrics=names, animation=options(*SETTINGS, *settings), **config))
    )


def facts(stage: ScoreStage, item: Item) -> dict:
    (outcome,) = stage.run([item])
    assert isinstance(outcome, Ok), outcome
    return dict(outcome.facts)


@pytest.mark.parametrize("settings", [(), ("paste_back=false",)], ids=["pasted", "crop"])
def test_the_reference_frame_equals_a_frame_without_motion(item, tmp_path, settings):
    scorer = stage(tmp_path, "first_frame", settings=settings)
    scores = facts(scorer, with_video(item, tmp_path, settings=settings))
    assert scores["metric.first_frame_ssim"] > 0.97
    assert scores["metric.first_face_ssim"] > 0.97
    assert scores["frames"] == N_FRAMES
    moved = facts(scorer, with_video(item, tmp_path, settings=settings, moved=20))
    assert moved["metric.first_face_ssim"] < 0.8


def test_every_metric_has_a_number_or_a_reason(item, tmp_path):
    scoring, progress = stage(tmp_path), []
    scoring.on_progress = lambda *done: progress.append(done)
    scores = facts(scoring, with_video(item, tmp_path))
    assert progress[-1] == (1.0, scores["frames"])
    columns = [column.name for name in METRIC_NAMES for column in build_metric(name).columns]
    for column in columns:
        reason = scores.get(f"metric.{column}.reason")
        assert (scores[f"metric.{column}"] is None) == (reason is not None)
        assert reason is None or ": " in reason
    assert scores["metric.frozen_share"] == 1
    assert scores["metric.head_speed"] > 0
    assert abs(scores["metric.picture_minus_sound_s"]) < 0.1
    without = [name for name in METRIC_NAMES if build_metric(name).roles]
    for column in (column for name in without for column in build_metric(name).columns):
        assert scores[f"metric.{column.name}.reason"].startswith("weights_missing: not available: needs ")


def test_motion_that_the_region_leaves_out_has_no_numbers(item, tmp_path):
    scores = facts(
        stage(tmp_path, "head", "mouth", "blink", settings=("driving.region=pose",)), with_video(item, tmp_path)
    )
    assert scores["metric.head_speed"] > 0
    assert scores["metric.mouth_range.reason"].startswith("not_driven: ")
    assert scores["metric.blink_rate.reason"].startswith("not_driven: ")


def test_the_late_sound_of_a_driving_video_is_not_missing(item, tmp_path):
    silent = write_video(tmp_path / "silent.mp4", moving_noise(N_FRAMES))
    sound = write_tone(tmp_path / "sound.wav", seconds=N_FRAMES / 25 - 0.5)
    ffmpeg("-i", silent, "-itsoffset", 0.5, "-i", sound, "-c:v", "copy", tmp_path / "driving.mp4")
    record = make_record("r", image=PORTRAIT, motion=tmp_path / "driving.mp4")
    scores = facts(stage(tmp_path, "length"), with_video(Item(record, item.inputs), tmp_path))
    assert abs(scores["metric.recording_missing_s"]) < 0.1
    assert abs(scores["metric.picture_minus_sound_s"]) < 0.1


def test_saved_features_are_complete_and_the_same_when_scored_again(item, tmp_path):
    scorer, scored = stage(tmp_path, "mouth_sound"), with_video(item, tmp_path)
    before = facts(scorer, scored)
    path = tmp_path / "shards/00000/features/r.npz"
    content = path.read_bytes()
    with np.load(path) as arrays:
        assert arrays["mouth_sound"].shape[0] == 2
    assert facts(scorer, scored) == before
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["r.npz"]


def test_videos_and_features_of_an_object_store(item):
    run = "memory://scores/run"
    scorer = stage(run, "flicker", "mouth_sound")
    assert facts(scorer, with_video(item, run))["metric.temporal_flickering"] > 0.99
    assert open_storage(run).exists("shards/00000/features/r.npz")


def test_without_metrics_nothing_is_read(item, tmp_path):
    scorer = set_up(ScoreStage(ScoreConfig(run=str(tmp_path))))
    (outcome,) = scorer.run([Item(item.record, {})])
    assert isinstance(outcome, Ok)
    assert not any(name.startswith("metric.") for name in outcome.facts)


def broken(error, roles=()):
    class Broken(Metric):
        name = "broken"
        columns = (MetricColumn("broken", "Broken", "fails"),)

        def start(self, clip):
            raise error

        def setup(self, models):
            raise error

    Broken.roles = roles
    return Broken


@pytest.fixture
def with_broken(monkeypatch):
    """Registers a metric that fails under the name `broken`."""

    def register(error, roles=()):
        import sys
        import types

        module = types.ModuleType("joyvasa.metrics.broken")
        module.Broken = broken(error, roles)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(registry._CLASSES, "broken", ("broken", "Broken"))

    return register


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no face"), "metric_failed: ValueError: no face"),
        (InputError("audio_unreadable", "a.wav: broken"), "audio_unreadable: a.wav: broken"),
        (MemoryError("too much"), "out_of_memory: MemoryError: too much"),
        (OSError(errno.EIO, "no answer"), "metric_failed: OSError: [Errno 5] no answer"),
    ],
)
def test_a_metric_that_fails_does_not_affect_others(item, tmp_path, with_broken, error, reason):
    with_broken(error)
    scores = facts(stage(tmp_path, "broken", "flicker"), with_video(item, tmp_path))
    assert scores["metric.broken"] is None
    assert scores["metric.broken.reason"] == reason
    assert scores["metric.temporal_flickering"] > 0.99


def test_a_full_disk_stops_the_run(item, tmp_path, with_broken):
    with_broken(OSError(errno.ENOSPC, "No space left on device"))
    (outcome,) = stage(tmp_path, "broken", "flicker").run([with_video(item, tmp_path)])
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.STOP


def test_a_failed_gpu_context_is_raised(item, tmp_path, with_broken):
    with_broken(RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="CUDA error"):
        stage(tmp_path, "broken", "flicker").run([with_video(item, tmp_path)])


def test_a_generated_video_that_cannot_be_read_is_ok_without_numbers(item, tmp_path):
    scored = with_video(item, tmp_path)
    (tmp_path / scored.inputs["render"].video).write_bytes(b"damaged")
    features = tmp_path / "shards/00000/features/r.npz"
    features.parent.mkdir()
    features.write_bytes(b"of an earlier attempt")
    scores = facts(stage(tmp_path, "flicker", "freeze"), scored)
    assert not features.exists()
    assert scores["metric.temporal_flickering"] is None
    assert scores["metric.frozen_share.reason"].startswith("video_unreadable: ")


def test_metrics_whose_license_forbids_it_are_skipped_in_commercial_runs(item, tmp_path):
    scorer = stage(tmp_path, "sharpness", "identity", settings=("licenses=commercial",))
    scores = facts(scorer, with_video(item, tmp_path))
    assert scores["metric.sharpness"] > 0
    (column, *_) = build_metric("identity").columns
    assert scores[f"metric.{column.name}"] is None


# -- existing videos


def existing(path, **row) -> Item:
    source = make_record("v", video=path, **row)
    (outcome,) = set_up(ReadVideoStage(CropConfig())).run([Item(source)])
    assert isinstance(outcome, Ok), outcome
    return Item(source, {"read_video": transfer(outcome.payload)})


def portrait_video(folder: Path) -> Path:
    picture = cv2.cvtColor(cv2.imread(str(PORTRAIT)), cv2.COLOR_BGR2RGB)
    picture = cv2.resize(picture, (320, 320))
    cv2.imwrite(str(folder / "still.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return write_video(
        folder / "video.mp4", np.repeat(picture[None], 60, axis=0), sound=write_tone(folder / "tone.wav", seconds=2.4)
    )


def test_a_video_of_another_system_is_scored_without_motion(tmp_path):
    video = portrait_video(tmp_path)
    scores = facts(stage(tmp_path / "run"), existing(video, image=tmp_path / "still.png", audio=tmp_path / "tone.wav"))
    assert scores["metric.sharpness"] > 0  # a face was scores
    assert scores["metric.first_frame_ssim"] > 0.9
    assert abs(scores["metric.recording_missing_s"]) < 0.1
    assert abs(scores["metric.picture_minus_sound_s"]) < 0.1
    assert scores["metric.head_range.reason"].startswith("no_motion: ")
    assert scores["frames"] == 60


def test_a_video_without_a_face_has_no_face_metrics(tmp_path):
    scores = facts(stage(tmp_path / "run"), existing(write_video(tmp_path / "noise.mp4", moving_noise(50))))
    assert scores["metric.sharpness.reason"].startswith("face_unknown: ")
    assert scores["metric.temporal_flickering"] > 0


def test_an_existing_video_that_is_truncated_fails(tmp_path):
    path = write_video(tmp_path / "video.mp4", moving_noise(50))
    item = existing(path)
    path.write_bytes(path.read_bytes()[:-3000])
    (outcome,) = stage(tmp_path / "run", "flicker").run([item])
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code) == (FailureKind.BAD_INPUT, "video_unreadable")


@pytest.mark.parametrize(("name", "code"), [("none.mp4", "video_missing"), ("text.mp4", "video_unreadable")])
def test_an_invalid_video_fails_alone(tmp_path, name, code):
    (tmp_path / "text.mp4").write_text("text")
    good = make_record("good", video=write_video(tmp_path / "good.mp4", moving_noise(30)))
    bad = make_record("bad", video=tmp_path / name)
    first, second = set_up(ReadVideoStage(CropConfig())).run([Item(bad), Item(good)])
    assert isinstance(first, Failed)
    assert (first.kind, first.code) == (FailureKind.BAD_INPUT, code)
    assert isinstance(second, Ok)
