"""Fetching of bundle files from a local HTTP server."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from joyvasa.bundles import Bundle, fetch, open_bundle
from joyvasa.bundles.fetch import INCOMING, FetchResult, fetch_files, plan_fetch
from joyvasa.bundles.spec import BundleSpec
from joyvasa.errors import ModelError, OutputError
from tests.joyvasa.bundles.hub import Hub
from tests.joyvasa.bundles.published import write_bundle

CHUNK = 10 << 20  # huggingface_hub writes chunks of ten megabytes; an interruption loses an unfinished chunk
BIG = bytes(range(256)) * (24 << 12)  # 24 MiB
SMALL = b"a small file"
DETECTOR = b"not for sale"


def spec(**changes: dict[str, object]) -> BundleSpec:
    """Return the spec of a bundle with three files, one of them with a non-commercial license."""

    def role(file: str, data: bytes, revision: str, license: str = "free") -> dict[str, object]:
        return {
            "file": file,
            "format": "onnx",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "license": license,
            "source": {"repository": "owner/model", "revision": revision, "path": f"folder/{file}"},
        }

    roles = {
        "big": role("sub/big.onnx", BIG, "82a4fa67"),
        "small": role("small.onnx", SMALL, "main"),
        "detector": role("detector.onnx", DETECTOR, "main", "research"),
    }
    for name, change in changes.items():
        roles[name] |= change
    return BundleSpec.model_validate(
        {
            "format_version": 1,
            "name": "served",
            "licenses": {
                "free": {"name": "MIT", "commercial": "yes"},
                "research": {"name": "research only", "commercial": "no"},
            },
            "roles": roles,
        }
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {"sub/big.onnx": BIG, "small.onnx": SMALL, "detector.onnx": DETECTOR}
    with Hub({f"owner/model/folder/{name}": data for name, data in files.items()}).serve() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield served


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_bundle(tmp_path / "served", spec()))


def visible_files(bundle: Bundle) -> set[str]:
    """Return the files of the bundle, except unfinished ones."""
    paths = [path.relative_to(bundle.folder) for path in bundle.folder.rglob("*") if path.is_file()]
    return {path.as_posix() for path in paths if INCOMING not in path.parts} - {"bundle.yaml"}


def fetch_roles(bundle: Bundle, *roles: str, commercial_only: bool = False) -> list[FetchResult]:
    return fetch_files(bundle, plan_fetch(bundle, roles or bundle.spec.roles, commercial_only=commercial_only))


def test_files_are_complete_and_no_temporary_file_is_left(hub: Hub, bundle: Bundle) -> None:
    results = fetch_roles(bundle)
    assert {result.role: result.outcome for result in results} == dict.fromkeys(("big", "small", "detector"), "fetched")
    assert visible_files(bundle) == {"sub/big.onnx", "small.onnx", "detector.onnx"}
    assert bundle.find_file("big").read_bytes() == BIG
    assert not (bundle.folder / INCOMING).exists()


def test_an_abbreviated_revision_is_expanded(hub: Hub, bundle: Bundle) -> None:
    fetch_roles(bundle, "big")
    paths = [path for _, path, _ in hub.requests if path != "/"]  # which is the first contact
    assert paths
    assert all("/resolve/82a4fa670123456789abcdef" in path for path in paths)


def test_a_deleted_revision_falls_back_to_main(hub: Hub, tmp_path: Path) -> None:
    source = {"repository": "owner/model", "revision": "0000000", "path": "folder/small.onnx"}
    bundle = open_bundle(write_bundle(tmp_path / "served", spec(small={"source": source})))
    fetch_roles(bundle, "small")
    assert bundle.find_file("small").read_bytes() == SMALL


def test_valid_files_are_not_fetched_again(hub: Hub, bundle: Bundle) -> None:
    fetch_roles(bundle)
    before = len(hub.requests)
    results = fetch_roles(bundle)
    assert {result.outcome for result in results} == {"present"}
    assert len(hub.requests) == before


def test_a_damaged_file_is_replaced(hub: Hub, bundle: Bundle) -> None:
    (bundle.folder / "small.onnx").write_bytes(b"A" + SMALL[1:])
    assert fetch_roles(bundle, "small")[0].outcome == "fetched"
    assert bundle.find_file("small").read_bytes() == SMALL


def test_an_interrupted_transfer_is_resumed_in_the_same_run(hub: Hub, bundle: Bundle) -> None:
    hub.breaks, hub.break_at = 1, 12 << 20
    fetch_roles(bundle, "big")
    assert bundle.find_file("big").read_bytes() == BIG
    assert hub.ranges() == [None, f"bytes={CHUNK}-"]


def test_a_failed_transfer_is_resumed_by_the_next_run(
    hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)  # between the retries of huggingface_hub
    hub.breaks, hub.break_at = 100, 12 << 20
    with pytest.raises(ModelError, match="resumes where it stopped") as caught:
        fetch_roles(bundle, "big")
    assert caught.value.code == "hub_unreachable"
    assert visible_files(bundle) == set()
    (part,) = (bundle.folder / INCOMING).glob("*.part")
    assert part.stat().st_size == CHUNK
    hub.breaks = 0
    n_downloads = len(hub.ranges())
    fetch_roles(bundle, "big")
    assert bundle.find_file("big").read_bytes() == BIG
    assert hub.ranges()[n_downloads:] == [f"bytes={CHUNK}-"]
    assert not (bundle.folder / INCOMING).exists()


@pytest.mark.parametrize("longer", [False, True])
def test_a_wrong_file_is_refused_and_removed(hub: Hub, bundle: Bundle, longer: bool) -> None:
    hub.files["owner/model/folder/small.onnx"] = SMALL + b"!" if longer else SMALL[::-1]
    with pytest.raises(ModelError) as caught:
        fetch_roles(bundle, "small")
    assert caught.value.code == "weights_wrong_hash"
    assert "owner/model/folder/small.onnx" in caught.value.sentence
    assert visible_files(bundle) == set()
    assert not list(bundle.folder.rglob("*.part"))


def test_a_wrong_file_of_unknown_size_is_refused(hub: Hub, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "served", spec(small={"bytes": None})))
    hub.files["owner/model/folder/small.onnx"] = b"something else entirely"
    with pytest.raises(ModelError, match="removed"):
        fetch_roles(bundle, "small")
    assert visible_files(bundle) == set()
    hub.files["owner/model/folder/small.onnx"] = SMALL
    fetch_roles(bundle, "small")
    assert bundle.find_file("small").read_bytes() == SMALL


def test_a_partial_file_with_wrong_content_is_refused(hub: Hub, bundle: Bundle) -> None:
    """The hash covers the bytes of earlier transfers, too."""
    part = bundle.folder / INCOMING / f"{hashlib.sha256(BIG).hexdigest()[:16]}-big.onnx.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 5000)
    with pytest.raises(ModelError, match="expected 25165824 bytes"):
        fetch_roles(bundle, "big")
    assert not part.exists()
    fetch_roles(bundle, "big")
    assert bundle.find_file("big").read_bytes() == BIG


def test_commercial_only_skips_restricted_weights(hub: Hub, bundle: Bundle) -> None:
    results = {result.role: result.outcome for result in fetch_roles(bundle, commercial_only=True)}
    assert results == {"big": "fetched", "small": "fetched", "detector": "refused"}
    assert visible_files(bundle) == {"sub/big.onnx", "small.onnx"}


def test_a_role_without_a_source_is_reported(hub: Hub, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "served", spec(small={"source": None})))
    assert [result.outcome for result in fetch_roles(bundle, "small")] == ["no_source"]


def test_roles_that_share_a_file_are_transferred_once(hub: Hub, tmp_path: Path) -> None:
    both = spec().roles["small"].model_dump()
    bundle = open_bundle(write_bundle(tmp_path / "served", spec(detector=both)))
    plan = plan_fetch(bundle, ["small", "detector"])
    assert plan.bytes == len(SMALL)
    fetch_files(bundle, plan)
    assert len(hub.ranges()) == 1


def test_a_file_missing_on_the_hub_is_one_sentence(hub: Hub, bundle: Bundle) -> None:
    hub.files.clear()
    with pytest.raises(ModelError) as caught:
        fetch_roles(bundle, "small")
    assert caught.value.code == "hub_unreachable"
    assert "\n" not in caught.value.sentence
    assert visible_files(bundle) == set()


def test_no_network_is_one_sentence_after_a_single_contact(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port, where no server listens
    monkeypatch.setattr(fetch, "_fetch_file", lambda *_: pytest.fail("the client of the hub retries for half a minute"))
    with pytest.raises(ModelError, match="transfer failed") as caught:
        fetch_roles(bundle, "small")
    assert "\n" not in caught.value.sentence
    assert fetch.CONTACT_S < 5
    assert capfd.readouterr() == ("", "")


def test_offline_mode_is_one_sentence(bundle: Bundle) -> None:
    code = (
        "import sys; from joyvasa.bundles import open_bundle; from joyvasa.bundles.fetch import *\n"
        "bundle = open_bundle(sys.argv[1])\n"
        "try: fetch_files(bundle, plan_fetch(bundle, ['small']))\n"
        "except Exception as error: print(error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(bundle.folder)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.stdout.strip() == (
        "hub_unreachable: owner/model/folder/small.onnx: HF_HUB_OFFLINE is set: unset it to fetch models"
    )


def test_too_little_disk_space_is_detected_before_the_transfer(
    hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(bundle.folder)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError) as caught:
        fetch_roles(bundle, "big")
    assert caught.value.code == "disk_full"
    assert not hub.requests


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_failed_write_is_one_sentence(hub: Hub, bundle: Bundle) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written") as caught:
            fetch_roles(bundle, "big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "models_not_written"
    assert visible_files(bundle) == set()


@pytest.mark.parametrize("link", ["sub", INCOMING, f"{INCOMING}/lock"])
def test_links_in_a_bundle_folder_are_refused(hub: Hub, bundle: Bundle, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = outside / "precious"
    precious.write_text("keep")
    path = bundle.folder / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(precious if link.endswith("lock") else outside)
    with pytest.raises(ModelError, match="link") as caught:
        fetch_roles(bundle, "big")
    assert caught.value.code == "bundle_invalid"
    assert [item.name for item in outside.iterdir()] == ["precious"]
    assert precious.read_text() == "keep"


def test_a_folder_that_cannot_be_created_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    opened = open_bundle(write_bundle(tmp_path / "served", spec()))
    (tmp_path / "file").write_text("in the way")
    bundle = Bundle(opened.spec, tmp_path / "file" / "served", opened.cache)
    with pytest.raises(OutputError, match="cannot be written"):
        fetch_roles(bundle, "small")


def test_a_killed_fetch_leaves_no_visible_file_and_the_next_run_completes(hub: Hub, bundle: Bundle) -> None:
    hub.slow = 0.1  # 24 chunks: more than 2 s
    code = (
        "import sys; from joyvasa.bundles import open_bundle; from joyvasa.bundles.fetch import *\n"
        "bundle = open_bundle(sys.argv[1]); fetch_files(bundle, plan_fetch(bundle, ['big']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(bundle.folder)], stderr=subprocess.DEVNULL)
    try:
        assert hub.sent.wait(60)
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in bundle.folder.glob(f"{INCOMING}/*.part")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert visible_files(bundle) == set()
    assert not bundle.has_role("big")
    (part,) = (bundle.folder / INCOMING).glob("*.part")
    offset = part.stat().st_size
    assert 0 < offset < len(BIG)

    hub.slow = 0
    fetch_roles(bundle, "big")
    assert bundle.find_file("big").read_bytes() == BIG
    assert hub.ranges()[-1] == f"bytes={offset}-"
    assert not (bundle.folder / INCOMING).exists()


def test_a_fetched_published_bundle_loads_by_its_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registry, folders and loading together, with one small role of the published bundle."""
    from joyvasa.networks import build

    published = open_bundle("joyvasa").spec
    role = published.roles["lip"]
    assert role.source is not None
    path = tmp_path / "stitching.pth"
    torch.save({str(role.entry): build("lip").state_dict()}, path)
    data = path.read_bytes()
    hub.files[f"{role.source.repository}/{role.source.path}"] = data
    role = role.model_copy(update={"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    changed = published.model_copy(update={"roles": published.roles | {"lip": role}})
    monkeypatch.setattr("joyvasa.bundles.registry.read_spec", lambda _: changed)
    bundle = open_bundle("joyvasa")
    assert not bundle.has_role("lip")
    fetch_roles(bundle, "lip")
    assert open_bundle("joyvasa").load_network("lip")
