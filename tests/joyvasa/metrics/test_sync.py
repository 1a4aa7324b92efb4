"""Sync-C and Sync-D with networks of known outputs, on real and synthetic videos."""

import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from joyvasa.bundles import open_bundle
from joyvasa.errors import InputError, ModelError
from joyvasa.media.audio import SAMPLE_RATE
from joyvasa.media.video_reader import probe_video, stream_video
from joyvasa.metrics import sync
from joyvasa.metrics.base import Clip, NotMeasured
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from joyvasa.metrics.support import face_tracks
from joyvasa.metrics.support.face_boxes import FaceBoxFinder, choose_scale
from joyvasa.metrics.support.face_tracks import smooth_squares, track_faces
from joyvasa.metrics.support.frame_rate import FrameRateConverter
from joyvasa.metrics.support.sound_windows import SoundWindows, mfcc, stream_video_sound
from joyvasa.metrics.sync import SyncMetric
from tests.joyvasa.metrics.planted import (
    SMALL_S3FD,
    SMALL_SYNCNET,
    CentralFace,
    LoudMouth,
    build_seeded,
    planted_models,
)
from tests.media import MEDIA, ffmpeg

SIZE = 160  # pixels, of synthetic videos


def open_clip(path: Path, **fields: object) -> Clip:
    info = probe_video(path)
    return Clip(
        video=path,
        frames_per_second=float(info.frames_per_second),
        width=info.width,
        height=info.height,
        has_sound=info.has_sound,
        **fields,
    )


def run(metric: SyncMetric, clip: Clip) -> dict[str, float | NotMeasured]:
    scores = measure_clip(clip, [metric], stream_video(clip.video), explain=explain_exception)
    return {**scores.values, **scores.reasons}


def make_metric(**networks: torch.nn.Module) -> SyncMetric:
    metric = SyncMetric()
    metric.setup(planted_models(**{"syncnet": LoudMouth(), "s3fd": CentralFace(0.75), **networks}))
    return metric


def write_video(path: Path, gray: np.ndarray, sound: np.ndarray | None, rate: int = 25) -> Path:
    """Write uniform frames of given gray levels, and sound without compression."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(np.broadcast_to(gray.astype(np.uint8)[:, None, None], (len(gray), SIZE, SIZE)).tobytes())
    picture = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIZE}x{SIZE}", "-r", rate, "-i", raw]
    if sound is None:
        ffmpeg(*picture, "-c:v", "ffv1", path)
        return path
    pcm = path.with_suffix(".pcm")
    pcm.write_bytes(sound.astype("<i2").tobytes())
    audio = ["-f", "s16le", "-ar", SAMPLE_RATE, "-ac", 1, "-i", pcm]
    ffmpeg(*picture, *audio, "-c:v", "ffv1", "-c:a", "pcm_s16le", path)
    return path


def talk(n_frames: int, late: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return gray levels at 25 fps, and noise whose level follows them `late` frames later."""
    random = np.random.default_rng(3)
    gray = random.uniform(60, LoudMouth.BRIGHTEST, n_frames + 40).round()
    amplitude = LoudMouth.AMPLITUDE * np.exp((gray - LoudMouth.BRIGHTEST) / 40)
    loudness = amplitude[20 - late : 20 - late + n_frames].repeat(SAMPLE_RATE // 25)
    sound = np.clip(loudness * random.standard_normal(len(loudness)), -32768, 32767)
    return gray[20 : 20 + n_frames], sound.astype(np.int16)


@pytest.mark.parametrize("late", [0, 5, -5])
def test_sound_late_by_k_frames_has_the_offset_minus_k(tmp_path, late):
    values = run(make_metric(), open_clip(write_video(tmp_path / "talk.mkv", *talk(120, late))))
    assert values["sync_offset"] == -late
    assert values["sync_tracks"] == 1
    assert values["sync_d"] < 0.5 * values["sync_d_mean"]
    # One of the 31 shifts fits, the others have about the same distance.
    assert values["sync_c"] + values["sync_d"] == pytest.approx(values["sync_d_mean"], rel=0.15)


def test_sound_that_starts_later_in_the_file_is_late(tmp_path):
    original = write_video(tmp_path / "talk.mkv", *talk(120))
    shifted = tmp_path / "shifted.mkv"
    ffmpeg("-i", original, "-itsoffset", 0.2, "-i", original, "-map", "0:v", "-map", "1:a", "-c", "copy", shifted)
    assert run(make_metric(), open_clip(shifted))["sync_offset"] == -5


def test_video_of_another_rate_is_converted_to_25_fps(tmp_path):
    gray, sound = talk(120)
    fast = write_video(tmp_path / "fast.mkv", gray.repeat(2), sound, rate=50)
    detector = CentralFace(0.75)
    values = run(make_metric(s3fd=detector), open_clip(fast))
    assert values["sync_offset"] == 0
    assert sum(shape[0] for shape in detector.batches) == 120


@pytest.mark.parametrize("batch_frames", [1, 7, 1000])
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (25, [0, 1, 2, 3, 4, 5]),
        (50, [0, 2, 4, 6, 8, 10]),
        (30, [0, 1, 2, 4, 5, 6]),
        (30000 / 1001, [0, 1, 2, 4, 5, 6]),
        (10, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_nearest_frames_are_selected_for_any_batch_size(rate, expected, batch_frames):
    frames, converter = np.arange(90)[:, None], FrameRateConverter(rate)
    batches = [frames[start : start + batch_frames] for start in range(0, 90, batch_frames)]
    converted = [part for batch in batches for part in converter.convert(batch)]
    assert max(map(len, converted)) <= batch_frames
    numbers = np.concatenate(converted)[:, 0]
    assert numbers[:6].tolist() == expected
    assert len(numbers) == pytest.approx(90 * 25 / rate, abs=1.5)
    assert np.abs(numbers / rate - np.arange(len(numbers)) / 25).max() <= 0.5001 / rate


@pytest.fixture(scope="module")
def real_clip(tmp_path_factory) -> Clip:
    part = tmp_path_factory.mktemp("real") / "part.mp4"
    ffmpeg("-i", MEDIA / "videos/d12.mp4", "-t", 4.4, "-c", "copy", part)
    return open_clip(part)


def test_streaming_equals_the_whole_clip(real_clip):
    syncnet, detector = build_seeded("syncnet", **SMALL_SYNCNET), CentralFace()
    values = run(make_metric(syncnet=syncnet, s3fd=detector), real_clip)
    assert max(shape[0] for shape in detector.batches) == 16
    expected = whole_clip(real_clip.video, syncnet)
    for name, number in expected.items():
        assert values[name] == pytest.approx(number, rel=1e-4), name


@torch.inference_mode()
def whole_clip(video: Path, network: torch.nn.Module) -> dict[str, float]:
    """Compute the protocol with all frames, crops and distances in memory."""
    frames = np.concatenate(list(stream_video(video)))
    finder = FaceBoxFinder(CentralFace(), torch.device("cpu"))
    (track,) = track_faces([finder.find(frame[None])[0] for frame in frames])
    crops = []
    for frame, side, x, y in zip(frames, *smooth_squares(track.boxes), strict=True):
        border = int(side * 1.8)
        padded = np.pad(frame, ((border, border), (border, border), (0, 0)), constant_values=110)
        x, y = x + border, y + border
        rows = slice(int(y - side), int(y + side * 1.8))
        crops.append(cv2.resize(padded[rows, int(x - side * 1.4) : int(x + side * 1.4)], (224, 224)))
    samples = np.concatenate(list(stream_video_sound(video)))[: 640 * len(frames)]
    columns = mfcc(samples).T.astype(np.float32)
    count = min(len(frames), len(samples) // 640) - 5
    bgr = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(3, 0, 1, 2).float()
    lips = torch.cat([network.embed_lips(bgr[None, :, i : i + 5])[0] for i in range(count)])
    sound = torch.cat(
        [network.embed_sound(torch.from_numpy(columns[None, None, :, 4 * i : 4 * i + 20])) for i in range(count)]
    )
    padded_sound = torch.nn.functional.pad(sound, (0, 0, 15, 15))
    distances = (lips[:, None] - padded_sound.unfold(0, 31, 1).transpose(1, 2) + 1e-6).norm(dim=-1)
    means = distances.double().mean(dim=0)
    return {
        "sync_c": float(means.median() - means.min()),
        "sync_d": float(means.min()),
        "sync_d_mean": float(means.mean()),
        "sync_offset": 15.0 - int(means.argmin()),
        "sync_tracks": 1.0,
    }


def test_at_most_two_batches_of_frames_are_in_memory(real_clip, monkeypatch):
    batches: list[weakref.ref] = []
    peak = 0

    def stream_tracked(*args, **options):
        nonlocal peak
        for frames in stream_video(*args, **options):
            batches.append(weakref.ref(frames))
            peak = max(peak, sum(reference() is not None for reference in batches))
            yield frames

    monkeypatch.setattr(sync, "stream_video", stream_tracked)
    metric = make_metric(syncnet=build_seeded("syncnet", **SMALL_SYNCNET), s3fd=CentralFace())
    measurement = metric.start(real_clip)
    for frames in stream_tracked(real_clip.video):
        measurement.update(frames)
    del frames
    assert isinstance(measurement.finish()["sync_c"], float)
    assert len(batches) > 10
    assert peak <= 2  # the last two batches


def test_several_faces_are_averaged_and_the_offset_is_that_of_the_clearest(tmp_path, monkeypatch):
    clip = open_clip(write_video(tmp_path / "talk.mkv", *talk(30)))
    scores = iter([sync.SyncScore(2.0, 8.0, 10.0, 4), sync.SyncScore(6.0, 6.0, 12.0, -1), None])
    monkeypatch.setattr(sync, "track_faces", lambda *_: [sync.FaceTrack(0, np.ones((30, 4)))] * 3)
    monkeypatch.setattr(sync, "score_face", lambda *_: next(scores))
    values = run(make_metric(), clip)
    assert values == {"sync_c": 4.0, "sync_d": 7.0, "sync_d_mean": 11.0, "sync_offset": -1.0, "sync_tracks": 2.0}


def reasons(values: dict[str, float | NotMeasured]) -> set[str]:
    return {value.code for value in values.values() if isinstance(value, NotMeasured)}


def test_video_without_sound_has_a_reason(tmp_path):
    clip = open_clip(write_video(tmp_path / "mute.mkv", talk(30)[0], None))
    assert reasons(run(make_metric(), clip)) == {"no_sound"}


def test_digital_silence_has_a_reason_without_detection(tmp_path):
    gray, sound = talk(30)
    detector = CentralFace()
    clip = open_clip(write_video(tmp_path / "silent.mkv", gray, np.zeros_like(sound)))
    assert reasons(run(make_metric(s3fd=detector), clip)) == {"sound_silent"}
    assert detector.batches == []


def test_clip_under_six_frames_has_a_reason(tmp_path):
    assert reasons(run(make_metric(), open_clip(write_video(tmp_path / "five.mkv", *talk(5))))) == {"too_short"}


def test_four_seconds_are_too_short_for_the_protocol(tmp_path, monkeypatch):
    clip = open_clip(write_video(tmp_path / "short.mkv", *talk(100)))
    values = run(make_metric(), clip)
    assert reasons(values) == {"no_face_track"}
    assert values["sync_tracks"] == 0
    assert "in 100 of 100 frames" in values["sync_c"].sentence
    assert "more than 100" in values["sync_c"].sentence
    monkeypatch.setattr(face_tracks, "MIN_BOXES", 50)
    assert run(make_metric(), clip)["sync_offset"] == 0


@pytest.mark.parametrize("face", [CentralFace(0.75, score=0.8), CentralFace(0.5)])
def test_uncertain_and_small_faces_are_not_tracked(tmp_path, face):
    clip = open_clip(write_video(tmp_path / "talk.mkv", *talk(110)))
    assert reasons(run(make_metric(s3fd=face), clip)) == {"no_face_track"}


def test_sound_that_ends_at_once_has_a_reason(tmp_path):
    gray, sound = talk(110)
    clip = open_clip(write_video(tmp_path / "cut.mkv", gray, sound[: 640 * 5]))
    assert reasons(run(make_metric(), clip)) == {"sound_too_short"}


def test_animals_are_not_measured(tmp_path):
    clip = open_clip(write_video(tmp_path / "talk.mkv", *talk(10)), mode="animal")
    assert reasons(run(make_metric(), clip)) == {"not_human"}


def test_damaged_sound_is_an_error_with_a_code(tmp_path):
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"not a video")
    with pytest.raises(InputError, match="audio_unreadable"):
        list(stream_video_sound(broken))


def test_sound_windows_start_at_the_first_frame_of_a_face():
    samples = np.random.default_rng(0).integers(-3000, 3000, 640 * 40, dtype=np.int16)
    blocks = np.array_split(samples, 11)
    late, cut = SoundWindows(blocks, first=7), SoundWindows([samples[640 * 7 :]])
    np.testing.assert_array_equal(late.next_windows(3), cut.next_windows(3))
    remaining = late.next_windows(1000)
    assert len(remaining) == 40 - 7 - 5 - 3
    np.testing.assert_allclose(remaining, cut.next_windows(1000), atol=1e-4)
    assert len(late.next_windows(5)) == len(late.next_windows(0)) == 0
    assert len(SoundWindows(blocks, first=41).next_windows(5)) == 0


@pytest.mark.parametrize(
    ("size", "scale"),
    [((512, 512), 0.25), ((1280, 720), 0.25), ((256, 256), 0.5), ((480, 640), 128 / 480), ((96, 96), 1)],
)
def test_small_frames_are_scaled_to_128_pixels(size, scale):
    assert choose_scale(*size) == pytest.approx(scale)


def write_bundle(folder: Path, missing: str = "") -> Path:
    """Write the two files in the published layout: in the old format and without batch counters."""
    folder.mkdir()
    roles = {}
    for name, config in (("syncnet", SMALL_SYNCNET), ("s3fd", SMALL_S3FD)):
        state = build_seeded(name, **config).state_dict()
        state = {
            key: value for key, value in state.items() if not key.endswith(("num_batches_tracked", missing or "?"))
        }
        torch.save(state, folder / f"{name}.pth", _use_new_zipfile_serialization=False)
        roles[name] = {"file": f"{name}.pth", "format": "pytorch", "license": "none", "network": name, "config": config}
    licenses = {"none": {"name": "none", "commercial": "yes"}}
    content = {"format_version": 1, "name": "small", "licenses": licenses, "roles": roles}
    (folder / "bundle.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_published_files_load_without_batch_counters(tmp_path):
    bundle = open_bundle(write_bundle(tmp_path / "small"))
    SyncMetric().setup(sync.MetricModels(bundle=bundle, device=torch.device("cpu")))
    loaded, expected = (
        bundle.load_network("syncnet").state_dict(),
        build_seeded("syncnet", **SMALL_SYNCNET).state_dict(),
    )
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_other_missing_keys_are_rejected(tmp_path):
    bundle = open_bundle(write_bundle(tmp_path / "small", missing="netcnnlip.1.running_mean"))
    with pytest.raises(ModelError, match=r"1 key missing \(netcnnlip\.1\.running_mean\)"):
        bundle.load_network("syncnet")
