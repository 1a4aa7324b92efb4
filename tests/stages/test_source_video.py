"""A video in the column `image`, through the stages."""

import numpy as np

from stages.base import FailureKind, Item
from stages.render import RenderConfig, RenderStage
from tests.joyvasa.training.recordings import empty, talking
from tests.media import read_frames, write_tone, write_video
from tests.stages.items import UpstreamStages, make_record, options, payloads, set_up

SETTINGS = options("models=sample", "encoding.crf=8")


def test_a_video_is_followed_and_rendered_frame_by_frame(tmp_path):
    source = write_video(tmp_path / "talk.mp4", talking(14), rate=30.0)
    sound = write_tone(tmp_path / "tone.wav", seconds=0.4)
    (item,) = UpstreamStages(SETTINGS)([make_record("v", image=source, audio=sound)])
    followed = item.inputs["portrait"].source
    assert len(followed.face) == 14
    assert followed.face.visible.all()

    stage, progress = set_up(RenderStage(RenderConfig(animation=SETTINGS, run=str(tmp_path / "run")))), []
    stage.on_progress = lambda *done: progress.append(done)
    (outcome,) = stage.run([item])
    payloads([outcome])
    assert progress == [(8 / 12, 8), (1.0, 12)]
    assert outcome.facts["frames"] == 12  # 0.4 s at 30 frames per second
    frames = read_frames(tmp_path / "run" / outcome.facts["video"]).astype(int)
    changed = np.abs(frames - read_frames(source)[:12].astype(int)).max(-1)
    above, face = changed[:, :20], changed[:, 100:180, 90:150]
    assert np.median(above) < 6
    assert face.mean() > 2 * above.mean()  # more than encoding changes


def test_a_video_that_is_followed_advances_its_batch(tmp_path):
    stage, units = UpstreamStages(SETTINGS).portrait, []
    stage.on_progress = lambda fraction, finished: units.append(finished)
    videos = [write_video(tmp_path / f"{n}.mp4", talking(12)) for n in range(2)]
    stage.run([Item(make_record(video.stem, image=video)) for video in videos])
    assert len(units) > 2
    assert units == sorted(set(units))
    assert units[0] < 1 < units[-1] <= 2


def test_a_video_without_a_face_fails_alone(tmp_path):
    stages = UpstreamStages(SETTINGS)
    names = {"good": talking(6), "bad": empty(6)}
    records = [make_record(name, image=write_video(tmp_path / f"{name}.mp4", frames)) for name, frames in names.items()]
    good, bad = stages.portrait.run([Item(record) for record in records])
    payloads([good])
    assert (bad.kind, bad.code) == (FailureKind.BAD_INPUT, "face_not_found")
