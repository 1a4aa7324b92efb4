"""A data set is uploaded whole, in commits that an interrupted upload does not repeat."""

import huggingface_hub.constants
import pytest

from joyvasa.errors import ConfigError, InputError, OutputError
from pipelines.runs.export import push
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from pipelines.runs.export.push import push_dataset
from tests.pipelines.runs.export.hub import UploadHub
from tests.pipelines.runs.export.made_runs import make_numbered_run, read_tree


@pytest.fixture
def hub(monkeypatch):
    with UploadHub().serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True, raising=False)
        yield hub


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "run"
    make_numbered_run(root, 9)
    return str(root)


@pytest.fixture
def data(run, tmp_path):
    export_dataset(run, str(tmp_path / "data"), ExportConfig("folder", shard_bytes=20_000))
    return tmp_path / "data"


def test_all_files_are_uploaded_and_the_card_comes_last(hub, data, monkeypatch):
    monkeypatch.setattr(push, "COMMIT_FILES", 10)
    assert push_dataset(str(data), "me/faces") == f"{hub.url}/datasets/me/faces"
    assert hub.files == read_tree(data)
    assert hub.commits[-1] == ["README.md", "checksums.sha256"]
    assert max(map(len, hub.commits)) <= 10
    assert hub.created[0]["organization"] == "me"
    assert hub.created[0]["name"] == "faces"
    assert "private" in str(hub.created[0]).lower()


def test_a_repository_is_public_only_if_asked(hub, data):
    push_dataset(str(data), "me/faces", public=True)
    assert hub.created[0].get("private") is not True
    assert hub.created[0].get("visibility") in (None, "public")


def test_an_interrupted_upload_continues_after_its_last_commit(hub, data, monkeypatch):
    monkeypatch.setattr(push, "COMMIT_FILES", 10)
    hub.fail_commits = 1
    with pytest.raises(OutputError, match=r"hub_unreachable: me/faces: the upload failed .*finished commits are kept"):
        push_dataset(str(data), "me/faces")
    first = {path for path in hub.commits[0] if path.endswith(("mp4", "jpg"))}
    push_dataset(str(data), "me/faces")
    assert hub.files == read_tree(data)
    assert not first & {path for commit in hub.commits[1:] for path in commit}


def test_a_repository_with_other_files_in_splits_is_refused(hub, data):
    hub.files["train/stranger.mp4"] = b"x"
    with pytest.raises(OutputError, match=r"hub_not_empty: me/faces: holds 1 other files of splits, such as train/str"):
        push_dataset(str(data), "me/faces")
    assert hub.commits == []


def test_a_missing_token_is_explained(hub, data, monkeypatch):
    hub.token = "secret"
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(OutputError, match=r"hub_unreachable: .*log in with `hf auth login`"):
        push_dataset(str(data), "me/faces")
    monkeypatch.setenv("HF_TOKEN", "secret")
    push_dataset(str(data), "me/faces")


def test_an_unfinished_export_is_not_uploaded(hub, data):
    (data / "checksums.sha256").unlink()
    with pytest.raises(InputError, match=r"export_incomplete: .* has no checksums\.sha256"):
        push_dataset(str(data), "me/faces")
    assert hub.created == []


@pytest.mark.parametrize("name", ["faces", "a/b/c", "../x", "me/..", "me/fa ces", "me/", "me/a--b"])
def test_a_name_that_is_no_repository_is_refused(data, name):
    with pytest.raises(ConfigError, match="config_invalid: --push"):
        push_dataset(str(data), name)
