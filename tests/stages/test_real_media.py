"""Stages on real pictures, recordings and motion, with small random networks."""

import numpy as np
import pytest

from joyvasa.motion.file import convert_motion, load_motion, serialize_motion
from stages.base import Item
from stages.render import RenderConfig, RenderStage
from tests.media import MEDIA, ffmpeg, read_frames
from tests.stages.items import UpstreamStages, make_record, options, payloads, set_up

pytestmark = pytest.mark.slow

MAX_FRAMES = 50  # rendered frames per motion
SETTINGS = ("picture.max_side=256", "sampling.cfg_scale=1", "encoding.preset=ultrafast")


@pytest.fixture(scope="module")
def first_stages():
    return UpstreamStages(options(*SETTINGS))


def render(run, items):
    return set_up(RenderStage(RenderConfig(animation=options(*SETTINGS), run=str(run)))).run(items)


def test_every_motion_sequence_plays_on_a_portrait(first_stages, tmp_path):
    paths = sorted((MEDIA / "motion").glob("*.npz"))
    assert len(paths) == 12
    rows = []
    for path in paths:
        out = tmp_path / f"{path.stem}.safetensors"
        convert_motion(path, out)
        whole = load_motion(out)
        out.write_bytes(serialize_motion(whole.motion[:MAX_FRAMES], whole.provenance))
        rows.append(make_record(path.stem, image=MEDIA / "portraits/s10.jpg", motion=out))
    outcomes = render(tmp_path / "run", first_stages(rows))
    payloads(outcomes)
    for path, outcome in zip(paths, outcomes, strict=True):
        with np.load(path) as motion:
            assert outcome.facts["frames"] == round(min(MAX_FRAMES, len(motion["exp"])) * 25 / float(motion["fps"]))
        frames = read_frames(tmp_path / "run" / outcome.facts["video"])
        assert len(frames) == outcome.facts["frames"]
        assert np.abs(frames.astype(int) - frames[0]).max() > 20  # something moves


def test_several_portraits_are_rendered_in_one_batch(first_stages, tmp_path):
    pictures = sorted((MEDIA / "portraits").iterdir())[:4]
    ffmpeg("-i", MEDIA / "speech/joyvasa_002.flac", "-t", 1, tmp_path / "speech.wav")
    rows = [make_record(path.stem, seed=3, image=path, audio=tmp_path / "speech.wav") for path in pictures]
    outcomes = render(tmp_path, first_stages(rows))
    payloads(outcomes)
    assert [outcome.facts["frames"] for outcome in outcomes] == [25] * 4


def test_a_motion_file_with_audio_lasts_as_long_as_the_audio(first_stages, tmp_path):
    sound, motion = MEDIA / "speech/joyvasa_002.flac", MEDIA / "motion/laugh.npz"
    row = make_record("both", image=MEDIA / "portraits/s10.jpg", audio=sound, motion=motion)
    (item,) = first_stages([row])
    assert isinstance(item, Item)
    (outcome,) = render(tmp_path, [item])
    assert outcome.facts["frames"] == 107
