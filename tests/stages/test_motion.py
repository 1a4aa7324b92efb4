import dataclasses

import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.media.audio import probe_audio
from joyvasa.motion.driving import LIP_INDICES
from joyvasa.motion.file import save_motion
from joyvasa.motion.sequence import MotionSequence
from manifests.record import Record, derive_seed
from stages.base import FailureKind, Item
from stages.config import StageConfig
from stages.hash_inputs import InputHashes
from stages.motion import MotionConfig, MotionStage
from stages.read_motion import ReadMotionStage
from stages.speech import SpeechPayload, SpeechStage
from tests.media import write_tone
from tests.stages.items import make_record, max_difference, options, payloads, same_bytes, set_up


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Four records of one window, one of them without guidance, and one record of two windows."""
    folder = tmp_path_factory.mktemp("speech")
    lengths = (0.4, 1.0, 2.0, 0.7, 4.3)
    sounds = [write_tone(folder / f"{length}.wav", seconds=length) for length in lengths]
    scales = (None, 1.5, 1.0, None, None)
    records = [
        make_record(str(seed), seed=seed, audio=sound, cfg_scale=scale)
        for seed, (sound, scale) in enumerate(zip(sounds, scales, strict=True))
    ]
    speech = set_up(SpeechStage(StageConfig(animation=options())))
    encoded = payloads(speech.run([Item(record) for record in records]))
    return [Item(record, {"speech": payload}) for record, payload in zip(records, encoded, strict=True)]


@pytest.fixture(scope="module")
def stage():
    return set_up(MotionStage(MotionConfig(animation=options())))


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


def test_motion_equals_that_of_the_animator(stage, items):
    (sampled,) = arrays(stage.run(items[:1]))
    animator, path = Animator(options()), items[0].record.audio
    (expected,) = animator.sample_motions([animator.prepare_recording(path, probe_audio(path), items[0].record.seed)])
    assert max_difference(sampled, {name: getattr(expected, name).numpy() for name in sampled}) < 1e-4


def test_batch_order_and_size_affect_motion_only_by_rounding(stage, items):
    alone = [arrays(stage.run([item]))[0] for item in items]
    batched = arrays(stage.run(items))
    backward = arrays(stage.run(items[::-1]))[::-1]
    for single, forward, reverse in zip(alone, batched, backward, strict=True):
        assert max_difference(single, forward) < 1e-4
        assert max_difference(single, reverse) < 1e-4


def test_strict_motion_is_bit_identical_in_any_batch(items):
    stage = set_up(MotionStage(MotionConfig(animation=options(), determinism="strict", strict_batch=4)))
    alone = [arrays(stage.run([item]))[0] for item in items]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0], [3, 1, 4]):
        batched = arrays(stage.run([items[number] for number in order]))
        assert all(same_bytes(motion, alone[number]) for number, motion in zip(order, batched, strict=True))


def test_seed_and_guidance_of_the_row_affect_motion(stage, items):
    same = dataclasses.replace(items[0].record, id="other name")
    seed = dataclasses.replace(items[0].record, seed=7)
    scale = dataclasses.replace(items[0].record, cfg_scale=0.0)
    variants = [Item(record, items[0].inputs) for record in (items[0].record, same, seed, scale)]
    base, again, seeded, scaled = (arrays(stage.run([item]))[0] for item in variants)
    assert same_bytes(base, again)
    assert max_difference(base, seeded) > 1e-3
    assert max_difference(base, scaled) > 1e-3


def test_motion_that_is_not_finite_fails_only_its_record(stage, items):
    speech = items[1].inputs["speech"]
    broken = Item(items[1].record, {"speech": SpeechPayload(speech.plan, np.full_like(speech.features, np.nan))})
    outcomes = stage.run([items[0], broken, items[3]])
    assert (outcomes[1].kind, outcomes[1].code) == (FailureKind.POISON, "motion_not_finite")
    alone = arrays(stage.run([items[0]]))[0]
    assert max_difference(arrays([outcomes[0]])[0], alone) < 1e-4


def test_out_of_memory_fails_the_whole_batch(stage, items, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stage._models.motion_model, "sample", full)
    assert [outcome.kind for outcome in stage.run(items[:3])] == [FailureKind.OUT_OF_MEMORY] * 3


def test_a_failed_gpu_context_is_raised(stage, items, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(stage._models.motion_model, "sample", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        stage.run(items[:2])


def test_facts_hold_length_and_size(stage, items):
    facts = stage.run([items[4]])[0].facts
    assert facts == {"frames": 108, "seconds": 4.32, "seed": 4, "bytes": 108 * 70 * 4}


def test_a_shared_motion_is_seeded_by_the_content_of_the_recording_or_by_its_row(items):
    stage = set_up(MotionStage(MotionConfig(animation=options("seed=5"), shared=True)))

    def seed_of(name, sha256, given_seed=None):
        record = Record(id=name, audio=f"{name}.wav", given_seed=given_seed, seed=int(name))
        hashes = InputHashes(audio_sha256=sha256)
        (outcome,) = stage.run([Item(record, {**items[0].inputs, "hash_inputs": hashes})])
        assert outcome.facts["seed"] == outcome.payload.seed == int(outcome.payload.provenance["seed"])
        return outcome.facts["seed"]

    assert seed_of("1", "ab") == seed_of("2", "ab") == derive_seed(5, "ab")
    assert seed_of("1", "ab") != seed_of("1", "cd")
    assert seed_of("3", "ab", given_seed=3) == 3
    assert seed_of("1", None) == derive_seed(5, "1.wav")


@pytest.fixture
def driving(tmp_path):
    """Return a function that saves a motion and returns the payload of `read_motion`."""
    reader = set_up(ReadMotionStage(StageConfig(animation=options())))

    def read(motion):
        save_motion(tmp_path / "waves.safetensors", motion)
        return payloads(reader.run([Item(make_record("m", motion=tmp_path / "waves.safetensors"))]))[0]

    return read


def test_a_motion_file_is_resampled_to_the_rate_of_the_video(stage, driving):
    row = make_record("m", motion="waves.safetensors")
    (outcome,) = stage.run([Item(row, {"speech": SpeechPayload(), "read_motion": driving(waves(30, 30.0))})])
    motion = outcome.payload.to_motion()
    assert outcome.facts["seed"] is None
    assert len(motion) == 25
    assert motion.frames_per_second == 25
    np.testing.assert_allclose(motion.pitch[:24, 0], 10 * np.arange(24) / 25, atol=1e-4)  # not smoothed


@pytest.mark.parametrize(("seconds", "n_frames"), [(0.4, 10), (2.0, 50)])
def test_a_motion_file_is_cut_or_extended_to_the_length_of_the_audio(stage, items, driving, seconds, n_frames):
    speech = next(item.inputs["speech"] for item in items if item.inputs["speech"].plan.n_frames == n_frames)
    row = make_record("m", motion="waves.safetensors", audio="a.wav")
    inputs = {"speech": SpeechPayload(speech.plan), "read_motion": driving(waves(30, 25.0))}
    motion = stage.run([Item(row, inputs)])[0].payload.to_motion()
    assert len(motion) == n_frames
    expected = waves(30, 25.0).pitch[np.minimum(np.arange(n_frames), 29), 0]
    np.testing.assert_allclose(motion.pitch[:, 0], expected, atol=1e-5)


def test_lips_follow_the_sound_and_the_head_the_motion(items, driving):
    stage = set_up(MotionStage(MotionConfig(animation=options("driving.mouth_from=sound"))))
    (sampled,) = payloads(stage.run(items[:1]))
    row = dataclasses.replace(items[0].record, motion="waves.safetensors")
    payload = driving(waves(10, 25.0))
    (mixed,) = payloads(stage.run([Item(row, {**items[0].inputs, "read_motion": payload})]))
    lips = np.isin(np.arange(21), LIP_INDICES)
    np.testing.assert_allclose(mixed.arrays["expression"][:, lips], sampled.arrays["expression"][:, lips], atol=1e-6)
    assert (mixed.arrays["expression"][:, ~lips] == payload.arrays["expression"][:, ~lips]).all()
    assert (mixed.arrays["pitch"] == payload.arrays["pitch"]).all()
    assert mixed.provenance["source"] == "sound and motion"
    assert mixed.find_sound(row) == row.audio


def test_a_row_without_sound_and_motion_fails_alone(stage, items):
    neither = Item(make_record("neither"), {"speech": SpeechPayload()})
    first, failed = stage.run([items[0], neither])
    assert (failed.kind, failed.code) == (FailureKind.BAD_INPUT, "motion_missing")
    payloads([first])
