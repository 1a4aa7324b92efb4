"""Fetch the files of a bundle from the Hugging Face hub: resumable, verified, and moved into place when complete.

Files are transferred by `huggingface_hub` (URLs, authentication, headers, retries, progress bars) over plain HTTP,
because `hf_hub_download` restarts from zero in a new process and hf-xet transfers cannot resume at a byte.
`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HUB_DISABLE_PROGRESS_BARS` apply.
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

INCOMING = ".incoming"  # folder for unfinished files, inside the bundle folder and so on the same disk
DISK_RESERVE_BYTES = 64 << 20  # disk space to leave free
CONTACT_S = 4.0  # time limit for the first answer of the hub


@dataclass(frozen=True)
class FetchResult:
    """Outcome of fetching one role."""

    role: str  # name of the role, for example `warping_module`
    file: str  # path inside the bundle
    # `present`: a valid file exists; `refused`: the license forbids it; `no_source`: it cannot be fetched
    outcome: Literal["fetched", "present", "refused", "no_source"]
    bytes: int | None  # size of the file, if known


@dataclass(frozen=True)
class FetchPlan:
    """Roles to fetch, and the outcomes of all other roles."""

    pending: dict[str, Role]
    settled: list[FetchResult]

    @property
    def bytes(self) -> int:
        """Number of bytes to transfer, as far as sizes are known; a file shared by roles counts once."""
        return sum({str(role.file): role.bytes or 0 for role in self.pending.values()}.values())


def plan_fetch(bundle: Bundle, roles: Iterable[str], *, commercial_only: bool = False) -> FetchPlan:
    """Determine which files of roles of a bundle are missing or invalid.

    `commercial_only` refuses weights whose license does not clearly permit commercial use.

    Raises:
        ModelError: a role is not part of the bundle.
    """
    pending: dict[str, Role] = {}
    settled: list[FetchResult] = []
    for name in roles:
        license = bundle.get_licenses([name])[name]  # raises for unknown roles
        role = bundle.spec.roles[name]
        file = role.file
        if file is None:
            continue

        if commercial_only and license.commercial != "yes":
            settled.append(FetchResult(name, file, "refused", role.bytes))
        elif _is_valid(bundle.published_path(role), role, bundle.cache):
            settled.append(FetchResult(name, file, "present", role.bytes))
        elif role.source is None:
            settled.append(FetchResult(name, file, "no_source", role.bytes))
        else:
            pending[name] = role
    return FetchPlan(pending, settled)


def fetch_files(
    bundle: Bundle, plan: FetchPlan, *, on_file: Callable[[str, Role], None] | None = None
) -> list[FetchResult]:
    """Execute a plan. Files that are complete remain if a later file fails.

    Returns:
        The outcome of every role of the plan.

    Raises:
        ModelError: the hub is unreachable, a file does not exist, or its size or SHA-256 is wrong.
        OutputError: the disk is full, or the folder cannot be written.
    """
    from filelock import FileLock

    if not plan.pending:
        return list(plan.settled)

    sizes: dict[str, int] = {}
    revisions: dict[tuple[str, str], str] = {}
    incoming = bundle.folder / INCOMING
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        _reject_links(bundle, plan, incoming)
        _check_disk_space(bundle.folder, plan, incoming)
        _require_answer(next(iter(plan.pending.values())))
        with FileLock(incoming / "lock"):  # another process waits here, then finds the files complete
            for name, role in plan.pending.items():
                file = str(role.file)
                if file not in sizes and not _is_valid(bundle.published_path(role), role, bundle.cache):
                    if on_file:
                        on_file(name, role)
                    _fetch_file(bundle, role, incoming, revisions)
                sizes[file] = bundle.published_path(role).stat().st_size
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise OutputError(
            "models_not_written", f"{error.filename or bundle.folder}: cannot be written ({reason})"
        ) from None

    with suppress(OSError):
        if not any(path.suffix == ".part" for path in incoming.iterdir()):
            shutil.rmtree(incoming)
    fetched = [
        FetchResult(name, str(role.file), "fetched", sizes[str(role.file)]) for name, role in plan.pending.items()
    ]
    return [*plan.settled, *fetched]


def _is_valid(path: Path, role: Role, hashes: HashCache) -> bool:
    if not path.is_file() or (role.bytes is not None and path.stat().st_size != role.bytes):
        return False
    return role.sha256 is None or hashes.sha256(path) == role.sha256


def _reject_links(bundle: Bundle, plan: FetchPlan, incoming: Path) -> None:
    """Reject links in the bundle folder, so that the transfer cannot write outside of it."""
    for role in plan.pending.values():
        bundle.check_path_inside(bundle.published_path(role).parent)
    for path in (incoming, *incoming.iterdir()):
        if path.is_symlink():
            raise ModelError("bundle_invalid", f"{path}: a link where unfinished files belong: remove it")


def _check_disk_space(folder: Path, plan: FetchPlan, incoming: Path) -> None:
    partial_bytes = sum(path.stat().st_size for path in incoming.glob("*.part"))
    needed = max(plan.bytes - partial_bytes, 0) + DISK_RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            "disk_full",
            f"{folder}: {free >> 20} MB free, {needed >> 20} MB needed: free space, or set JOYVASA_MODELS to another "
            "disk",
        )


def _fetch_file(bundle: Bundle, role: Role, incoming: Path, revisions: dict[tuple[str, str], str]) -> None:
    """Transfer one file to the folder of unfinished files, verify it, and move it into place."""
    source, target = role.source, bundle.published_path(role)
    assert source is not None  # ensured by plan_fetch
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
    """Append the missing bytes to `part`; cache completed revisions in `revisions`."""
    import huggingface_hub
    from huggingface_hub.file_download import http_get

    endpoint = os.environ.get("HF_ENDPOINT")
    where = f"{source.repository}/{source.path}"
    key = source.repository, source.revision
    try:
        if key not in revisions:
            revisions[key] = _expand_revision(source, endpoint)
        url = huggingface_hub.hf_hub_url(source.repository, source.path, revision=revisions[key], endpoint=endpoint)
        size = huggingface_hub.get_hf_file_metadata(url).size
        if expected is not None and size is not None and size != expected:
            raise ModelError(
                "weights_wrong_hash", f"{where}: the hub offers {size} bytes, expected {expected}: it was not fetched"
            )
        with part.open("ab") as stream:
            if size is not None and stream.tell() > size:
                stream.truncate(0)
            while True:  # huggingface_hub versions differ in what they retry
                offset = stream.seek(0, os.SEEK_END)
                try:
                    http_get(
                        url,
                        stream,
                        resume_size=offset,
                        headers=huggingface_hub.utils.build_hf_headers(),
                        expected_size=size,
                        displayed_filename=source.path,
                    )
                    break
                except Exception:
                    if stream.seek(0, os.SEEK_END) == offset:  # no progress
                        raise
    except ModelError:
        raise
    except OSError as error:
        # Some versions raise OSErrors for network errors; those of the disk have an errno.
        if error.errno is not None and not _is_network_error(error):
            raise
        raise _unreachable(where, error) from None
    except Exception as error:  # exception types differ between versions of the HTTP libraries
        raise _unreachable(where, error) from None


def _require_answer(role: Role) -> None:
    """Contact the hub once, because without a network its client would retry for half a minute."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils import get_session

    assert role.source is not None  # ensured by plan_fetch
    try:
        get_session().head(os.environ.get("HF_ENDPOINT") or ENDPOINT, timeout=CONTACT_S)
    except Exception as error:  # exception types differ between versions of the HTTP libraries
        raise _unreachable(f"{role.source.repository}/{role.source.path}", error) from None


def _is_network_error(error: OSError) -> bool:
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
        f"{where}: the transfer failed ({kind}: {reason}): retry, it resumes where it stopped, or "
        "copy the file to its place",
    )


def _expand_revision(source: HubSource, endpoint: str | None) -> str:
    """Expand an abbreviated commit, which the hub does not accept.

    Falls back to `main` if the commit no longer exists; the pinned SHA-256 is checked in any case.
    """
    if not re.fullmatch("[0-9a-f]{6,39}", source.revision):
        return source.revision
    from huggingface_hub import HfApi

    commits = HfApi(endpoint=endpoint).list_repo_commits(source.repository)
    matches = [commit.commit_id for commit in commits if commit.commit_id.startswith(source.revision)]
    return matches[0] if len(matches) == 1 else "main"
