import numpy as np
import pytest
import torch
from torch.nn import functional

from joyvasa.metrics.support.sound_windows import FRAME_COLUMNS, WINDOW_COLUMNS, SoundWindows, mfcc
from joyvasa.metrics.support.sync_score import ShiftDistances, shift_distances
from joyvasa.metrics.sync import score_face
from joyvasa.networks import build
from joyvasa.networks.metrics.syncnet import SyncNet
from tests.golden import metric_recipe
from tests.golden.metric_reference import (
    check,
    fill,
    meta,
    pattern_video,
    published_keys,
    stored,
)


@pytest.fixture(scope="module")
def network() -> SyncNet:
    return fill(build("syncnet"), "syncnet_net")


def test_weights_are_named_as_published(network):
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == published_keys("syncnet")


@torch.inference_mode()
def test_lips_match(network):
    videos = np.stack([metric_recipe.pattern_video(seed, 5, 224, 224) for seed in (20251, 20252)])
    assert metric_recipe.sha(videos) == meta()["syncnet_net"]["lip_in_sha"]
    frames = torch.from_numpy(videos).permute(0, 4, 1, 2, 3).float()
    check(network.embed_lips(frames)[:, 0], stored("syncnet_net")["lip_out"], 1e-4)
    features = network.netcnnlip(frames).flatten(1)
    check(features, stored("syncnet_net")["lipfeat_out"], 1e-4)


@torch.inference_mode()
def test_sound_matches(network):
    arrays = stored("syncnet_net")
    check(network.embed_sound(torch.from_numpy(arrays["aud_in"])), arrays["aud_out"], 1e-4)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Return BGR frames."""
    return pattern_video(20271, 44, 224, 224, meta()["syncnet_eval"]["frames_sha"])


@torch.inference_mode()
def test_embeddings_of_a_clip_match(network, frames):
    arrays = stored("syncnet_eval")
    count = int(arrays["n_windows"])
    columns = mfcc(arrays["pcm"])
    sound = np.stack([columns[FRAME_COLUMNS * i : FRAME_COLUMNS * i + WINDOW_COLUMNS].T for i in range(count)])
    pixels = torch.from_numpy(frames[: count + 4]).permute(3, 0, 1, 2)[None].float()
    check(network.embed_lips(pixels)[0], arrays["im_feat"], 1e-4)
    check(network.embed_sound(torch.from_numpy(sound[:, None]).float()), arrays["cc_feat"], 1e-4)
    windows = SoundWindows(np.array_split(arrays["pcm"], 7))
    streamed = np.concatenate([windows.next_windows(10) for _ in range(5)])
    np.testing.assert_allclose(streamed, sound, atol=1e-4)


def test_score_of_a_clip_matches(network, frames):
    arrays = stored("syncnet_eval")
    rgb = frames[..., ::-1]
    batches = (rgb[start : start + 16] for start in range(0, len(rgb), 16))
    score = score_face(network, batches, SoundWindows([arrays["pcm"]]), torch.device("cpu"))
    assert score.offset == int(arrays["offset"])
    assert score.confidence == pytest.approx(float(arrays["conf"]), abs=2e-2)
    assert score.distance == pytest.approx(float(arrays["min_dist"]), abs=2e-2)
    assert score.mean_distance == pytest.approx(float(arrays["dists"].mean()), abs=2e-2)


@pytest.mark.parametrize("case", range(7))
@pytest.mark.parametrize("step", [1, 7, 100])
def test_planted_shifts_are_found(case, step):
    arrays = stored("sync_score")
    lips, sound = (torch.from_numpy(arrays[f"c{case}_{name}"]) for name in ("video", "audio"))
    max_shift = int(arrays[f"c{case}_vshift"])
    padded = functional.pad(sound, (0, 0, max_shift, max_shift))
    rows = shift_distances(lips, padded, max_shift).numpy()
    assert np.abs(rows - arrays[f"c{case}_dists"]).max() <= 1e-4
    distances = ShiftDistances(max_shift)
    for start in range(0, len(lips), step):
        distances.add(lips[start : start + step], sound[start : start + step])
    score = distances.score()
    assert score.offset == int(arrays[f"c{case}_offset"]) == meta()["sync_score"]["cases"][case]["offset"]
    assert score.confidence == pytest.approx(float(arrays[f"c{case}_conf"]), abs=1e-4)
    assert score.distance == pytest.approx(float(arrays[f"c{case}_min_dist"]), abs=1e-4)
    assert score.mean_distance == pytest.approx(float(arrays[f"c{case}_mdist"].mean()), abs=1e-4)
