"""Upload of an exported data set to the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from joyvasa.errors import InputError, OutputError
from manifests.problems import safe_text
from manifests.storage import open_storage
from pipelines.report.rows import ProgressCallback, ignore_progress
from pipelines.runs.export.card import CARD
from pipelines.runs.export.config import check_repository
from pipelines.runs.export.markers import CHECKSUMS
from pipelines.runs.selection.splits import SPLITS
from stages.media import local_file

COMMIT_FILES = 100  # files per commit; an interrupted upload continues after the last commit
COMMIT_BYTES = 4_000_000_000
LAST = (CARD, CHECKSUMS)  # uploaded at the end: a data set without them is incomplete


def push_dataset(
    folder: str, repository: str, *, public: bool = False, on_progress: ProgressCallback = ignore_progress
) -> str:
    """Upload a data set; files that the repository has already are skipped, so an interrupted upload continues.

    The address of the hub is `HF_ENDPOINT`, and the access token that of `hf auth login` or `HF_TOKEN`.

    Args:
        folder: exported data set; a path or URI.
        repository: OWNER/NAME; it is created if it does not exist.
        public: whether a new repository is public.
        on_progress: callback for progress.

    Returns:
        Address of the repository.

    Raises:
        ConfigError: `config_invalid` if the name is no OWNER/NAME.
        InputError: `export_incomplete` if the folder has no `checksums.sha256`.
        OutputError: `hub_not_empty` or `hub_unreachable`.
    """
    from huggingface_hub import HfApi

    check_repository(repository)
    files = _read_checksums(folder)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _hub_errors(repository), _no_progress_bars():
        url = str(api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True))
        present = _list_hashes(api, repository)
        if foreign := sorted(path for path in present if path.split("/")[0] in SPLITS and path not in files):
            sentence = (
                f"{repository}: holds {len(foreign):,} other files of splits, such as {safe_text(foreign[0], 200)}"
            )
            raise OutputError("hub_not_empty", f"{sentence}; expected a new data set: remove them, or use another name")

        missing = [path for path in files if path not in LAST and present.get(path) != files[path]]
        done = 0
        for paths in _group(missing, folder):
            _commit(api, repository, folder, paths, f"Add {len(paths)} files")
            done += len(paths)
            on_progress("upload", done, len(missing))
        _commit(api, repository, folder, LAST, "Add data card and checksums")
    return url


def _read_checksums(folder: str) -> dict[str, str]:
    """Return the hashes of all files by path."""
    storage = open_storage(folder)
    try:
        lines = storage.read(CHECKSUMS).decode().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        sentence = f"{safe_text(folder, 200)}: has no {CHECKSUMS}; expected a finished export: export again"
        raise InputError("export_incomplete", sentence) from None
    return {path: digest for digest, _, path in (line.partition("  ") for line in lines)}


def _list_hashes(api: Any, repository: str) -> dict[str, str | None]:
    """Return the SHA-256 of the files of a repository by path; None for small files, which the hub does not hash so."""
    entries = api.list_repo_tree(repository, recursive=True, repo_type="dataset")
    files = (entry for entry in entries if hasattr(entry, "blob_id"))
    return {entry.path: entry.lfs.sha256 if entry.lfs else None for entry in files}


def _group(paths: list[str], folder: str) -> Iterator[list[str]]:
    """Divide files into commits."""
    storage, group, filled = open_storage(folder), [], 0
    for path in paths:
        size = storage.size(path) or 0
        if group and (len(group) >= COMMIT_FILES or filled + size > COMMIT_BYTES):
            yield group
            group, filled = [], 0
        group.append(path)
        filled += size
    if group:
        yield group


def _commit(api: Any, repository: str, folder: str, paths: Any, message: str) -> None:
    from huggingface_hub import CommitOperationAdd

    storage = open_storage(folder)
    with ExitStack() as stack:
        sources = {path: stack.enter_context(local_file(storage.location(path))) for path in paths}
        operations = [CommitOperationAdd(path, str(source)) for path, source in sources.items()]
        api.create_commit(repository, operations, commit_message=message, repo_type="dataset")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Switch off the progress bars of the library, one per file, during the block."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Convert errors of the hub and the network to OutputError."""
    try:
        yield
    except (OutputError, InputError):
        raise
    except Exception as error:  # exception types differ between versions of the HTTP libraries
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = " ".join(str(error).split())[:200]
        action = "log in with `hf auth login`, or check your rights there" if status in (401, 403) else "push again"
        sentence = f"{repository}: the upload failed ({type(error).__name__}: {safe_text(reason, 200)}): {action}"
        raise OutputError("hub_unreachable", f"{sentence}; finished commits are kept") from error
