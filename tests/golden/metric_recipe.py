"""Deterministic weights and inputs used by the golden data (own code, torch+numpy only).

Every golden's meta.json entry names the recipe and the seed it used.
"""

import hashlib
import json
import math

import numpy as np
import torch


def load_keys(path):
    """[[key, shape, dtype], ...] -> sorted list without num_batches_tracked."""
    with open(path) as f:
        rows = json.load(f)
    rows = [(k, tuple(s), d) for k, s, d in rows if not k.endswith("num_batches_tracked")]
    return sorted(rows, key=lambda r: r[0])


def seeded_state_dict(rows, seed, gain=1.0, w1_mean=1.0, w1_std=0.1):
    """rows: output of load_keys. Tensor i (index in the name-sorted list, num_batches_tracked
    left out) uses torch.Generator().manual_seed(seed + i) and ONE torch.randn(shape) draw r:
      ndim >= 2            r * gain / sqrt(prod(shape[1:]))
      1-D  *.running_mean  0.05 * r
      1-D  *.running_var   1 + 0.1 * |r|
      1-D  *bias           0.05 * r
      1-D  *weight         w1_mean + w1_std * r      (BN gamma, PReLU slope, L2Norm scale)
    """
    out = {}
    for i, (k, shape, _dt) in enumerate(rows):
        g = torch.Generator().manual_seed(seed + i)
        r = torch.randn(shape, generator=g, dtype=torch.float32)
        if len(shape) >= 2:
            fan = 1
            for d in shape[1:]:
                fan *= d
            t = r * (gain / math.sqrt(fan))
        elif k.endswith("running_mean"):
            t = 0.05 * r
        elif k.endswith("running_var"):
            t = 1.0 + 0.1 * r.abs()
        elif k.endswith("bias"):
            t = 0.05 * r
        else:
            t = w1_mean + w1_std * r
        out[k] = t
    return out


def pattern_video(seed, n_frames, height, width):
    """uint8 (n_frames, height, width, 3): a moving pattern, integer arithmetic only (bit-exact everywhere)."""
    rs = np.random.RandomState(seed)  # legacy MT19937, stream is frozen by numpy
    p = rs.randint(1, 7, size=(3, 6)).astype(np.int64)
    off = rs.randint(0, 510, size=3).astype(np.int64)
    t = np.arange(n_frames, dtype=np.int64)[:, None, None]
    y = np.arange(height, dtype=np.int64)[None, :, None]
    x = np.arange(width, dtype=np.int64)[None, None, :]
    chans = []
    for c in range(3):
        a, b, vx, vy, d, e = p[c]
        xx = x + vx * t
        yy = y + vy * t
        u = a * xx + b * yy + (xx * yy) // (40 * d) + (xx * xx + yy * yy) // (160 * e) + off[c]
        u = np.abs((u % 510) - 255)
        chans.append(np.broadcast_to(u, (n_frames, height, width)))
    return np.stack(chans, -1).astype(np.uint8)


def seeded_randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def sha(a):
    a = np.ascontiguousarray(a)
    return hashlib.sha256(a.tobytes()).hexdigest()[:16]


def stats(a):
    a = np.asarray(a, dtype=np.float64)
    return dict(shape=list(a.shape), mean=float(a.mean()), std=float(a.std()), min=float(a.min()), max=float(a.max()))
