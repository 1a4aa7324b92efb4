import dataclasses
import hashlib
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.motion.file import load_motion
from joyvasa.rendering import compose
from stages.base import Failed, FailureKind, Item, Ok
from stages.motion import MotionPayload
from stages.render import RenderConfig, RenderStage
from tests.media import read_frames, small_disk, write_tone
from tests.stages.items import PORTRAIT, UpstreamStages, make_record, options, payloads, set_up, transfer

SETTINGS = ("batch_frames=8", "encoding.crf=0")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two portraits of different sizes, three recordings of 3, 13 and 20 frames."""
    folder = tmp_path_factory.mktemp("media")
    cv2.imwrite(str(folder / "small.png"), cv2.resize(cv2.imread(str(PORTRAIT)), (256, 256)))
    sounds = [write_tone(folder / f"{seconds}.wav", seconds=seconds) for seconds in (0.12, 0.52, 0.8)]
    pictures = (PORTRAIT, folder / "small.png", PORTRAIT)
    pairs = enumerate(zip(pictures, sounds, strict=True))
    return [make_record(f"r{seed}", seed=seed, image=picture, audio=sound) for seed, (picture, sound) in pairs]


@pytest.fixture(scope="module")
def items(records):
    return UpstreamStages(options(*SETTINGS))(records)


def render_stage(run: Path, *settings, **config):
    return set_up(RenderStage(RenderConfig(animation=options(*SETTINGS, *settings), run=str(run), **config)))


def frames(run, outcome):
    return read_frames(run / outcome.facts["video"]).astype(int)


def visible(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_a_video_equals_that_of_the_animator(items, records, tmp_path):
    (outcome,) = render_stage(tmp_path / "run").run([items[1]])
    row = records[1]
    Animator(options(*SETTINGS)).animate(row.image, row.audio, tmp_path / "out.mp4", seed=records[1].seed)
    rendered, expected = frames(tmp_path / "run", outcome), read_frames(tmp_path / "out.mp4").astype(int)
    assert rendered.shape == expected.shape
    assert np.abs(rendered - expected).mean() < 0.01


def test_facts_describe_the_file(items, tmp_path):
    stage, progress = render_stage(tmp_path), []
    stage.on_progress = lambda *done: progress.append(done)
    outcomes = stage.run(items)
    assert [outcome.facts["frames"] for outcome in outcomes] == [3, 13, 20]
    assert [units for _, units in progress] == sorted(36 * fraction for fraction, _ in progress)
    assert progress[-1] == (1.0, 36)
    for outcome, sides in zip(outcomes, ((320, 320), (256, 256), (320, 320)), strict=True):
        content = (tmp_path / outcome.facts["video"]).read_bytes()
        assert outcome.facts["sha256"] == hashlib.sha256(content).hexdigest()
        assert outcome.facts["video_bytes"] == len(content)
        assert (outcome.facts["height"], outcome.facts["width"]) == sides
        assert frames(tmp_path, outcome).shape == (outcome.facts["frames"], *sides, 3)
        assert outcome.facts["duration_s"] == pytest.approx(outcome.facts["frames"] / 25)
    assert visible(tmp_path) == {f"shards/00000/videos/r{number}.mp4" for number in range(3)}


def test_frames_of_several_records_share_network_calls(items, tmp_path, monkeypatch):
    stage = render_stage(tmp_path / "together")
    sizes, warping = [], type(stage._models.network("warping_module"))
    forward = warping.forward

    def counted(self, feature, kp_source, kp_driving):
        sizes.append(len(kp_driving))
        return forward(self, feature, kp_source, kp_driving)

    monkeypatch.setattr(warping, "forward", counted)
    together = stage.run(items)
    assert sizes == [8, 8, 8, 8, 4]
    for item, outcome in zip(items, together, strict=True):
        run = tmp_path / item.record.id
        (alone,) = render_stage(run).run([item])
        difference = np.abs(frames(tmp_path / "together", outcome) - frames(run, alone))
        assert difference.mean() < 0.01
        assert difference.max() <= 8  # random weights amplify rounding; trained ones do not


def test_strict_videos_are_bit_identical_in_any_batch(records, tmp_path):
    items = UpstreamStages(options(*SETTINGS), "strict")(records)
    hashes = []
    for order in ([0], [1], [2], [0, 1, 2], [2, 1, 0]):
        run = tmp_path / "".join(map(str, order))
        outcomes = render_stage(run, determinism="strict").run([items[number] for number in order])
        hashes += [(number, outcome.facts["sha256"]) for number, outcome in zip(order, outcomes, strict=True)]
    assert len(set(hashes)) == 3


def test_strict_calls_all_have_the_same_shape(items, tmp_path, monkeypatch):
    stage = render_stage(tmp_path, determinism="strict")
    sizes, warping = set(), type(stage._models.network("warping_module"))
    forward = warping.forward

    def counted(self, feature, kp_source, kp_driving):
        sizes.add((len(feature), len(kp_driving)))
        return forward(self, feature, kp_source, kp_driving)

    monkeypatch.setattr(warping, "forward", counted)
    payloads(stage.run(items))
    assert sizes == {(1, 8)}


def test_running_a_record_again_replaces_its_video(items, tmp_path):
    stage = render_stage(tmp_path)
    first, second = stage.run([items[0]])[0], stage.run([items[0]])[0]
    assert first.facts == second.facts
    assert visible(tmp_path) == {"shards/00000/videos/r0.mp4"}


def test_a_missing_audio_file_fails_only_its_record(items, tmp_path):
    lost = Item(make_record("lost", audio=tmp_path / "lost.wav"), items[1].inputs)
    outcomes = render_stage(tmp_path / "run").run([items[0], lost, items[2]])
    assert isinstance(outcomes[1], Failed)
    payloads([outcomes[0], outcomes[2]])
    assert visible(tmp_path / "run") == {"shards/00000/videos/r0.mp4", "shards/00000/videos/r2.mp4"}


def test_frames_that_are_not_finite_fail_only_their_record(items, tmp_path):
    portrait = items[1].inputs["portrait"]
    portrait = dataclasses.replace(portrait, feature=np.full_like(portrait.feature, np.nan))
    broken = Item(items[1].record, {**items[1].inputs, "portrait": portrait})
    outcomes = render_stage(tmp_path).run([items[0], broken, items[2]])
    assert (outcomes[1].kind, outcomes[1].code) == (FailureKind.POISON, "frames_not_finite")
    payloads([outcomes[0], outcomes[2]])
    assert visible(tmp_path) == {"shards/00000/videos/r0.mp4", "shards/00000/videos/r2.mp4"}


def test_keypoints_that_overflow_fail_only_their_record(items, tmp_path):
    payload = items[1].inputs["motion"]
    scale = np.where(np.arange(13)[:, None] == 9, np.float32(3e38), payload.arrays["scale"])
    motion = MotionPayload({**payload.arrays, "scale": scale}, 25.0, {})
    outcomes = render_stage(tmp_path).run([items[0], Item(items[1].record, {**items[1].inputs, "motion": motion})])
    assert (outcomes[1].kind, outcomes[1].code) == (FailureKind.POISON, "keypoints_not_finite")
    payloads(outcomes[:1])


def test_a_motion_with_other_keypoints_fails_only_its_record(items, tmp_path):
    payload = items[1].inputs["motion"]
    few = MotionPayload({**payload.arrays, "expression": payload.arrays["expression"][:, :20]}, 25.0, {})
    outcomes = render_stage(tmp_path).run([Item(items[1].record, {**items[1].inputs, "motion": few}), items[0]])
    assert (outcomes[0].kind, outcomes[0].code) == (FailureKind.BAD_INPUT, "keypoints_mismatch")
    payloads(outcomes[1:])


def test_frames_pasted_on_the_device_make_the_same_video(items, tmp_path, monkeypatch):
    monkeypatch.setattr(compose, "PASTED_BY_OPENCV", ())
    pasted = render_stage(tmp_path / "device").run(items)
    monkeypatch.undo()
    usual = render_stage(tmp_path / "host").run(items)
    for device, host in zip(pasted, usual, strict=True):
        np.testing.assert_array_equal(frames(tmp_path / "device", device), frames(tmp_path / "host", host))


def test_out_of_memory_while_pasting_fails_only_its_record(items, tmp_path, monkeypatch):
    stage = render_stage(tmp_path)
    composer = stage._models.build_composer

    def raise_out_of_memory(crops):
        raise torch.OutOfMemoryError("no memory")

    def build(picture, options=None):
        built = composer(picture)
        if picture is items[0].inputs["portrait"].picture:
            monkeypatch.setattr(built, "prepare", raise_out_of_memory)
        return built

    monkeypatch.setattr(stage._models, "build_composer", build)
    outcomes = stage.run(items)
    assert isinstance(outcomes[0], Failed)
    assert outcomes[0].kind is FailureKind.OUT_OF_MEMORY
    assert all(isinstance(outcome, Ok) for outcome in outcomes[1:])


def test_on_out_of_memory_smaller_batches_are_rendered(items, tmp_path, monkeypatch):
    stage = render_stage(tmp_path)
    render = type(stage._models.renderer).render

    def small(self, feature, source, driving):
        if len(driving) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return render(self, feature, source, driving)

    monkeypatch.setattr(type(stage._models.renderer), "render", small)
    outcomes = stage.run(items)
    assert [len(frames(tmp_path, outcome)) for outcome in outcomes] == [3, 13, 20]


def test_if_not_even_one_frame_fits_the_record_fails_with_out_of_memory(items, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    stage = render_stage(tmp_path)
    monkeypatch.setattr(type(stage._models.renderer), "render", full)
    assert [outcome.kind for outcome in stage.run(items)] == [FailureKind.OUT_OF_MEMORY] * 3
    assert visible(tmp_path) == set()


def test_a_full_disk_stops_the_run_and_leaves_no_partial_file(items, tmp_path):
    with small_disk(tmp_path / "disk") as run:
        shutil.copy(PORTRAIT, run / "filler")
        with (run / "filler").open("ab") as file:
            file.write(bytes(max(0, 2**20 - 4096 - (run / "filler").stat().st_size - 60_000)))
        outcomes = render_stage(run).run([items[2]])
        assert (outcomes[0].kind, outcomes[0].code) == (FailureKind.STOP, "output_unwritable")
        assert visible(run) == {"filler"}


@pytest.mark.parametrize("free_pages", [0, 1, 4, 8])
def test_a_full_temporary_folder_stops_the_run(items, tmp_path, monkeypatch, free_pages):
    with small_disk(tmp_path / "disk") as temporary:
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        (temporary / "filler").write_bytes(bytes(2**20 - 4096 * (free_pages + 1)))
        outcomes = render_stage(tmp_path / "run").run([items[2]])
        assert outcomes[0].kind is FailureKind.STOP
        assert "free" in outcomes[0].sentence
        assert visible(temporary) == {"filler"}
    assert visible(tmp_path / "run") == set()


def test_a_read_only_run_folder_stops_the_run(items, tmp_path):
    with small_disk(tmp_path / "disk", "ro") as run:
        (outcome,) = render_stage(run).run([items[0]])
        assert outcome.kind is FailureKind.STOP


def test_the_temporary_folder_is_empty_afterwards(items, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    payloads(render_stage(tmp_path / "run").run(items[:1]))
    assert not list((tmp_path / "temporary").iterdir())


def test_a_saved_motion_renders_the_same_video(items, records, tmp_path):
    (first,) = render_stage(tmp_path, save_motion=True).run([items[1]])
    saved = tmp_path / first.facts["motion_file"]
    assert first.facts["motion_file"] == "shards/00000/motion/r1.safetensors"
    provenance = load_motion(saved).provenance
    assert provenance["bundle"] == "random"
    assert provenance["seed"] == "1"
    row = make_record("r1", seed=1, image=records[1].image, audio=records[1].audio, motion=saved)
    (again,) = UpstreamStages(options(*SETTINGS))([row])
    again = Item(row, {"portrait": items[1].inputs["portrait"], "motion": again.inputs["motion"]})
    (second,) = render_stage(tmp_path / "again").run([again])
    assert second.facts["sha256"] == first.facts["sha256"]


def test_without_audio_the_video_has_no_soundtrack(items, tmp_path):
    from joyvasa.media.ffmpeg import list_streams

    mute = Item(make_record("mute"), items[0].inputs)
    (outcome,) = render_stage(tmp_path).run([mute])
    assert list_streams(tmp_path / outcome.facts["video"]) == ["video/h264"]


def test_a_video_is_uploaded_to_an_object_store(items, tmp_path):
    from manifests.storage import open_storage

    (outcome,) = set_up(RenderStage(RenderConfig(animation=options(*SETTINGS), run="memory://bucket/run"))).run(
        [items[0]]
    )
    content = open_storage("memory://bucket/run").read(outcome.facts["video"])
    assert hashlib.sha256(content).hexdigest() == outcome.facts["sha256"]


def test_payloads_can_be_pickled(items):
    motion = transfer(items[0].inputs["motion"])
    assert not motion.arrays["scale"].flags.writeable
