"""Gets the files of a bundle from the Hugging Face hub: resumed where they broke off, checked, then put in place.

The bytes come through `huggingface_hub` (its addresses, login, headers, retries and progress bars) as plain
HTTP, because `hf_hub_download` starts again from zero in a new process and transfers by hf-xet cannot
be continued at a byte. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HUB_DISABLE_PROGRESS_BARS` apply.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from joyvasa.bundles.bundle import Bundle
from joyvasa.bundles.hashes import HashCache
from joyvasa.bundles.spec import HubSource, Role
from joyvasa.errors import ModelError, OutputError
from joyvasa.runtime.files import hash_file, move_into_place

INCOMING = ".incoming"  # folder for unfinished files, inside the bundle's folder and so on its disk
DISK_RESERVE_BYTES = 64 << 20  # left free beside the files


@dataclass(frozen=True)
class FetchResult:
    """What became of one role.

    Args:
        role: for example `warping_module`.
        file: path inside the bundle.
        outcome: `present` was there and right; `refused` by license; `no_source` cannot be fetched.
        bytes: size of the file, if known.
    """

    role: str
    file: str
    outcome: Literal["fetched", "present", "refused", "no_source"]
    bytes: int | None


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch would do: roles with something to transfer, and the outcome of all others."""

    wanted: dict[str, Role]
    settled: list[FetchResult]

    @property
    def bytes(self) -> int:
        """Bytes to transfer, as far as sizes are known; a file of several roles counts once."""
        return sum({str(role.file): role.bytes or 0 for role in self.wanted.values()}.values())


def plan_fetch(bundle: Bundle, roles: Iterable[str], *, commercial_only: bool = False) -> FetchPlan:
    """Finds out what is missing or wrong.

    Args:
        bundle: whose files.
        roles: names of roles.
        commercial_only: leave out what may not, or may not clearly, be used commercially.

    Returns:
        The plan.

    Raises:
        ModelError: a role is not part of the bundle.
    """
    wanted: dict[str, Role] = {}
    settled: list[FetchResult] = []
    for name in roles:
        license = bundle.licenses([name])[name]  # also refuses unknown roles
        role = bundle.spec.roles[name]
        file = role.file
        if file is None:
            continue
        if commercial_only and license.commercial != "yes":
            settled.append(FetchResult(name, file, "refused", role.bytes))
        elif _is_right(bundle.path(role), role, bundle.cache):
            settled.append(FetchResult(name, file, "present", role.bytes))
        elif role.source is None:
            settled.append(FetchResult(name, file, "no_source", role.bytes))
        else:
            wanted[name] = role
    return FetchPlan(wanted, settled)


def fetch_files(bundle: Bundle, plan: FetchPlan, *, on_file: Callable[[str, Role], None] | None = None) -> list[FetchResult]:
    """Carries out a plan. What was put in place stays if a later file fails.

    Args:
        bundle: whose files.
        plan: from `plan_fetch`.
        on_file: called with role and entry before each transfer.

    Returns:
        The outcome of every role of the plan.

    Raises:
        ModelError: hub not reachable, file not there, or size or sha256 wrong.
        OutputError: not enough room, or the folder cannot be written.
    """
    from filelock import FileLock

    if not plan.wanted:
        return list(plan.settled)
    sizes: dict[str, int] = {}
    revisions: dict[tuple[str, str], str] = {}
    incoming = bundle.folder / INCOMING
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        _refuse_links(bundle, plan, incoming)
        _check_room(bundle.folder, plan, incoming)
        with FileLock(incoming / "lock"):  # a second process waits, then finds the files there
            for name, role in plan.wanted.items():
                file = str(role.file)
                if file not in sizes and not _is_right(bundle.path(role), role, bundle.cache):
                    if on_file:
                        on_file(name, role)
                    _fetch_one(bundle, role, incoming, revisions)
                sizes[file] = bundle.path(role).stat().st_size
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise OutputError(
            "models_not_written", f"{error.filename or bundle.folder}: cannot be written ({reason})"
        ) from None
    with suppress(OSError):
        if not any(path.suffix == ".part" for path in incoming.iterdir()):
            shutil.rmtree(incoming)
    fetched = [FetchResult(name, str(role.file), "fetched", sizes[str(role.file)]) for name, role in plan.wanted.items()]
    return [*plan.settled, *fetched]


def _is_right(path: Path, role: Role, hashes: HashCache) -> bool:
    if not path.is_file() or (role.bytes is not None and path.stat().st_size != role.bytes):
        return False
    return role.sha256 is None or hashes.sha256(path) == role.sha256


def _refuse_links(bundle: Bundle, plan: FetchPlan, incoming: Path) -> None:
    """A bundle folder from elsewhere must not make the transfer write to another place."""
    for role in plan.wanted.values():
        bundle.check_inside(bundle.path(role).parent)
    for path in (incoming, *incoming.iterdir()):
        if path.is_symlink():
            raise ModelError("bundle_invalid", f"{path}: a link where unfinished files belong: remove it")


def _check_room(folder: Path, plan: FetchPlan, incoming: Path) -> None:
    begun = sum(path.stat().st_size for path in incoming.glob("*.part"))
    needed = max(plan.bytes - begun, 0) + DISK_RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            "disk_full",
            f"{folder}: {free >> 20} MB free, {needed >> 20} MB needed: make room, or set JOYVASA_MODELS elsewhere",
        )


def _fetch_one(bundle: Bundle, role: Role, incoming: Path, revisions: dict[tuple[str, str], str]) -> None:
    """Transfers one file beside its place, checks it there, and renames it."""
    source, target = role.source, bundle.path(role)
    assert source is not None  # by plan_fetch
    part = incoming / f"{(role.sha256 or 'unpinned')[:16]}-{target.name}.part"
    _transfer(source, part, role.bytes, revisions)
    size = part.stat().st_size
    digest = hash_file(part)
    if (role.bytes is not None and size != role.bytes) or (role.sha256 is not None and digest != role.sha256):
        part.unlink()
        raise ModelError(
            "weights_wrong_hash",
            f"{source.repository}/{source.path}: received {size} bytes with sha256 {digest[:16]}…, expected "
            f"{role.bytes if role.bytes is not None else 'any number of'} bytes with {(role.sha256 or 'any')[:16]}…; "
            "it was removed: fetch again, or report that the published file changed",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    move_into_place(part, target)
    bundle.cache.remember(target, digest)


def _transfer(source: HubSource, part: Path, expected: int | None, revisions: dict[tuple[str, str], str]) -> None:
    """Appends to `part` what it lacks; remembers completed revisions."""
    import huggingface_hub
    from huggingface_hub.file_download import http_get

    endpoint = os.environ.get("HF_ENDPOINT")
    where = f"{source.repository}/{source.path}"
    key = source.repository, source.revision
    try:
        if key not in revisions:
            revisions[key] = _full_revision(source, endpoint)
        url = huggingface_hub.hf_hub_url(source.repository, source.path, revision=revisions[key], endpoint=endpoint)
        size = huggingface_hub.get_hf_file_metadata(url).size
        if expected is not None and size is not None and size != expected:
            raise ModelError(
                "weights_wrong_hash", f"{where}: the hub offers {size} bytes, expected {expected}: it was not fetched"
            )
        with part.open("ab") as stream:
            if size is not None and stream.tell() > size:
                stream.truncate(0)
            while True:  # releases of huggingface_hub differ in what they try again themselves
                begun = stream.seek(0, os.SEEK_END)
                try:
                    http_get(
                        url,
                        stream,
                        resume_size=begun,
                        headers=huggingface_hub.utils.build_hf_headers(),
                        expected_size=size,
                        displayed_filename=source.path,
                    )
                    break
                except Exception:
                    if stream.seek(0, os.SEEK_END) == begun:  # nothing new arrived
                        raise
    except ModelError:
        raise
    except OSError as error:
        # Network errors of some versions are OSErrors too; those of the disk have a number and no response.
        if error.errno is not None and not _is_network(error):
            raise
        raise _unreachable(where, error) from None
    except Exception as error:  # the libraries underneath differ by version, and so do their errors
        raise _unreachable(where, error) from None


def _is_network(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.partition(".")[0] in (
        "requests",
        "httpx",
        "huggingface_hub",
    )


def _unreachable(where: str, error: Exception) -> ModelError:
    kind = type(error).__name__
    if kind == "OfflineModeIsEnabled":
        return ModelError("hub_unreachable", f"{where}: HF_HUB_OFFLINE is set: unset it to fetch models")
    reason = " ".join(str(error).split())[:200]
    return ModelError(
        "hub_unreachable",
        f"{where}: the transfer failed ({kind}: {reason}): try again, it continues where it stopped, "
        "or copy the file to its place",
    )


def _full_revision(source: HubSource, endpoint: str | None) -> str:
    """The full commit of an abbreviated one, which the hub does not take.

    Falls back to `main` where the repository does not know the commit any more: what arrives is
    held against the pinned sha256 in any case.
    """
    if not re.fullmatch("[0-9a-f]{6,39}", source.revision):
        return source.revision
    from huggingface_hub import HfApi

    commits = HfApi(endpoint=endpoint).list_repo_commits(source.repository)
    found = [commit.commit_id for commit in commits if commit.commit_id.startswith(source.revision)]
    return found[0] if len(found) == 1 else "main"
