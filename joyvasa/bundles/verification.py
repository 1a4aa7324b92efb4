"""Verify the files of a bundle: existence, size, hash and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from joyvasa.bundles.bundle import TEMPLATE_ROLE, Bundle
from joyvasa.errors import JoyvasaError, ModelError

FileStatus = Literal["ok", "absent", "missing", "wrong_size", "wrong_hash", "does_not_load"]


@dataclass(frozen=True)
class FileCheck:
    """Result of the verification of one role."""

    role: str  # name of the role, for example `warping_module`
    file: str  # path inside the bundle; empty for generated weights
    status: FileStatus  # result; `absent` is a missing file that is optional
    bytes: int | None  # actual size, or the published size of a missing file
    sha256: str | None  # actual hash
    pinned: bool  # whether the bundle pins the hash
    loads: bool | None  # whether the file could be loaded; None if this was not tried
    license: str  # name of the license
    commercial: str  # whether the license permits commercial use: yes, no or unclear
    problem: str = ""  # sentence about the problem; empty if there is none

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return self.status in ("ok", "absent")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)


def verify_bundle(
    bundle: Bundle, roles: Iterable[str], *, load: bool = True, on_role: Callable[[str], None] | None = None
) -> list[FileCheck]:
    """Verify roles one by one. A problem with one role does not stop the verification of the others.

    Returns:
        One result per role, in order.
    """
    results = []
    for role in roles:
        if on_role:
            on_role(role)
        results.append(_check_role(bundle, role, load))
    return results


def _check_role(bundle: Bundle, name: str, load: bool) -> FileCheck:
    license = bundle.get_licenses([name])[name]
    role = bundle.spec.roles[name]
    path = bundle.published_path(role) if role.file else None
    actual_bytes, digest = role.bytes, None

    def result(status: FileStatus, problem: str = "", loads: bool | None = None) -> FileCheck:
        return FileCheck(
            role=name,
            file=role.file or "",
            status=status,
            bytes=actual_bytes,
            sha256=digest,
            pinned=role.sha256 is not None,
            loads=loads,
            license=license.name,
            commercial=license.commercial,
            problem=problem,
        )

    if not bundle.has_role(name):
        return result("absent" if role.optional else "missing", bundle.describe_missing([name]))
    if path is not None and path.is_file():  # otherwise only the converted file exists
        actual_bytes = path.stat().st_size
        if role.bytes is not None and actual_bytes != role.bytes:
            return result("wrong_size", f"{path}: {actual_bytes} bytes, expected {role.bytes}: fetch it again")
        digest = bundle.cache.sha256(path)
        if role.sha256 is not None and digest != role.sha256:
            return result("wrong_hash", f"{path}: sha256 {digest[:16]}…, expected {role.sha256[:16]}…: fetch it again")

    if not load:
        return result("ok")
    try:
        _load_role(bundle, name)
    except JoyvasaError as error:
        return result("does_not_load", str(error), loads=False)
    return result("ok", loads=True)


def _load_role(bundle: Bundle, name: str) -> None:
    role = bundle.spec.roles[name]
    if role.network is not None:
        bundle.load_network(name)
    elif name == TEMPLATE_ROLE:
        bundle.load_template()
    elif role.format == "onnx":
        _load_onnx(bundle.find_file(name))


def _load_onnx(path: Path) -> None:
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(
            "models_missing", f"{path}: ONNX Runtime is not installed: install the package with [cpu] or [gpu]"
        ) from None
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has one exception class per status
        reason = " ".join(str(error).split())[:200]
        raise ModelError("weights_damaged", f"{path}: cannot be read as ONNX ({reason}): fetch it again") from None
