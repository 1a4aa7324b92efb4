import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.media.audio import probe_audio
from stages.base import Failed, FailureKind, Item
from stages.config import StageConfig
from stages.speech import SpeechStage
from tests.media import write_tone
from tests.stages.items import make_record, options, payloads, set_up


@pytest.fixture(autouse=True, scope="module")
def small_calls():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.speech.WINDOWS_PER_CALL", 4)
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Recordings of one, three and two windows."""
    folder = tmp_path_factory.mktemp("speech")
    lengths = {"short": 0.4, "long": 8.5, "middle": 4.3}
    return [
        make_record(name, audio=write_tone(folder / f"{name}.wav", seconds=length)) for name, length in lengths.items()
    ]


@pytest.fixture(scope="module")
def stage():
    return set_up(SpeechStage(StageConfig(animation=options())))


def test_features_equal_those_of_the_animator(stage, recordings):
    (payload,) = payloads(stage.run([Item(recordings[1])]))
    animator, path = Animator(options()), recordings[1].audio
    expected = animator.prepare_recording(path, probe_audio(path), 0)
    assert payload.plan == expected.plan
    np.testing.assert_allclose(payload.features, torch.stack(list(expected.features)), rtol=0, atol=1e-5)


def test_recordings_of_a_batch_share_network_calls(stage, recordings, monkeypatch):
    calls, network = [], stage._models.motion_model
    encode = network.encode

    def counted(waveform):
        calls.append(len(waveform))
        return encode(waveform)

    monkeypatch.setattr(network, "encode", counted)
    batched = payloads(stage.run([Item(record) for record in recordings]))
    assert calls == [4, 2]
    for record, payload in zip(recordings, batched, strict=True):
        (alone,) = payloads(stage.run([Item(record)]))
        assert payload.plan == alone.plan
        np.testing.assert_allclose(payload.features, alone.features, rtol=0, atol=1e-5)


def test_strict_features_are_bit_identical_in_any_batch(recordings):
    stage = set_up(SpeechStage(StageConfig(animation=options(), determinism="strict")))
    batched = payloads(stage.run([Item(record) for record in reversed(recordings)]))[::-1]
    for record, payload in zip(recordings, batched, strict=True):
        (alone,) = payloads(stage.run([Item(record)]))
        assert payload.features.tobytes() == alone.features.tobytes()


def test_facts_hold_length_and_size(stage, recordings):
    progress = []
    stage.on_progress = lambda *done: progress.append(done)
    facts = [outcome.facts for outcome in stage.run([Item(record) for record in recordings])]
    stage.on_progress = None
    assert [fraction for fraction, _ in progress] == [n / 6 for n in range(1, 7)]
    assert progress[-1][1] == pytest.approx(sum(fact["seconds"] for fact in facts))
    assert [fact["windows"] for fact in facts] == [1, 3, 2]
    assert [fact["frames"] for fact in facts] == [10, 213, 108]
    assert facts[0]["seconds"] == pytest.approx(0.4)
    assert facts[1]["bytes"] == 3 * 100 * 32 * 4


def test_a_row_without_audio_gets_an_empty_payload(stage):
    (outcome,) = stage.run([Item(make_record("mute", motion="wave.npz"))])
    assert outcome.facts["windows"] == 0
    assert outcome.payload.plan is None
    assert outcome.payload.features is None


def test_audio_of_a_row_with_a_motion_file_is_measured_and_not_encoded(stage, recordings, monkeypatch):
    monkeypatch.setattr(stage._models.motion_model, "encode", None)
    (outcome,) = stage.run([Item(make_record("both", audio=recordings[1].audio, motion="wave.npz"))])
    assert outcome.facts["windows"] == 0
    assert outcome.payload.plan.n_frames == 213
    assert outcome.payload.features is None


def test_bad_recordings_fail_alone(stage, recordings, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    write_tone(tmp_path / "silent.wav", volume=0)
    names = ("text", "silent", "absent")
    bad = [make_record(name, audio=tmp_path / f"{name}.wav") for name in names]
    outcomes = stage.run([Item(record) for record in (bad[0], recordings[0], *bad[1:], recordings[2])])
    failed = [outcomes[number] for number in (0, 2, 3)]
    assert all(isinstance(outcome, Failed) and outcome.kind is FailureKind.BAD_INPUT for outcome in failed)
    assert [outcome.code for outcome in failed] == ["audio_unreadable", "audio_silent", "audio_missing"]
    payloads([outcomes[1], outcomes[4]])


def test_a_recording_that_changes_while_it_is_read_fails_alone(stage, recordings, tmp_path, monkeypatch):
    changing = write_tone(tmp_path / "changing.wav", seconds=4.3)
    sound = stage._models.stream_sound

    def shorter(path):
        blocks = list(sound(path))
        return blocks[:-1] if path == changing else blocks

    monkeypatch.setattr(stage._models, "stream_sound", shorter)
    outcomes = stage.run([Item(record) for record in (recordings[0], make_record("c", audio=changing), recordings[1])])
    assert (outcomes[1].kind, outcomes[1].code) == (FailureKind.BAD_INPUT, "audio_length_changed")
    batched = payloads([outcomes[0], outcomes[2]])
    monkeypatch.undo()
    for record, payload in zip((recordings[0], recordings[1]), batched, strict=True):
        (alone,) = payloads(stage.run([Item(record)]))
        np.testing.assert_allclose(payload.features, alone.features, rtol=0, atol=1e-5)


def test_audio_can_be_a_uri(stage, recordings):
    import fsspec

    with fsspec.open("memory://sounds/short.wav", "wb") as file, open(recordings[0].audio, "rb") as source:
        file.write(source.read())
    remote, absent = (make_record("r", audio=f"memory://sounds/{name}.wav") for name in ("short", "absent"))
    outcomes = stage.run([Item(remote), Item(absent)])
    assert outcomes[0].facts["frames"] == 10
    assert (outcomes[1].kind, outcomes[1].code) == (FailureKind.BAD_INPUT, "file_missing")
