"""Damaged and unusual motion files: they are read rightly or refused with one sentence."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from joyvasa.errors import JoyvasaError
from joyvasa.motion.file import TENSORS, load_motion, serialize_motion
from joyvasa.motion.liveportrait import serialize_template
from tests.faults.fuzz.fuzzing import ODD_VALUES, call, fuzz, mutated, mutated_tree
from tests.motions import motion_to_arrays, neutral_arrays, random_motion

pytestmark = pytest.mark.slow
DTYPES = [
    "<f8",
    ">f8",
    "<f4",
    ">f4",
    "<f2",
    "<i8",
    ">i2",
    "u1",
    "<u2",
    "<u4",
    "<u8",
    "?",
    "<c8",
    "S3",
    "<U2",
    "O",
    "M8[s]",
    "g",
]
SHAPES = [
    (),
    (0,),
    (1,),
    (5,),
    (5, 1),
    (1, 5),
    (5, 3),
    (5, 63),
    (5, 21, 3),
    (5, 3, 3),
    (5, 9),
    (5, 0),
    (5, 21, 3, 1),
    (6, 3),
]
NUMBERS = [0.0, -1.0, 1e39, -1e308, np.nan, np.inf, 1e-320, 25.0, 2.0**63]


def npz(arrays, **options):
    file = io.BytesIO()
    (np.savez_compressed if options.get("compressed") else np.savez)(file, **arrays)
    return file.getvalue()


def safetensors(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


JOYVASA = serialize_motion(random_motion(5), {"bundle": "sample"})
LENGTH = int.from_bytes(JOYVASA[:8], "little")
HEADER, DATA = json.loads(JOYVASA[8 : 8 + LENGTH]), JOYVASA[8 + LENGTH :]
NPZ = [npz(neutral_arrays()), npz(motion_to_arrays(random_motion(4))), npz(neutral_arrays(), compressed=True)]


def check(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.bin")
        path.write_bytes(content)
        result = call(lambda: load_motion(path))
        if isinstance(result, JoyvasaError):
            return
        motion = result.motion
        sizes = {"expression": motion.expression.shape[1] * 3, "translation": 3}
        for name in TENSORS:
            tensor = getattr(motion, name)
            assert tensor.dtype == torch.float32
            assert tensor.numel() == len(motion) * sizes.get(name, 1)
            assert tensor.isfinite().all(), name
        assert 0 < motion.frames_per_second <= 1000
        path.write_bytes(serialize_motion(motion, result.provenance))
        again = load_motion(path)
        assert again.motion.pose.equal(motion.pose)
        assert again.provenance == result.provenance


@fuzz(150)
@given(mutated(JOYVASA, NPZ))
def test_damaged_motion_files(content):
    check(content)


@fuzz(150)
@given(st.sampled_from(NPZ).flatmap(mutated))
def test_damaged_archives(content):
    check(content)


@fuzz(150)
@given(mutated(serialize_template(random_motion(3))))
def test_damaged_templates(content):
    check(content)


@fuzz(150)
@given(
    mutated_tree(
        HEADER, [*ODD_VALUES, "F16", "BF16", "I64", "BOOL", "F8_E4M3", "U64", [0, 4], [5, 63], [2**62, 4], HEADER]
    )
)
def test_headers_of_any_content(header):
    check(safetensors(header, DATA))


@fuzz(60)
@given(
    st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"{}", b"null", b"[]", b'{"__metadata__":null}', b'{"\xff":1}'])
)
def test_headers_that_are_no_header(header):
    check(safetensors(header, DATA))


@fuzz(300)
@given(
    st.dictionaries(
        st.sampled_from(["exp", "scale", "t", "R", "pitch", "yaw", "roll", "fps"]),
        st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from(NUMBERS), st.booleans()),
        max_size=4,
    ),
    st.sampled_from([neutral_arrays(), motion_to_arrays(random_motion(5))]),
    st.booleans(),
)
def test_arrays_of_any_type_and_shape(changes, arrays, compressed):
    arrays = dict(arrays)
    for name, (dtype, shape, number, by_column) in changes.items():
        with np.errstate(all="ignore"):
            if np.dtype(dtype).kind in "fiub":
                array = np.full(shape, number).astype(dtype)
            else:
                array = np.zeros(shape, dtype)
        arrays[name] = np.asfortranarray(array) if by_column else array
    check(npz(arrays, compressed=compressed))
