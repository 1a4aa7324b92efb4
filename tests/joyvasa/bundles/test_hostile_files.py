"""Weight files cannot execute code, and damaged files raise errors of one sentence."""

from __future__ import annotations

import argparse
import builtins
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from joyvasa.bundles.weights import (
    ALLOWED_GLOBALS,
    read_checkpoint,
    read_source_hash,
    read_template_pickle,
    read_weights,
)
from joyvasa.errors import ModelError


class Call:
    """Object that is pickled as a function call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class WithState:
    """Object that is pickled as an allowed object whose state contains a payload."""

    def __init__(self, payload: Any) -> None:
        self.payload = payload

    def __reduce__(self) -> Any:
        return argparse.Namespace, (), {"inner": [{"deep": self.payload}]}


class Outside:
    """Object that is pickled as a reference to an object outside the file."""


def payloads(marker: Path) -> dict[str, Any]:
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os_system": Call(os.system, f"touch {marker}"),
        "eval": Call(builtins.eval, touch),
        "exec": Call(builtins.exec, touch),
        "getattr": Call(builtins.getattr, "text", "upper"),
        "open": Call(open, str(marker), "w"),
        "mkdir": Call(Path.mkdir, marker),
        "numpy_load": Call(np.load, str(marker)),
        "nested": {"args": WithState(Call(os.system, f"touch {marker}")), "model": {"w": torch.zeros(2)}},
        "next_to_tensors": {"w": torch.zeros(2), "x": [({"y": Call(os.system, f"touch {marker}")},)]},
    }


NAMES = list(payloads(Path("marker")))


def assert_refused(read: Callable[[], Any], path: Path, code: str = "weights_unsafe") -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModelError) as caught:
            read()
    assert caught.value.code == code, caught.value
    assert str(path) in caught.value.sentence
    assert "\n" not in caught.value.sentence
    assert "weights_only" not in caught.value.sentence  # no advice to disable the protection
    assert "add_safe_globals" not in caught.value.sentence
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.sentence


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_that_calls_functions_is_refused_without_execution(
    tmp_path: Path, name: str, zipped: bool
) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "weights.pth"
    torch.save(payloads(marker)[name], path, _use_new_zipfile_serialization=zipped)
    assert_refused(lambda: read_weights(path, "pytorch"), path)
    assert_refused(lambda: read_weights(path, "pytorch", "model"), path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "next_to_tensors"])
def test_a_template_that_calls_functions_is_refused_without_execution(tmp_path: Path, name: str, protocol: int) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "template.pkl"
    payload = payloads(marker)[name]
    path.write_bytes(pickle.dumps({"mean_exp": np.zeros(3), "std_exp": payload}, protocol=protocol))
    assert_refused(lambda: read_template_pickle(path), path)
    assert not marker.exists()


def test_the_payloads_are_executed_by_plain_pickle(tmp_path: Path) -> None:
    """Shows that the other tests use effective payloads."""
    for name in ("os_system", "eval", "nested"):
        marker = tmp_path / name
        pickle.loads(pickle.dumps(payloads(marker)[name]))
        assert marker.exists(), name


class _WithPersistentId(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return ("module", "os", "system", "touch it-ran") if isinstance(obj, Outside) else None


def _with_persistent_id(content: Any) -> bytes:
    stream = io.BytesIO()
    _WithPersistentId(stream, protocol=2).dump(content)
    return stream.getvalue()


def test_references_to_objects_outside_the_file_are_refused(tmp_path: Path) -> None:
    template = tmp_path / "template.pkl"
    template.write_bytes(_with_persistent_id({"mean_exp": Outside()}))
    assert_refused(lambda: read_template_pickle(template), template)
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", _with_persistent_id({"w": Outside()}))
        archive.writestr("weights/version", "3\n")
    assert_refused(lambda: read_checkpoint(path), path, "weights_damaged")


def test_a_legacy_file_with_custom_classes_is_refused(tmp_path: Path) -> None:
    """The legacy format can contain references to modules."""
    path = tmp_path / "weights.pth"
    torch.save({"net": torch.nn.Linear(2, 2)}, path, _use_new_zipfile_serialization=False)
    assert_refused(lambda: read_checkpoint(path), path)


def test_a_template_cannot_modify_allowed_names(tmp_path: Path) -> None:
    """The opcode BUILD on a name would set attributes of a function of this program for all later files."""
    path = tmp_path / "template.pkl"
    for state in (b"}\x8c\x05valueK\x01s", b"N}\x8c\x09_functionK\x01s\x86"):
        path.write_bytes(b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n" + state + b"b.")
        assert_refused(lambda: read_template_pickle(path), path)


@pytest.mark.parametrize("call", [b"(S'true'\nios\nsystem\n", b"(cos\nsystem\nS'true'\no", b"cos\nsystem\n)\x81"])
def test_every_call_opcode_is_refused(tmp_path: Path, call: bytes) -> None:
    path = tmp_path / "template.pkl"
    path.write_bytes(b"\x80\x02}U\x08mean_exp" + call + b"s.")
    assert_refused(lambda: read_template_pickle(path), path)


def test_python_objects_in_an_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "template.pkl"
    path.write_bytes(pickle.dumps({"mean_exp": np.array([{}, None], dtype=object)}))
    assert_refused(lambda: read_template_pickle(path), path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        b"\x80\x04]\x94.",  # a list
        pickle.dumps({"mean_exp": "text"}),
        pickle.dumps({1: np.zeros(2)}),
        pickle.dumps({"mean_exp": np.zeros(30)})[:-40],
        # a claim of 2^62 bytes, and of a memo index that would take 64 GB
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
        b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFFF) + b".",
        # an array whose shape claims more than its bytes
        pickle.dumps({"mean_exp": np.zeros(3)}, protocol=2).replace(b"K\x03\x85", b"M\xff\xff\x85"),
    ],
)
def test_files_that_are_no_template_are_refused_in_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "template.pkl"
    path.write_bytes(data)
    assert_refused(lambda: read_template_pickle(path), path, "weights_damaged")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("length", [0, 3, 20, 0.5, 0.9, 0.999])  # bytes, or fraction of the file
def test_a_truncated_checkpoint_is_refused_in_one_sentence(tmp_path: Path, length: float, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.randn(500), "v": torch.randn(40, 30)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: length if isinstance(length, int) else int(length * len(data))])
    assert_refused(lambda: read_weights(path, "pytorch"), path, "weights_damaged")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"PK\x03\x04" + bytes(100),
        pickle.dumps({"w": 1}),
    ],
)
def test_files_that_are_no_checkpoint_are_refused_in_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert_refused(lambda: read_weights(path, "pytorch"), path, "weights_damaged")


@pytest.mark.parametrize("content", [[1, 2], {}, {"w": [1.0]}, {1: torch.zeros(2)}, torch.zeros(3), {"w": "text"}])
def test_a_checkpoint_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert_refused(lambda: read_weights(path, "pytorch"), path, "weights_damaged")


@pytest.mark.filterwarnings("ignore::UserWarning")  # raised by torch when the files are written
@pytest.mark.parametrize("kind", ["expanded", "sparse", "quantized"])
def test_tensors_that_are_not_in_the_file_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    if kind == "expanded":  # one number that claims to be 40 terabytes
        tensor = torch.zeros(1).expand(10_000_000_000_000)
    elif kind == "sparse":
        tensor = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (1 << 40,))
    else:
        tensor = torch.quantize_per_tensor(torch.zeros(10), 0.1, 0, torch.qint8)
    torch.save({"w": tensor}, path)
    assert_refused(lambda: read_weights(path, "pytorch"), path, "weights_damaged")


@pytest.mark.parametrize("zipped", [True, False])
def test_claimed_sizes_beyond_the_file_are_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    claimed, huge = b"M\xe8\x03", b"J\xff\xff\xff\x7f"  # 1000 and 2147483647 as pickled integers
    if zipped:
        with zipfile.ZipFile(path) as archive:
            files = {item.filename: archive.read(item) for item in archive.infolist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data.replace(claimed, huge) if name.endswith("data.pkl") else data)
    else:
        data = path.read_bytes()
        assert claimed in data
        path.write_bytes(data.replace(claimed, huge))
    assert_refused(lambda: read_weights(path, "pytorch"), path, "weights_damaged")


@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/outside", "weights/../../../outside", "weights\\..\\outside", "C:/outside"]
)
def test_an_archive_with_paths_outside_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"data")
    assert_refused(lambda: read_checkpoint(path), path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    """The file has sixteen megabytes of zeros in a few kilobytes; a larger one would exhaust the memory."""
    path, packed = tmp_path / "weights.pth", tmp_path / "packed.pth"
    torch.save({"w": torch.zeros(4_000_000)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for item in archive.infolist():
            small.writestr(item.filename, archive.read(item))
    assert_refused(lambda: read_checkpoint(packed), packed, "weights_damaged")


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"[]", b"\x10" + bytes(30)]
)
def test_damaged_safetensors_are_refused_in_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    assert_refused(lambda: read_weights(path, "safetensors"), path, "weights_damaged")


@pytest.mark.parametrize(
    "header", [b"[" * 100_000, b'{"__metadata__": {"source_sha256": 3}}', b'{"__metadata__": null}', b"\xff"]
)
def test_a_damaged_header_states_no_source(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert read_source_hash(path) is None


def test_arguments_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(1)}, path, {"arguments": "[" * 100_000})
    assert_refused(lambda: read_weights(path, "safetensors"), path, "weights_damaged")


def test_the_allow_list_is_active_only_during_the_call(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"args": argparse.Namespace(a=1)}, path)
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == before
    assert argparse.Namespace in ALLOWED_GLOBALS
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.pth"
    for read in (lambda: read_weights(path, "pytorch"), lambda: read_template_pickle(path)):
        assert_refused(read, path, "weights_missing")
