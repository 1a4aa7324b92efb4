import io
import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from joyvasa.errors import InputError, OutputError
from joyvasa.motion import file as motion_file
from joyvasa.motion.file import convert_motion, load_motion, save_motion, serialize_motion
from tests.media import MEDIA
from tests.motions import assert_equal_motions, neutral_arrays, random_motion

MOTIONS = sorted((MEDIA / "motion").glob("*.npz"))


@pytest.mark.parametrize("keypoints", [1, 21, 68])
@pytest.mark.parametrize("rate", [25.0, 29.97, 30.0])
@pytest.mark.parametrize("n_frames", [1, 7])
def test_a_saved_motion_is_restored(tmp_path, keypoints, rate, n_frames):
    motion, provenance = random_motion(n_frames, keypoints, rate), {"seed": "3", "bundle": "random", "source": "Ä"}
    save_motion(tmp_path / "m.safetensors", motion, provenance)
    loaded = load_motion(tmp_path / "m.safetensors")
    assert_equal_motions(loaded.motion, motion)
    assert loaded.provenance == provenance


def test_equal_motions_give_equal_files(tmp_path):
    assert serialize_motion(random_motion(), {"a": "1", "b": "2"}) == serialize_motion(
        random_motion(), {"a": "1", "b": "2"}
    )


def test_motion_files_are_readable_by_safetensors(tmp_path):
    motion = random_motion()
    save_motion(tmp_path / "m.safetensors", motion, {"seed": "3"})
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        assert file.metadata()["seed"] == "3"
        assert all(file.get_tensor(name).equal(getattr(motion, name)) for name in file.keys())
        assert set(file.keys()) == set(motion_file.TENSORS)


def test_provenance_cannot_override_reserved_metadata(tmp_path):
    save_motion(tmp_path / "m.safetensors", random_motion(), {"format_version": "9", "frames_per_second": "1"})
    assert load_motion(tmp_path / "m.safetensors").motion.frames_per_second == 25


def test_files_are_written_atomically(tmp_path):
    save_motion(tmp_path / "m.safetensors", random_motion(seed=1))
    save_motion(tmp_path / "m.safetensors", random_motion(seed=2))
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    with pytest.raises(OutputError, match="output_unwritable"):
        save_motion(tmp_path / "absent" / "m.safetensors", random_motion())


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_of_liveportrait_is_converted(tmp_path, compress):
    (np.savez_compressed if compress else np.savez)(tmp_path / "wave.npz", **neutral_arrays(), lip_ratio=np.zeros(5))
    converted = convert_motion(tmp_path / "wave.npz", tmp_path / "wave.safetensors")
    loaded = load_motion(tmp_path / "wave.safetensors")
    assert_equal_motions(loaded.motion, converted.motion)
    assert loaded.provenance == {"source": "wave.npz"}
    assert_equal_motions(load_motion(tmp_path / "wave.npz").motion, loaded.motion)


@pytest.mark.parametrize("path", MOTIONS, ids=lambda path: path.stem)
def test_real_motion_is_converted_without_loss(tmp_path, path):
    convert_motion(path, tmp_path / "m.safetensors")
    motion = load_motion(tmp_path / "m.safetensors").motion
    with np.load(path) as original:
        assert motion.frames_per_second == original["fps"]
        np.testing.assert_array_equal(motion.expression, original["exp"])
        np.testing.assert_array_equal(motion.scale[:, 0], original["scale"])
        np.testing.assert_array_equal(motion.translation, original["t"])
        np.testing.assert_allclose(motion.rotation, original["R"], rtol=0, atol=2e-6)


def npy(header: bytes, data: bytes = b"") -> bytes:
    padded = header.ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            if isinstance(content, np.ndarray):
                buffer = io.BytesIO()
                np.save(buffer, content, allow_pickle=True)
                content = buffer.getvalue()
            file.writestr(f"{name}.npy", content)
    return path


class MaliciousObject:
    """Object that runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_pickled_objects_are_rejected(tmp_path):
    pickled = np.array([MaliciousObject()], dtype=object)
    with pytest.raises(InputError, match="motion_unreadable"):
        load_motion(archive(tmp_path / "m.npz", **{**neutral_arrays(), "fps": pickled}))


def test_a_header_that_exceeds_the_file_is_rejected(tmp_path):
    claim = npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 21, 3), }")
    with pytest.raises(InputError, match="motion_unreadable"):
        load_motion(archive(tmp_path / "m.npz", **{**neutral_arrays(), "exp": claim}))


def test_archives_that_unpack_to_too_much_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(motion_file, "MAX_BYTES", 100_000)
    large = archive(tmp_path / "m.npz", **{**neutral_arrays(), "exp": np.zeros((5, 21 * 100, 3), np.float32)})
    assert large.stat().st_size < 100_000
    with pytest.raises(InputError, match="motion_too_large"):
        load_motion(large)


def test_large_files_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(motion_file, "MAX_BYTES", 1000)
    save_motion(tmp_path / "m.safetensors", random_motion())
    with pytest.raises(InputError, match="motion_too_large"):
        load_motion(tmp_path / "m.safetensors")


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 8, 100, 500, 2000])
def test_truncated_files_are_rejected(tmp_path, n_bytes):
    np.savez(tmp_path / "whole.npz", **neutral_arrays())
    for content in (serialize_motion(random_motion()), (tmp_path / "whole.npz").read_bytes()):
        (tmp_path / "m").write_bytes(content[:n_bytes])
        with pytest.raises(InputError, match="motion_unreadable"):
            load_motion(tmp_path / "m")


def header_of(content: bytes):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, data) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": "other"}, "motion_unreadable"),
        ({"format_version": "2"}, "motion_unreadable"),
        ({"frames_per_second": "nan"}, "motion_shape"),
        ({"frames_per_second": "0"}, "motion_shape"),
        ({"frames_per_second": "1e9"}, "motion_shape"),
        ({"frames_per_second": "fast"}, "motion_shape"),
    ],
)
def test_invalid_metadata_are_rejected(tmp_path, change, code):
    header, data = header_of(serialize_motion(random_motion()))
    header["__metadata__"] |= change
    (tmp_path / "m").write_bytes(with_header(header, data))
    with pytest.raises(InputError, match=code):
        load_motion(tmp_path / "m")


@pytest.mark.parametrize(
    "header", [[], 3, None, {}, {"__metadata__": []}, {"__metadata__": None}, {"x": {"dtype": "F32"}}]
)
def test_invalid_headers_are_rejected(tmp_path, header):
    (tmp_path / "m").write_bytes(with_header(header, bytes(100)))
    with pytest.raises(InputError, match="motion_unreadable"):
        load_motion(tmp_path / "m")


def serialize_changed(**change):
    motion = random_motion()
    tensors = {name: getattr(motion, name) for name in motion_file.TENSORS} | change
    metadata = {"format": "joyvasa-motion", "format_version": "1", "frames_per_second": "25"}
    return save({name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}, metadata)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"yaw": None}, "motion_incomplete"),
        ({"yaw": torch.zeros(6, 1)}, "motion_shape"),
        ({"yaw": torch.zeros(7, 1, dtype=torch.float64)}, "motion_shape"),
        ({"expression": torch.zeros(0, 21, 3)}, "motion_shape"),
        ({"expression": torch.zeros(7, 0, 3)}, "motion_shape"),
        ({"scale": torch.full((7, 1), torch.nan)}, "motion_not_finite"),
        ({"translation": torch.full((7, 3), torch.inf)}, "motion_not_finite"),
    ],
)
def test_invalid_tensors_are_rejected(tmp_path, change, code):
    (tmp_path / "m").write_bytes(serialize_changed(**change))
    with pytest.raises(InputError, match=code):
        load_motion(tmp_path / "m")


def test_paths_that_are_not_files_are_rejected(tmp_path):
    with pytest.raises(InputError, match="motion_missing"):
        load_motion(tmp_path / "absent")
    with pytest.raises(InputError, match="motion_unreadable"):
        load_motion(tmp_path)
