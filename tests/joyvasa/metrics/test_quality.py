import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from joyvasa.bundles import open_bundle
from joyvasa.errors import EnvironmentFault, ModelError
from joyvasa.metrics.quality import QualityMetric, SecondSampler, _QualityMeasurement
from joyvasa.metrics.support import one_align
from joyvasa.metrics.support.q_align import (
    BORDER,
    DEVIATION,
    LEVELS,
    MEAN,
    PROMPT,
    QAlign,
    Question,
    level_score,
    preprocess_frame,
)
from joyvasa.networks import build
from joyvasa.networks.metrics.mplug_owl2 import IMAGE_TOKEN
from tests.joyvasa.metrics.seeded import feed, make_silent_clip, metric_models, read_frames
from tests.media import MEDIA

LANGUAGE = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 150,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
ABSTRACTOR = {
    "num_learnable_queries": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
START = 1


def tokenize_letters(text):
    """Tokenize text letter by letter, after the begin-of-sequence token."""
    return [START, *text.encode()]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return build("mplug_owl2", language=LANGUAGE, vision=VISION, abstractor=ABSTRACTOR, rms_norm_eps=1e-5)


@pytest.fixture
def published(model):
    """Write small versions of the published files: two files of tensors and the configuration."""
    bundle = open_bundle("metrics")
    paths = [bundle.published_path(bundle.spec.roles[role]) for role in one_align.ROLES]
    paths[0].parent.mkdir(parents=True)
    state = model.state_dict()
    names = sorted(state)
    for path, part in zip(paths, (names[:40], names[40:]), strict=True):
        save_file({name: state[name].clone() for name in part}, path)
    content = {**LANGUAGE, "rms_norm_eps": 1e-5, "model_type": "mplug_owl2"}
    content["visual_config"] = {"visual_model": VISION, "visual_abstractor": {**ABSTRACTOR, "grid_size": 4}}
    (paths[0].parent / "config.json").write_text(json.dumps(content))
    return bundle, paths


def load(bundle, dtype=torch.float32):
    return one_align.load_one_align(bundle, torch.device("cpu"), dtype)


def test_the_published_files_are_loaded(published, model):
    loaded = load(published[0])
    assert loaded.config == model.config
    frames = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3), np.uint8)
    judges = QAlign(loaded, tokenize_letters), QAlign(model, tokenize_letters)
    ours, theirs = (judge.image_logits(judge.encode_frames(list(frames))) for judge in judges)
    assert torch.equal(ours, theirs)
    assert {p.dtype for p in load(published[0], torch.float16).parameters()} == {torch.float16}


@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_file_is_named(published, number):
    bundle, paths = published
    paths[number].unlink()
    with pytest.raises(ModelError, match=f"models_missing.*{paths[number].name}"):
        load(bundle)


def test_a_missing_configuration_is_reported(published):
    bundle, paths = published
    (paths[0].parent / "config.json").unlink()
    with pytest.raises(ModelError, match=r"models_missing.*config\.json"):
        load(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": torch.zeros(1)}, "extra"),
        ({"lm_head.weight": torch.zeros(3, 3)}, r"lm_head\.weight has \(3, 3\)"),
        ({"lm_head.weight": None}, r"1 key missing \(lm_head\.weight\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(published, model, change, message):
    bundle, paths = published
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = {name: state[name] for name in sorted(state)[:40]} | change
    save_file({name: tensor for name, tensor in first.items() if tensor is not None}, paths[0])
    with pytest.raises(ModelError, match=f"weights_mismatch.*{message}"):
        load(bundle)


def test_a_truncated_file_is_rejected(published):
    bundle, paths = published
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    with pytest.raises(ModelError, match="weights_damaged"):
        load(bundle)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "[" * 100_000,
        json.dumps({"num_hidden_layers": 10**9}),
        json.dumps({"hidden_size": "4096"}),
        json.dumps({"rms_norm_eps": 5.0}),
        json.dumps({"visual_config": {"visual_model": {"hidden_size": 1021}}}),
    ],
)
def test_an_invalid_configuration_is_rejected(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"weights_damaged: .*config\.json"):
        one_align.read_model_config(path)


def test_missing_entries_have_the_published_values(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"rms_norm_eps": 1e-5}')
    config = one_align.read_model_config(path)
    assert config.rms_norm_eps == 1e-5
    assert (config.language.hidden_size, config.vision.image_size, config.abstractor.num_hidden_layers) == (
        4096,
        448,
        6,
    )


def test_a_gpu_is_required(published):
    with pytest.raises(EnvironmentFault, match=r"quality_needs_gpu: .*minutes per frame"):
        QualityMetric().setup(metric_models(published[0]))


def test_a_missing_sentencepiece_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(EnvironmentFault, match=r"install joyvasa\[quality\]"):
        one_align.read_tokenizer(tmp_path / "tokenizer.model")


def test_prompts_are_the_published_ones():
    assert PROMPT.format("image", "image") == (
        "USER: How would you rate the quality of this image?\n<|image|>\nASSISTANT: The quality of the image is"
    )


@pytest.mark.parametrize("subject", ["image", "video"])
def test_a_question_has_one_start_token_and_one_image_token(subject):
    ids = Question.about(subject, tokenize_letters).token_ids
    assert ids[0] == START
    assert ids.count(START) == ids.count(IMAGE_TOKEN) == 1
    text = "".join("<|image|>" if token == IMAGE_TOKEN else chr(token) for token in ids[1:])
    assert text == PROMPT.format(subject, subject)


def test_levels_with_equal_tokens_are_rejected(model):
    with pytest.raises(ModelError, match="weights_mismatch: Q-Align"):
        QAlign(model, lambda text: [START, 7])


def test_scores_range_from_bad_to_excellent():
    sure = 50 * torch.eye(len(LEVELS))
    assert level_score(sure).tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert level_score(torch.zeros(5)).item() == pytest.approx(0.5)


def test_pictures_are_padded_to_squares():
    frame = np.full((10, 30, 3), 255, np.uint8)
    pixels = preprocess_frame(frame, 30)
    levels = pixels * np.array(DEVIATION)[:, None, None] + np.array(MEAN)[:, None, None]
    assert levels[:, 15] == pytest.approx(np.ones((3, 30)), abs=1e-6)
    assert levels[:, 0] * 255 == pytest.approx(np.repeat(np.array(BORDER, float)[:, None], 30, 1), abs=1e-4)


def test_each_frame_of_a_slow_video_is_selected_once():
    seconds = SecondSampler(1e-9)
    frames = np.arange(5)[:, None]
    assert [int(frame[0]) for frame in [*seconds.select(frames), *seconds.flush()]] == [0, 1, 2, 3, 4]


class Counting:
    """Model that reads the index of a frame from its first pixel and records its calls."""

    max_video_frames = 4

    def __init__(self):
        self.batches, self.video = [], []

    def encode_frames(self, frames):
        self.batches.append(len(frames))
        return torch.tensor([[[float(frame[0, 0, 0])]] for frame in frames])

    def image_logits(self, tokens):
        return torch.nn.functional.one_hot(torch.zeros(len(tokens), dtype=torch.long), 5) * tokens[:, 0]

    def video_logits(self, tokens):
        self.video = tokens.flatten().int().tolist()
        return torch.zeros(5)


@pytest.mark.parametrize(
    ("n_frames", "expected"), [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (5, [0, 2, 4]), (9, [0, 4, 8]), (16, [0, 4, 8, 12])]
)
def test_long_videos_are_subsampled_evenly(n_frames, expected):
    judge = Counting()
    frames = np.broadcast_to(np.arange(n_frames, dtype=np.uint8)[:, None, None, None], (n_frames, 4, 4, 3))
    values = feed(_QualityMeasurement(judge, 1.0, batch_frames=3), frames, 5).finish()
    assert judge.video == expected
    assert sum(judge.batches) == n_frames
    assert max(judge.batches) <= 3
    assert values["iqa"] == pytest.approx(level_score(torch.tensor([frames[:, 0, 0, 0].mean(), 0, 0, 0, 0])).item())


def test_a_video_without_a_frame_has_no_number():
    values = _QualityMeasurement(Counting(), 25.0, batch_frames=3).finish()
    assert {value.code for value in values.values()} == {"too_short"}


def test_streaming_equals_the_whole_clip(model):
    judge = QAlign(model, tokenize_letters)
    metric = QualityMetric()
    metric._model = judge
    frames, rate = read_frames(MEDIA / "videos/d6.mp4", 130, 96)
    tokens = torch.cat([judge.encode_frames([frames[int(rate * second)]]) for second in range(int(len(frames) / rate))])
    assert 1 < len(tokens) <= judge.max_video_frames
    expected = {
        "iqa": level_score(judge.image_logits(tokens).mean(0)).item(),
        "vqa": level_score(judge.video_logits(tokens)).item(),
    }
    values = feed(metric.start(make_silent_clip(frames, rate)), frames, 16).finish()
    assert values == pytest.approx(expected, abs=1e-5)
    assert abs(values["iqa"] - values["vqa"]) > 1e-4
