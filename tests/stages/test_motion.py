import dataclasses

import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.media.audio import probe_audio
from joyvasa.motion.file import save_motion
from joyvasa.motion.sequence import MotionSequence
from manifests.record import Record, derive_seed
from stages.base import FailureKind, Item
from stages.hash_inputs import InputHashes
from stages.motion import MotionConfig, MotionStage
from stages.speech import SpeechConfig, SpeechPayload, SpeechStage
from tests.media import tone
from tests.stages.items import most, options, payloads, ready, record, same_bytes


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Four records of one window, one of them without guidance, and one of two windows."""
    folder = tmp_path_factory.mktemp("speech")
    lengths = (0.4, 1.0, 2.0, 0.7, 4.3)
    sounds = [tone(folder / f"{length}.wav", seconds=length) for length in lengths]
    scales = (None, 1.5, 1.0, None, None)
    records = [
        record(str(seed), seed=seed, audio=sound, cfg_scale=scale)
        for seed, (sound, scale) in enumerate(zip(sounds, scales, strict=True))
    ]
    speech = ready(SpeechStage(SpeechConfig(animation=options())))
    found = payloads(speech.run([Item(one) for one in records]))
    return [Item(one, {"speech": payload}) for one, payload in zip(records, found, strict=True)]


@pytest.fixture(scope="module")
def stage():
    return ready(MotionStage(MotionConfig(animation=options())))


def arrays(outcomes):
    return [payload.arrays for payload in payloads(outcomes)]


def waves(n_frames=30, rate=30.0, keypoints=21):
    time = torch.arange(n_frames)[:, None] / rate
    return MotionSequence(
        expression=0.01 * torch.sin(time)[:, None].expand(-1, keypoints, 3).contiguous(),
        scale=torch.full_like(time, 1.4),
        translation=torch.zeros(n_frames, 3),
        pitch=10 * time,
        yaw=-5 * time,
        roll=torch.zeros_like(time),
        frames_per_second=rate,
    )


def test_motion_is_that_of_the_animator(stage, items):
    (found,) = arrays(stage.run(items[:1]))
    animator, path = Animator(options()), items[0].record.audio
    (expected,) = animator.sample([animator.recording(path, probe_audio(path), items[0].record.seed)])
    assert most(found, {name: getattr(expected, name).numpy() for name in found}) < 1e-4


def test_batch_order_and_size_change_motion_by_rounding_only(stage, items):
    alone = [arrays(stage.run([item]))[0] for item in items]
    together = arrays(stage.run(items))
    backward = arrays(stage.run(items[::-1]))[::-1]
    for one, other, third in zip(alone, together, backward, strict=True):
        assert most(one, other) < 1e-4
        assert most(one, third) < 1e-4


def test_strict_motion_is_the_same_bytes_in_any_batch(items):
    stage = ready(MotionStage(MotionConfig(animation=options(), determinism="strict", strict_batch=4)))
    alone = [arrays(stage.run([item]))[0] for item in items]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0], [3, 1, 4]):
        together = arrays(stage.run([items[number] for number in order]))
        assert all(same_bytes(found, alone[number]) for number, found in zip(order, together, strict=True))


def test_seed_sound_and_guidance_of_the_row_count(stage, items):
    same = dataclasses.replace(items[0].record, id="other name")
    seed = dataclasses.replace(items[0].record, seed=7)
    scale = dataclasses.replace(items[0].record, cfg_scale=0.0)
    variants = [Item(one, items[0].inputs) for one in (items[0].record, same, seed, scale)]
    base, again, seeded, scaled = (arrays(stage.run([item]))[0] for item in variants)
    assert same_bytes(base, again)
    assert most(base, seeded) > 1e-3
    assert most(base, scaled) > 1e-3


def test_motion_that_is_not_finite_is_poison_for_its_record_alone(stage, items):
    speech = items[1].inputs["speech"]
    broken = Item(items[1].record, {"speech": SpeechPayload(speech.plan, np.full_like(speech.features, np.nan))})
    outcomes = stage.run([items[0], broken, items[3]])
    assert (outcomes[1].kind, outcomes[1].code) == (FailureKind.POISON, "motion_not_finite")
    alone = arrays(stage.run([items[0]]))[0]
    assert most(arrays([outcomes[0]])[0], alone) < 1e-4


def test_want_of_memory_is_told_for_the_whole_batch(stage, items, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stage._models.motion_model, "sample", full)
    assert [outcome.kind for outcome in stage.run(items[:3])] == [FailureKind.OUT_OF_MEMORY] * 3


def test_a_broken_gpu_is_no_fault_of_the_record(stage, items, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(stage._models.motion_model, "sample", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        stage.run(items[:2])


def test_facts_tell_length_and_size(stage, items):
    facts = stage.run([items[4]])[0].facts
    assert facts == {"frames": 108, "seconds": 4.32, "seed": 4, "bytes": 108 * 70 * 4}


def test_a_shared_motion_takes_its_seed_from_the_content_of_the_recording_or_from_its_row(items):
    stage = ready(MotionStage(MotionConfig(animation=options("seed=5"), shared=True)))

    def seed_of(name, sha256, own=None):
        one = Record(id=name, audio=f"{name}.wav", given_seed=own, seed=int(name))
        identity = InputHashes(audio_sha256=sha256)
        (outcome,) = stage.run([Item(one, {**items[0].inputs, "hash_inputs": identity})])
        assert outcome.facts["seed"] == outcome.payload.seed == int(outcome.payload.provenance["seed"])
        return outcome.facts["seed"]

    assert seed_of("1", "ab") == seed_of("2", "ab") == derive_seed(5, "ab")
    assert seed_of("1", "ab") != seed_of("1", "cd")
    assert seed_of("3", "ab", own=3) == 3
    assert seed_of("1", None) == derive_seed(5, "1.wav")


def test_a_motion_file_plays_at_the_rate_of_the_video(stage, tmp_path):
    save_motion(tmp_path / "waves.safetensors", waves(30, 30.0))
    (outcome,) = stage.run([Item(record("m", motion=tmp_path / "waves.safetensors"), {"speech": SpeechPayload()})])
    motion = outcome.payload.motion()
    assert outcome.facts["seed"] is None
    assert len(motion) == 25
    assert motion.frames_per_second == 25
    np.testing.assert_allclose(motion.pitch[:24, 0], 10 * np.arange(24) / 25, atol=1e-4)  # not smoothed


@pytest.mark.parametrize(("seconds", "n_frames"), [(0.4, 10), (2.0, 50)])
def test_beside_sound_a_motion_is_cut_or_its_last_frame_held(stage, items, tmp_path, seconds, n_frames):
    save_motion(tmp_path / "waves.safetensors", waves(30, 25.0))
    speech = next(item.inputs["speech"] for item in items if item.inputs["speech"].plan.n_frames == n_frames)
    row = record("m", motion=tmp_path / "waves.safetensors", audio="there.wav")
    motion = stage.run([Item(row, {"speech": SpeechPayload(speech.plan)})])[0].payload.motion()
    assert len(motion) == n_frames
    expected = waves(30, 25.0).pitch[np.minimum(np.arange(n_frames), 29), 0]
    np.testing.assert_allclose(motion.pitch[:, 0], expected, atol=1e-5)


def test_a_bad_motion_file_fails_alone(stage, items, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and nothing")
    bad = Item(record("bad", motion=tmp_path / "bad.npz"), {"speech": SpeechPayload()})
    neither = Item(record("neither"), {"speech": SpeechPayload()})
    outcomes = stage.run([items[0], bad, neither])
    assert [(one.kind, one.code) for one in outcomes[1:]] == [
        (FailureKind.BAD_INPUT, "motion_unreadable"),
        (FailureKind.BAD_INPUT, "motion_missing"),
    ]
    payloads(outcomes[:1])
