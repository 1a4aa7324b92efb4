"""Results and activations of X-Pose equal the reference, with and without the published padding of prompts."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from joyvasa.networks import build
from joyvasa.networks.xpose import Prompts
from joyvasa.networks.xpose.text import Text
from tests.golden.reference import Section, fill

RELATIVE = 5e-4
INSTANCE_ROWS, KEYPOINT_ROWS = 350, 68  # number of prompts after the padding of the published code

MODULES = {
    "projection": "projection",
    "projection_kpt": "projection_kpt",
    "patch_embed": "backbone.0.patch_embed",
    **{f"swin_{stage}": f"backbone.0.norm{stage}" for stage in (1, 2, 3)},
    "input_proj0": "input_proj.0",
    "input_proj3": "input_proj.3",
    "fusion0_v": "transformer.encoder.fusion_layers.0",
    "text_layer0": "transformer.encoder.text_layers.0",
    "enc_layer0": "transformer.encoder.layers.0",
    "enc_layer5": "transformer.encoder.layers.5",
    **{f"dec_layer{number}": f"transformer.decoder.layers.{number}" for number in (0, 1, 2, 5)},
}

# Conversion of a module's output to the stored order of dimensions.
STORED_ORDER = {
    "projection": lambda x: x[None],
    "projection_kpt": lambda x: x[None],
    "patch_embed": lambda x: x.permute(0, 3, 1, 2),
    "swin_1": lambda x: x.permute(0, 3, 1, 2),
    "swin_2": lambda x: x.permute(0, 3, 1, 2),
    "swin_3": lambda x: x.permute(0, 3, 1, 2),
    "fusion0_v": lambda x: x[0],
    "text_layer0": lambda x: x.transpose(0, 1),
    **dict.fromkeys(
        ("dec_layer0", "dec_layer1", "dec_layer2", "dec_layer5"), lambda x: x.flatten(1, 2).transpose(0, 1)
    ),
}


def pad_prompts(embeddings, count):
    """Append zero rows up to `count`; return the result and a mask of the original rows."""
    return functional.pad(embeddings, (0, 0, 0, count - len(embeddings))), torch.arange(count) < len(embeddings)


@pytest.fixture(scope="module")
def section():
    return Section("xpose")


@pytest.fixture(scope="module")
def results(section):
    """Return the results with padding and stored choices among equal scores, and without both."""
    network = fill(build("xpose"), "xpose")
    image, instances = section.input("image")[None], section.input("object_embedding")
    keypoints = section.input("kpt_embedding")
    padded_instances, instances_used = pad_prompts(instances, INSTANCE_ROWS)
    padded_keypoints, keypoints_used = pad_prompts(keypoints, KEYPOINT_ROWS)
    padded = Prompts(padded_instances, padded_keypoints, instances_used, keypoints_used)

    activations, scores = {}, []
    choices = iter([section.stored["topk0_index"].reshape(1, -1), section.stored["topk1_index"].reshape(1, -1)])

    def stored_choice(text, x, count):
        scores.append(text.logits(x).amax(-1)[0])
        choice = torch.from_numpy(next(choices)).long()
        assert choice.shape == (1, count)
        return choice

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(Text, "select_best", stored_choice)
        for name, path in MODULES.items():
            record = lambda module, inputs, output, name=name: activations.__setitem__(name, output)  # noqa: E731
            stack.callback(network.get_submodule(path).register_forward_hook(record).remove)
        full = network.predict(image, padded)
    with torch.inference_mode():
        bare = network.predict(image, Prompts(instances, keypoints))
    return SimpleNamespace(padded=full, unpadded=bare, activations=activations, scores=scores)


@pytest.mark.parametrize("name", MODULES)
def test_activations_equal_the_reference(section, results, name):
    section.check(name, STORED_ORDER.get(name, lambda x: x)(results.activations[name]), RELATIVE)


@pytest.mark.parametrize(("number", "count"), [(0, 900), (1, 50)])
def test_the_same_queries_are_selected(section, results, number, count):
    scores = results.scores[number]
    stored = torch.from_numpy(section.stored[f"topk{number}_index"]).flatten().long()
    values = section.stored[f"topk{number}_values"]
    # Scores closer than the tolerance may be swapped; both orders then give the stored values.
    section.check(f"topk{number}_values", scores[stored], RELATIVE)
    section.check(f"topk{number}_values", scores.topk(count).values, RELATIVE)
    assert set(scores.topk(count).indices.tolist()) == set(stored.tolist())
    best = scores.topk(count + 1).values.double()
    gaps = torch.stack([(best[:-1] - best[1:]).min(), best[-2] - best[-1], best[0] - best[-1]])
    section.check(f"topk{number}_gaps", gaps, 0, absolute=RELATIVE * abs(values).max())


def test_the_number_of_cells_matches(section, results):
    section.check("n_tokens", results.activations["enc_layer0"].shape[1], 0)


def test_predictions_equal_the_reference(section, results):
    predictions = results.padded
    section.check("pred_logits_shape", predictions.logits.shape, 0)
    section.check("pred_logits_col0", predictions.logits[..., 0], RELATIVE)
    assert (predictions.logits[..., 1:] == -torch.inf).all()
    section.check("pred_boxes", predictions.boxes, RELATIVE)
    # The stored array ends with the visibility of each keypoint, which is the same for all.
    visibility = torch.ones(1, 50, KEYPOINT_ROWS).sigmoid()
    section.check("pred_keypoints", torch.cat([predictions.keypoints.flatten(2), visibility], dim=2), RELATIVE)


def test_predictions_without_padding_are_the_same(section, results):
    predictions = results.unpadded
    section.check("pred_logits_col0", predictions.logits[..., 0], RELATIVE)
    section.check("pred_boxes", predictions.boxes, RELATIVE)
    stored = torch.from_numpy(section.stored["pred_keypoints"])[..., :18].unflatten(2, (9, 2))
    torch.testing.assert_close(predictions.keypoints, stored, rtol=0, atol=RELATIVE * stored.abs().max().item())
