"""X-Pose gives the reference's numbers, inside and at the end, with the published padding of prompts and without."""

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
INSTANCE_ROWS, KEYPOINT_ROWS = 350, 68  # to which the published code fills prompts up

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

# What a module gives here -> the order of dimensions that is stored.
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


def filled_up(embeddings, count):
    """Zero rows up to `count`, and which rows are none."""
    return functional.pad(embeddings, (0, 0, 0, count - len(embeddings))), torch.arange(count) < len(embeddings)


@pytest.fixture(scope="module")
def section():
    return Section("xpose")


@pytest.fixture(scope="module")
def results(section):
    """One call with the padding, whose choices among equal scores are the stored ones, and one without either."""
    network = fill(build("xpose"), "xpose")
    image, instances = section.input("image")[None], section.input("object_embedding")
    keypoints = section.input("kpt_embedding")
    padded_instances, instances_used = filled_up(instances, INSTANCE_ROWS)
    padded_keypoints, keypoints_used = filled_up(keypoints, KEYPOINT_ROWS)
    padded = Prompts(padded_instances, padded_keypoints, instances_used, keypoints_used)

    seen, scores = {}, []
    chosen = iter([section.stored["topk0_index"].reshape(1, -1), section.stored["topk1_index"].reshape(1, -1)])

    def stored_choice(text, x, count):
        scores.append(text.logits(x).amax(-1)[0])
        choice = torch.from_numpy(next(chosen)).long()
        assert choice.shape == (1, count)
        return choice

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(Text, "select_best", stored_choice)
        for name, path in MODULES.items():
            note = lambda module, inputs, output, name=name: seen.__setitem__(name, output)  # noqa: E731
            stack.callback(network.get_submodule(path).register_forward_hook(note).remove)
        full = network.predict(image, padded)
    with torch.inference_mode():
        bare = network.predict(image, Prompts(instances, keypoints))
    return SimpleNamespace(full=full, bare=bare, seen=seen, scores=scores)


@pytest.mark.parametrize("name", MODULES)
def test_stages_give_the_reference_numbers(section, results, name):
    section.check(name, STORED_ORDER.get(name, lambda x: x)(results.seen[name]), RELATIVE)


@pytest.mark.parametrize(("number", "count"), [(0, 900), (1, 50)])
def test_the_same_queries_are_chosen(section, results, number, count):
    scores = results.scores[number]
    stored = torch.from_numpy(section.stored[f"topk{number}_index"]).flatten().long()
    values = section.stored[f"topk{number}_values"]
    # Scores closer than the tolerance may change places: then both orders give the stored values.
    section.check(f"topk{number}_values", scores[stored], RELATIVE)
    section.check(f"topk{number}_values", scores.topk(count).values, RELATIVE)
    assert set(scores.topk(count).indices.tolist()) == set(stored.tolist())
    best = scores.topk(count + 1).values.double()
    gaps = torch.stack([(best[:-1] - best[1:]).min(), best[-2] - best[-1], best[0] - best[-1]])
    section.check(f"topk{number}_gaps", gaps, 0, absolute=RELATIVE * abs(values).max())


def test_every_cell_is_a_token(section, results):
    section.check("n_tokens", results.seen["enc_layer0"].shape[1], 0)


def test_predictions_are_the_reference_ones(section, results):
    found = results.full
    section.check("pred_logits_shape", found.logits.shape, 0)
    section.check("pred_logits_col0", found.logits[..., 0], RELATIVE)
    assert (found.logits[..., 1:] == -torch.inf).all()
    section.check("pred_boxes", found.boxes, RELATIVE)
    # The stored array ends with the visibility of each keypoint, which is the same for all.
    visibility = torch.ones(1, 50, KEYPOINT_ROWS).sigmoid()
    section.check("pred_keypoints", torch.cat([found.keypoints.flatten(2), visibility], dim=2), RELATIVE)


def test_predictions_without_padding_are_the_same(section, results):
    found = results.bare
    section.check("pred_logits_col0", found.logits[..., 0], RELATIVE)
    section.check("pred_boxes", found.boxes, RELATIVE)
    stored = torch.from_numpy(section.stored["pred_keypoints"])[..., :18].unflatten(2, (9, 2))
    torch.testing.assert_close(found.keypoints, stored, rtol=0, atol=RELATIVE * stored.abs().max().item())
