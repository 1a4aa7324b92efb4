"""Deterministic weights and inputs for the golden reference data.

Stand-alone: needs only torch (and numpy for the synthetic images).  Nothing in
this file comes from the reference implementation.

Weights
-------
``fill_state_dict(sd, net, base_seed)`` takes the *constructor's* state dict of a
network (so fixed buffers are already in it) and returns a new ordered dict.
Tensor number i, where i is the index of its key in ``sorted(sd.keys())`` (plain
byte-wise string sort over ALL keys, buffers included), is drawn from
``torch.Generator().manual_seed(base_seed + NET_OFFSET[net] + i)`` with
``torch.randn(shape, generator=g, dtype=float32)`` and then transformed by the
first rule that applies (r is the raw normal draw):

 K  constructor value kept (no draw): every non-floating tensor and every key
    matching KEEP (sinusoidal tables ``pe``, diffusion schedule, alignment mask,
    relative_position_index, num_batches_tracked)
 U  ``*weight_u``            r / ||r||
 V  ``*weight_v``            v = W^T u / ||W^T u||, W = weight_orig reshaped to
                             (shape[0], -1), u = weight_u.  So in eval mode
                             sigma = u.(W v) = ||W^T u||.  (r unused)
 O  per-network override     first matching regex of OVERRIDES[net]:
                             shift + scale * r
 M  ``running_mean``         0.05 * r
 S  ``running_var``          1 + 0.1 * |r|
 G  weight-norm magnitude    key ends in ``weight_g`` or ``original0``:
                             2.5 * (1 + 0.1 * r)
 E  last key component starts with ``gamma``: 0.5 + 0.1 * r ;
                             is ``beta``:     0.05 * r
 W  ndim >= 2                GAIN[net] * r / sqrt(prod(shape[1:]))
 N  1-D ``*weight``          1 + 0.1 * r
 B  anything else (1-D)      0.05 * r

Where several keys are the same tensor in the constructor (X-Pose shares its
heads), ``keys/xpose.json`` lists alias groups; all keys of a group take the
value of the alphabetically first one (pass the groups as ``aliases``).

Inputs
------
``make_input(spec)`` builds one tensor from a JSON spec of inputs/*.json:
``value = shift + scale * dist(shape)`` with dist = randn or rand from
``Generator().manual_seed(seed)``, then optional clamp [lo, hi].
``synth_image(h, w, seed)`` builds a smooth uint8 RGB image from a closed formula.
``synth_wave(n, sr, seed)`` builds a speech-band waveform in [-1, 1].
"""

import math
import re
from collections import OrderedDict

import numpy as np
import torch

NET_OFFSET = {
    "appearance_feature_extractor": 10_000,
    "motion_extractor": 20_000,
    "warping_module": 30_000,
    "spade_generator": 40_000,
    "stitching": 50_000,
    "lip": 51_000,
    "eye": 52_000,
    "motion_generator": 60_000,  # published layout (73 / 10)
    "motion_generator_train": 70_000,  # train.py defaults (70 / 25)
    "wav2vec2": 80_000,
    "xpose": 90_000,
}

GAIN = {
    "appearance_feature_extractor": 1.1,
    "motion_extractor": 1.0,
    "warping_module": 1.8,
    "spade_generator": 1.0,
    "stitching": 1.4,
    "lip": 1.4,
    "eye": 1.4,
    "motion_generator": 1.0,
    "motion_generator_train": 1.0,
    "wav2vec2": 1.0,
    "xpose": 1.0,
}

KEEP = re.compile(
    r"(^|\.)pe$|(^|\.)alignment_mask$|(^|\.)diffusion_sched\.|relative_position_index$|num_batches_tracked$"
)

# q/k gain up, attention output down: keeps frames distinguishable through 12 random layers
_SPEECH = [
    (r"feature_extractor\.conv_layers\.\d+\.conv\.weight$", "fan", 1.6),
    (r"attention\.(q|k)_proj\.weight$", "fan", 2.0),
    (r"attention\.out_proj\.weight$", "fan", 0.3),
]
_DIT = [
    *_SPEECH,
    (r"(start_motion_feat|start_audio_feat|null_audio_feat)$", 1.0, 0.0),
    (r"self_attn\.in_proj_weight$", "fan", 2.0),
    (r"self_attn\.out_proj\.weight$", "fan", 0.2),
    (r"multihead_attn\.out_proj\.weight$", "fan", 0.4),
    (r"denoising_net\.transformer\.layers\.\d+\.linear2\.weight$", "fan", 0.7),
]

# (regex, scale, shift); scale "fan" means gain/sqrt(fan_in) with the gain in the third place
OVERRIDES = {
    "motion_extractor": [
        (r"fc_scale\.bias$", 0.05, 1.6),
        (r"fc_scale\.weight$", "fan", 0.2),
        (r"fc_(pitch|yaw|roll)\.weight$", "fan", 1.5),
        (r"fc_(kp|exp|t)\.weight$", "fan", 0.3),
    ],
    "warping_module": [
        (r"dense_motion_network\.mask\.weight$", "fan", 4.0),
        (r"dense_motion_network\.occlusion\.weight$", "fan", 3.0),
    ],
    "spade_generator": [
        (r"conv_img\.0\.weight$", "fan", 1.0),
        (r"mlp_(gamma|beta)\.weight$", "fan", 0.7),
    ],
    "stitching": [(r"mlp\.6\.weight$", "fan", 0.1), (r"mlp\.6\.bias$", 0.01, 0.0)],
    "lip": [(r"mlp\.6\.weight$", "fan", 0.1), (r"mlp\.6\.bias$", 0.01, 0.0)],
    "eye": [(r"mlp\.10\.weight$", "fan", 0.1), (r"mlp\.10\.bias$", 0.01, 0.0)],
    "motion_generator": _DIT,
    "motion_generator_train": _DIT,
    "wav2vec2": _SPEECH,
    "xpose": [
        (r"(label_enc|tgt_embed|hw|hw_append|padding)\.weight$", 1.0, 0.0),
        (r"level_embed$", 1.0, 0.0),
        (r"relative_position_bias_table$", 0.5, 0.0),
        (r"(bbox_embed|pose_embed|pose_hw_embed)(\.\d+)?\.layers\.2\.weight$", "fan", 0.5),
        (r"sampling_offsets\.weight$", "fan", 1.0),
    ],
}


def _draw(shape, seed):
    g = torch.Generator().manual_seed(int(seed))
    return torch.randn(tuple(shape), generator=g, dtype=torch.float32)


def fill_tensor(key, ref, seed, net):
    """Value for one key, or None when the constructor's value stays / V rule applies."""
    if not torch.is_floating_point(ref) or KEEP.search(key):
        return None
    if key.endswith("weight_v"):
        return None
    r = _draw(ref.shape, seed)
    fan = math.sqrt(max(1, math.prod(ref.shape[1:]))) if ref.ndim >= 2 else 1.0
    if key.endswith("weight_u"):
        return r / r.norm()
    for pattern, scale, shift in OVERRIDES.get(net, ()):
        if re.search(pattern, key):
            return shift * r / fan if scale == "fan" else shift + scale * r
    last = key.rsplit(".", 1)[-1]
    if last == "running_mean":
        return 0.05 * r
    if last == "running_var":
        return 1.0 + 0.1 * r.abs()
    if last in ("weight_g", "original0"):
        return 2.5 * (1.0 + 0.1 * r)
    if last.startswith("gamma"):
        return 0.5 + 0.1 * r
    if last == "beta":
        return 0.05 * r
    if ref.ndim >= 2:
        return GAIN[net] * r / fan
    if last.endswith("weight"):
        return 1.0 + 0.1 * r
    return 0.05 * r


def fill_state_dict(sd, net, base_seed, aliases=None):
    out = OrderedDict()
    canonical = {}
    for group in aliases or []:
        first = sorted(group)[0]
        for k in group:
            canonical[k] = first
    order = sorted(sd.keys())
    index = {k: i for i, k in enumerate(order)}
    seed0 = int(base_seed) + NET_OFFSET[net]
    for key in sd.keys():
        src = canonical.get(key, key)
        val = fill_tensor(src, sd[src], seed0 + index[src], net)
        out[key] = sd[key].detach().clone() if val is None else val
    for key in list(out.keys()):  # spectral norm: v from W and u
        if key.endswith("weight_u"):
            stem = key[: -len("weight_u")]
            w = out[stem + "weight_orig"].reshape(out[stem + "weight_orig"].shape[0], -1)
            v = w.t() @ out[key]
            out[stem + "weight_v"] = v / v.norm()
    return out


def make_input(spec):
    g = torch.Generator().manual_seed(int(spec["seed"]))
    fn = {"randn": torch.randn, "rand": torch.rand}[spec["dist"]]
    x = fn(tuple(spec["shape"]), generator=g, dtype=torch.float32)
    x = x * spec.get("scale", 1.0) + spec.get("shift", 0.0)
    if spec.get("clamp"):
        x = x.clamp(spec["clamp"][0], spec["clamp"][1])
    return x


def _uniform(n, seed):
    return torch.rand(n, generator=torch.Generator().manual_seed(int(seed)), dtype=torch.float64).numpy()


def synth_image(h, w, seed):
    """Smooth uint8 image (h, w, 3); 3 plane waves per channel, frequencies/phases seeded."""
    u = _uniform(3 * 3 * 4, seed).reshape(3, 3, 4)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    img = np.zeros((h, w, 3), np.float64)
    for c in range(3):
        for k in range(3):
            fx, fy, ph, am = u[c, k]
            img[..., c] += (20 + 20 * am) * np.sin(2 * np.pi * ((1 + 4 * fx) * x / w + (1 + 4 * fy) * y / h + ph))
    return np.clip(np.rint(127.5 + img), 0, 255).astype(np.uint8)


def synth_wave(n, sr, seed):
    """float32 waveform: 8 sinusoids of 90-3500 Hz under slow envelopes, |x| <= 0.5."""
    u = _uniform(8 * 4, seed).reshape(8, 4)
    t = np.arange(n, dtype=np.float64) / sr
    x = np.zeros(n, np.float64)
    for f, p, e, q in u:
        freq = 90.0 * (3500.0 / 90.0) ** f
        x += np.sin(2 * np.pi * (freq * t + p)) * (0.5 + 0.5 * np.sin(2 * np.pi * ((0.5 + 4 * e) * t + q)))
    return (0.5 * x / 8.0).astype(np.float32)
