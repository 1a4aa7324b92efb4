"""Q-Align's backbone, at a tiny size, and its scores equal the reference's."""

import numpy as np
import pytest
import torch

from joyvasa.metrics.quality import SecondSampler
from joyvasa.metrics.support.q_align import LEVELS, level_score
from joyvasa.networks import build
from tests.golden import metric_recipe
from tests.golden.metric_reference import check, fill, meta, published_keys, stored


@pytest.fixture(scope="module")
def network():
    sizes = meta()["qalign_tiny"]["config"]
    network = build(
        "mplug_owl2",
        language=sizes["lm"],
        vision=sizes["vision"],
        abstractor={k: v for k, v in sizes["abstractor"].items() if k not in ("encoder_hidden_size", "grid_size")},
    )
    return fill(network, "qalign_tiny", exempt="_pos_embed")


@pytest.fixture(scope="module")
def tokens(network):
    """Return the tokens of two images, and of the three frames of a video."""
    with torch.inference_mode():
        return network.encode_images(metric_recipe.seeded_randn(27740, 2, 3, 28, 28)), network.encode_images(
            metric_recipe.seeded_randn(27741, 3, 3, 28, 28)
        )


def test_position_tables_equal_the_reference(network):
    attention = network.model.visual_abstractor.encoder.layers[0].crossattention.attention
    expected = stored("qalign_tiny")
    check(attention.q_pos_embed, expected["q_pos_embed_8_dim32"], 1e-6)
    check(attention.k_pos_embed, expected["k_pos_embed_grid2_dim32"], 1e-6)


def test_vision_and_abstractor_equal_the_reference(network, tokens):
    with torch.inference_mode():
        features = network.model.vision_model(metric_recipe.seeded_randn(27740, 2, 3, 28, 28))
    check(features, stored("qalign_tiny")["vision_out"], 1e-4)
    check(tokens[0], stored("qalign_tiny")["abstractor_out"], 1e-4)


def test_logits_of_images_and_of_a_video_equal_the_reference(network, tokens):
    ids = meta()["qalign_tiny"]["input_ids"]
    images, video = tokens
    with torch.inference_mode():
        image_logits = network.lm_head(network.encode_text(ids, images))
        video_logits = network.lm_head(network.encode_text(ids, video.flatten(0, 1)[None]))
        following = network(metric_recipe.seeded_randn(27740, 2, 3, 28, 28), ids)
    check(image_logits, stored("qalign_tiny")["image_logits"], 1e-4)
    check(video_logits, stored("qalign_tiny")["video_logits"], 1e-4)
    check(following, stored("qalign_tiny")["image_logits"][:, -1], 1e-4)


def test_weights_are_named_as_published():
    with torch.device("meta"):
        network = build("mplug_owl2")
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == published_keys(
        "qalign_one_align"
    )


def test_scores_equal_the_reference(network, tokens):
    expected = meta()["qalign_tiny"]
    ids, levels = expected["input_ids"], expected["preferential_ids"]
    images, video = tokens
    image_logits = network.lm_head(network.encode_text(ids, images))[:, -1, levels]
    video_logits = network.lm_head(network.encode_text(ids, video.flatten(0, 1)[None]))[:, -1, levels]
    check(level_score(image_logits), np.array(expected["image_score"]), 1e-4)
    check(level_score(video_logits), np.array(expected["video_score"]), 1e-4)


def test_weights_of_levels_equal_the_reference():
    expected = meta()["qalign"]
    logits = torch.tensor(expected["logits"], dtype=torch.float64)
    assert list(LEVELS) == expected["order"]
    check(level_score(logits), np.array(expected["score_0_1"]), 1e-6)
    check(4 * level_score(logits) + 1, np.array(expected["score_1_5"]), 1e-6)
    assert level_score(logits.mean(0)).item() == pytest.approx(expected["iqa_video_score_of_mean_logits"], abs=1e-6)
    assert level_score(logits).mean().item() == pytest.approx(expected["iqa_video_mean_of_scores"], abs=1e-6)


@pytest.mark.parametrize("case", range(7))
def test_sampled_frames_equal_the_reference(case):
    expected = meta()["qalign"]["one_fps_indices"][case]
    seconds = SecondSampler(expected["fps"])
    frames = np.arange(expected["n"])[:, None]
    indices = [
        int(frame[0]) for start in range(0, len(frames), 16) for frame in seconds.select(frames[start : start + 16])
    ]
    indices += [int(frame[0]) for frame in seconds.flush()]
    assert indices == (expected["indices"] or [0])
