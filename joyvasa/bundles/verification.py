"""Checks the files of a bundle: there, of the right size and hash, and loadable."""

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
    """Result for one role.

    Args:
        role: for example `warping_module`.
        file: path inside the bundle; empty for generated weights.
        status: `absent` is a missing file that the mode works without.
        bytes: size found, or the published size of a file that is not there.
        sha256: hash found.
        pinned: whether the bundle says which hash it must be.
        loads: whether it was loaded; None if that was not tried.
        license: name of its terms.
        commercial: yes, no or unclear.
        problem: one sentence, empty if there is none.
    """

    role: str
    file: str
    status: FileStatus
    bytes: int | None
    sha256: str | None
    pinned: bool
    loads: bool | None
    license: str
    commercial: str
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.status in ("ok", "absent")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verify_bundle(
    bundle: Bundle, roles: Iterable[str], *, load: bool = True, on_role: Callable[[str], None] | None = None
) -> list[FileCheck]:
    """Checks roles one after the other; a problem of one does not stop the others.

    Args:
        bundle: whose files.
        roles: names of roles.
        load: also load each file into its network, key by key.
        on_role: called before each check.

    Returns:
        One result for each role, in their order.
    """
    results = []
    for role in roles:
        if on_role:
            on_role(role)
        results.append(_check(bundle, role, load))
    return results


def _check(bundle: Bundle, name: str, load: bool) -> FileCheck:
    license = bundle.licenses([name])[name]
    role = bundle.spec.roles[name]
    path = bundle.path(role) if role.file else None
    found_bytes, digest = role.bytes, None

    def result(status: FileStatus, problem: str = "", loads: bool | None = None) -> FileCheck:
        return FileCheck(
            role=name,
            file=role.file or "",
            status=status,
            bytes=found_bytes,
            sha256=digest,
            pinned=role.sha256 is not None,
            loads=loads,
            license=license.name,
            commercial=license.commercial,
            problem=problem,
        )

    if not bundle.has(name):
        return result("absent" if role.optional else "missing", bundle.describe_missing([name]))
    if path is not None and path.is_file():  # else only the converted file is there
        found_bytes = path.stat().st_size
        if role.bytes is not None and found_bytes != role.bytes:
            return result("wrong_size", f"{path}: {found_bytes} bytes, expected {role.bytes}: get it again")
        digest = bundle.cache.sha256(path)
        if role.sha256 is not None and digest != role.sha256:
            return result("wrong_hash", f"{path}: sha256 {digest[:16]}…, expected {role.sha256[:16]}…: get it again")
    if not load:
        return result("ok")
    try:
        _load(bundle, name)
    except JoyvasaError as error:
        return result("does_not_load", str(error), loads=False)
    return result("ok", loads=True)


def _load(bundle: Bundle, name: str) -> None:
    role = bundle.spec.roles[name]
    if role.network is not None:
        bundle.load_network(name)
    elif name == TEMPLATE_ROLE:
        bundle.load_template()
    elif role.format == "onnx":
        _load_onnx(bundle.file(name))


def _load_onnx(path: Path) -> None:
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(
            "models_missing", f"{path}: ONNX Runtime is not installed: install the package with [cpu] or [gpu]"
        ) from None
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own exception classes for every status
        reason = " ".join(str(error).split())[:200]
        raise ModelError("weights_damaged", f"{path}: cannot be read as ONNX ({reason}): get it again") from None
