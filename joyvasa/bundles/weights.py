"""Read weight files without executing code from them."""

from __future__ import annotations

import argparse
import math
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from joyvasa.errors import ModelError
from joyvasa.runtime.array_pickle import PickleRefused, as_array, load_array_pickle
from joyvasa.runtime.parsing import parse_json

if TYPE_CHECKING:
    from torch import Tensor

ZIP_MAGIC = b"PK\x03\x04"
# torch.save before 1.6 starts with a pickle (protocol 2) of the number 0x1950a86a20f9469cfc6c.
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"

# Parts of torch's messages about files that need more than the allow-list.
_UNSAFE = ("GLOBAL", "reduce for", "Can only build", "Can only create")
# Starts of paragraphs in torch's messages that advise to load the file anyway.
_ADVICE = ("Weights only load failed", "Check the documentation", "Please file an issue")

# Types in published checkpoints other than tensors. Path objects become pure paths, which exist on every platform and
# never access the file system; Python 3.13 pickles them under pathlib._local.
ALLOWED_GLOBALS: list[Any] = [
    argparse.Namespace,
    *((PurePosixPath, f"{module}.{name}") for module in ("pathlib", "pathlib._local")
      for name in ("PosixPath", "PurePosixPath", "Path", "PurePath")),
    *((PureWindowsPath, f"{module}.{name}") for module in ("pathlib", "pathlib._local")
      for name in ("WindowsPath", "PureWindowsPath")),
]  # fmt: skip
MAX_TEMPLATE_BYTES = 1 << 18  # the published motion template has about 3 kB


@dataclass(frozen=True)
class Weights:
    """Content of a weight file."""

    state: dict[str, Tensor]  # tensors by name, on the CPU
    where: str  # name of the file and of the entry in it, for errors
    # arguments of the training program, if the file contains them
    arguments: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)  # metadata of a safetensors file


def read_weights(path: Path, file_format: str, entry: str | None = None) -> Weights:
    """Read the tensors of one network.

    Args:
        path: path of the weight file.
        file_format: `safetensors` or `pytorch`.
        entry: key of the state dict in a PyTorch file; None if the file is the state dict.

    Raises:
        ModelError: the file is missing, damaged, not a checkpoint, or would execute code.
    """
    if not path.is_file():
        raise ModelError("weights_missing", f"{path}: no such file")
    if file_format == "safetensors":
        return _read_safetensors(path)

    content = read_checkpoint(path)
    where = str(path)
    if not isinstance(content, dict):
        raise _damaged(path, f"contains a {type(content).__name__}; expected a dictionary of tensors")
    arguments = content.get("args") if entry else None
    if entry is not None:
        where = f"{path}[{entry}]"
        if entry not in content:
            raise _damaged(path, f"has no entry {entry!r} (found: {_format_some(content)})")
        content = content[entry]
    return Weights(_check_state(content, where, path.stat().st_size), where, _simple_arguments(arguments))


def read_checkpoint(path: Path, *, mmap: bool = False) -> Any:
    """Load a PyTorch file in the zip or the legacy format, with an allow-list of types.

    Args:
        path: path of the file.
        mmap: read tensors only when they are used; the zip format only.

    Returns:
        The saved object, with tensors on the CPU.

    Raises:
        ModelError: `weights_unsafe` if the file names anything but tensors, containers, numbers, strings, paths and
            `argparse.Namespace`; `weights_damaged` if it cannot be read.
    """
    with path.open("rb") as stream:
        magic = stream.read(len(LEGACY_MAGIC))
    if magic.startswith(ZIP_MAGIC):
        _check_archive(path)
    elif magic != LEGACY_MAGIC:
        raise _damaged(path, f"not a PyTorch checkpoint (starts with {magic[:8]!r})")

    import torch

    try:
        with torch.serialization.safe_globals(ALLOWED_GLOBALS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    # Damaged files may raise any exception inside torch, including MemoryError for bogus sizes.
    except Exception as error:
        reason = _reason(error)
        if any(word in reason for word in _UNSAFE):
            raise ModelError(
                "weights_unsafe",
                f"{path}: the file contains more than tensors and was not loaded ({reason}); "
                "expected a plain checkpoint: get it again from its publisher",
            ) from None
        raise _damaged(path, f"cannot be read as a checkpoint ({reason})") from None


def _check_archive(path: Path) -> None:
    """Reject archives that unpack to more bytes than they have, or with names outside of their folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, f"truncated or not a zip archive ({_reason(error)})") from None

    names = [item.filename for item in entries]
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise ModelError("weights_unsafe", f"{path}: the archive contains {name!r}, a path outside of itself")
    if len(set(names)) != len(names):
        raise _damaged(path, "the archive contains two files of one name")
    if any(item.compress_type != zipfile.ZIP_STORED for item in entries):
        raise _damaged(path, "the archive is compressed; PyTorch stores checkpoints uncompressed")
    if sum(item.file_size for item in entries) > path.stat().st_size:
        raise _damaged(path, "the archive claims more bytes than the file has")
    if any(name.endswith("/constants.pkl") for name in names):
        raise _damaged(path, "a TorchScript program; expected a checkpoint of tensors")


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise _damaged(path, f"cannot be read as safetensors ({_reason(error)})") from None
    try:
        arguments = parse_json(metadata.get("arguments", "{}"))
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise _damaged(path, "its metadata entry `arguments` is not a JSON object")
    return Weights(state, str(path), arguments, metadata)


def read_source_hash(path: Path) -> str | None:
    """Return the SHA-256 of the published file that a converted file was made from; None if it is not stated."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("source_sha256")
    except (SafetensorError, OSError):
        return None


def _check_state(content: Any, where: str, file_bytes: int) -> dict[str, Tensor]:
    """Check that a state dict contains only dense tensors whose bytes are in the file."""
    import torch

    if not isinstance(content, dict) or not content:
        raise ModelError("weights_damaged", f"{where}: contains no named tensors; expected a state dict")
    state: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise ModelError(
                "weights_damaged", f"{where}: entry {str(name)[:80]!r} is a {type(value).__name__}, expected a tensor"
            )
        claimed = math.prod(value.shape) * value.element_size()
        if value.device.type != "cpu" or value.is_quantized or claimed > file_bytes:
            raise ModelError(
                "weights_damaged",
                f"{where}: {name} has shape {tuple(value.shape)} ({claimed} bytes), more than the file contains",
            )
        state[name] = value.detach()
    return state


def _simple_arguments(namespace: Any) -> dict[str, Any]:
    """Return the numbers and strings of the namespace that a training program saved."""
    values = vars(namespace) if isinstance(namespace, argparse.Namespace) else namespace
    if not isinstance(values, dict):
        return {}
    plain = {str(key): str(value) if isinstance(value, PurePath) else value for key, value in values.items()}
    return {key: value for key, value in plain.items() if value is None or isinstance(value, (bool, int, float, str))}


def _damaged(path: Path, problem: str) -> ModelError:
    return ModelError("weights_damaged", f"{path}: {problem}: get the file again")


def _format_some(names: Any) -> str:
    shown = [str(name)[:60] for name in list(names)[:4]]
    return ", ".join(shown) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _reason(error: BaseException) -> str:
    """Extract the reason from a library's message, without its advice to disable the protection."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2]
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    reasons = [part for part in paragraphs if part and not part.startswith(_ADVICE)]
    return reasons[0].split(" Please ")[0].split(". ")[0].rstrip(".")[:200] if reasons else type(error).__name__


def read_template_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of numeric arrays.

    Returns:
        Arrays by name.

    Raises:
        ModelError: `weights_unsafe` if the pickle names anything but numeric arrays; `weights_damaged` if it is
            damaged or not such a pickle.
    """
    if not path.is_file():
        raise ModelError("weights_missing", f"{path}: no such file")
    if path.stat().st_size > MAX_TEMPLATE_BYTES:
        raise ModelError(
            "weights_damaged", f"{path}: larger than {MAX_TEMPLATE_BYTES} bytes; expected a motion template"
        )

    try:
        content = load_array_pickle(path.read_bytes())
        return {str(name): as_array(value) for name, value in _check_items(content)}
    except PickleRefused as error:
        raise ModelError(
            "weights_unsafe",
            f"{path}: the file asks for {error} and was not loaded; expected a dictionary of numeric arrays: "
            "get it again from its publisher",
        ) from None
    except Exception as error:  # a damaged pickle may raise any exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError("weights_damaged", f"{path}: not a pickle of numeric arrays ({reason})") from None


def _check_items(content: Any) -> Any:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"contains a {type(content).__name__}, expected a dictionary of named arrays")
    return content.items()
