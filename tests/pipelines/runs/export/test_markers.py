"""Markers of exports that were edited or damaged: a shard is written again, and no file outside is touched."""

import json
from pathlib import Path

import pytest

from manifests.storage import open_storage
from pipelines.runs.export.markers import STATE, ExportMarkers
from pipelines.runs.export.plan import PlannedShard

SHARD = PlannedShard("train", 0, Path("rows"), 1, "digest")


@pytest.mark.parametrize("path", ["a\x00b", "x" * 300, "../precious", "/etc/passwd", "", 7, None, ["a"], {"a": 1}])
def test_a_marker_with_a_path_that_no_export_writes_is_ignored(tmp_path, path):
    (tmp_path / "precious").write_bytes(b"x")
    markers = ExportMarkers(open_storage(tmp_path / "out"))
    marker = tmp_path / "out" / STATE / "train" / "00000.json"
    marker.parent.mkdir(parents=True)
    marker.write_text(json.dumps({"digest": "digest", "files": [{"path": path, "bytes": 1, "sha256": "0"}]}))
    assert markers.find_finished(SHARD) is None
    markers.discard_outdated({"train": []})
    assert (tmp_path / "precious").exists()
    assert not marker.exists()
