"""Pretraining of the sound encoder."""

import numpy as np
import pytest
import torch

from joyvasa.sample.networks.points import INNER_LOWER_LIP, LIPS
from joyvasa.sample.networks.sound_encoder import CompactSoundEncoderConfig
from joyvasa.sample.training.sounds_task import BATCH, FRAMES, JAW, SoundsTask
from joyvasa.sample.training.training_loop import LearningConfig, train_task
from manifests.storage import open_storage
from tests.joyvasa.training.small import small_clip, small_dataset

SIZES = CompactSoundEncoderConfig(hidden_size=16, mel_bands=20, dilations=(1, 2))


def test_windows_align_sound_and_lips(tmp_path):
    small_dataset(tmp_path, train=2, validation=1, n_frames=130)
    clips = [small_clip(number, n_frames=130) for number in range(2)]
    sound, lips = next(iter(SoundsTask.draw_batches(open_storage(tmp_path), seed=0)))
    assert sound.shape == (BATCH, FRAMES * 640)
    assert lips.shape == (BATCH, FRAMES, 3 * len(LIPS))
    waveforms = [clip.sound.astype(np.float32) / 32768 for clip in clips]
    for window, moved in zip(sound[:4], lips[:4], strict=True):
        clip, start = next(
            (clip, start)
            for clip, wave in zip(clips, waveforms, strict=True)
            for start in range(31)
            if np.array_equal(wave[start * 640 : (start + FRAMES) * 640], window)
        )
        expected = clip.motion.expression[start : start + FRAMES, INNER_LOWER_LIP, 1].numpy()
        assert np.corrcoef(expected, moved[:, JAW])[0, 1] > 0.999


@pytest.mark.slow
def test_training_resumes_and_the_loss_falls(tmp_path):
    small_dataset(tmp_path / "data", train=2, validation=1, n_frames=130)
    losses = []

    def train(steps):
        torch.manual_seed(0)
        task = SoundsTask(open_storage(tmp_path / "data"), SIZES)
        config = LearningConfig(steps=steps, threads=1, warm_up_steps=5)
        train_task(task, config, tmp_path, lambda step, figures: losses.append((step, figures["loss"])))

    train(20)
    train(60)
    assert [step for step, _ in losses] == [20, 40, 60]
    assert losses[-1][1] < losses[0][1]
