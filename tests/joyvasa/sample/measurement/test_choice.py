import numpy as np
import pytest

from joyvasa.media.audio import SAMPLE_RATE, load_audio
from joyvasa.sample.measurement.inputs import find_unseen_inputs
from joyvasa.sample.measurement.reenactment import PAIRS, choose_frame_pairs
from joyvasa.sample.measurement.videos import MAX_PORTRAITS, MAX_VIDEOS, choose_pairs, shorten_recording, write_sound
from joyvasa.sample.training.training_media import is_held_out


@pytest.fixture
def media(tmp_path):
    for kind, suffix in (("portraits", "jpg"), ("speech", "wav"), ("videos", "mp4")):
        folder = tmp_path / "media" / kind
        folder.mkdir(parents=True)
        for number in range(40):
            (folder / f"{number}.{suffix}").touch()
        (folder / "notes.txt").touch()
    return tmp_path / "media"


def test_only_held_out_files_are_measured(media):
    inputs = find_unseen_inputs(media)
    for paths in (inputs.portraits, inputs.speech, inputs.videos):
        assert 0 < len(paths) < 40
        assert all(is_held_out(path.name) for path in paths)


def test_all_of_another_folder_is_unseen_and_the_order_is_fixed(media, tmp_path):
    other = tmp_path / "other" / "portraits"
    other.mkdir(parents=True)
    for number in range(5):
        (other / f"other-{number}.png").touch()
    alone, both = find_unseen_inputs(media), find_unseen_inputs(media, [tmp_path / "other"])
    assert set(both.portraits) == {*alone.portraits, *other.iterdir()}
    assert both == find_unseen_inputs(media, [tmp_path / "other"])
    assert [path for path in both.portraits if path in alone.portraits] == list(alone.portraits)


@pytest.mark.parametrize("n_recordings", [1, 2, 3, 10])
@pytest.mark.parametrize("n_portraits", [1, 4, 30])
def test_pairs_are_few_and_distinct_and_use_all_inputs(n_portraits, n_recordings):
    chosen = choose_pairs(n_portraits, n_recordings)
    assert 0 < len(chosen) == len(set(chosen)) <= MAX_VIDEOS
    assert {portrait for portrait, _ in chosen} == set(range(min(n_portraits, MAX_PORTRAITS)))
    assert all(recording < n_recordings for _, recording in chosen)
    if n_recordings <= 3 <= n_portraits:
        assert {recording for _, recording in chosen} == set(range(n_recordings))


def test_without_recordings_there_is_no_pair():
    assert choose_pairs(6, 0) == [] == choose_pairs(0, 3)


@pytest.mark.parametrize("n_frames", [13, 125])
def test_a_frame_is_never_driven_to_itself(n_frames):
    chosen = choose_frame_pairs(n_frames)
    assert len(chosen) == PAIRS
    assert all(source != driven and max(source, driven) < n_frames for source, driven in chosen)


def test_long_recordings_are_shortened(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * SAMPLE_RATE).astype(np.float32)
    short = load_audio(shorten_recording(write_sound(tmp_path / "long.wav", samples), tmp_path / "short"))
    assert len(short) == 8 * SAMPLE_RATE
    assert short == pytest.approx(samples[: len(short)], abs=1e-3)
