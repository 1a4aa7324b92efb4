"""Rows from data sets: Parquet and Arrow files with media, WebDataset tar files, the layouts of `datasets`."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from joyvasa.errors import InputError
from manifests.cells import WINDOW_BYTES, read_cells
from manifests.manifest import open_manifest
from manifests.problems import ManifestError
from manifests.scan import Scan
from stages.media import local_file
from tests.manifests.data_sets import FEATURES, MEDIA, hub_metadata, media_table
from tests.manifests.tables import copied, scanned


def write_arrow(path, table, batch_rows=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=batch_rows)


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def read(location):
    with local_file(location) as path:
        return Path(path).read_bytes()


def extra(path):
    scan = Scan(open_manifest(path))
    return pa.concat_tables([scanned.block.extra for scanned in scan.blocks(extra=True)]), scan.summary.notes


@pytest.mark.parametrize("row_group_size", [3, 100])
def test_media_in_parquet_become_locations_of_cells_and_are_read_by_them(tmp_path, row_group_size):
    pq.write_table(media_table(10), tmp_path / "set.parquet", row_group_size=row_group_size)
    records, problems, _ = scanned(tmp_path / "set.parquet")
    assert (problems, len(records)) == ([], 10)
    assert records[7].image == f"cell://image/8::{tmp_path}/set.parquet"
    assert [read(record.image) for record in records] == [b"picture %d" % i for i in range(10)]
    assert [read(record.audio) for record in records] == [b"sound %d" % i for i in range(10)]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_binary_columns_named_as_media_are_media(tmp_path, kind):
    table = pa.table({"image": pa.array([b"a", b"b"], kind), "audio": ["x.wav", "y.wav"]})
    pq.write_table(table, tmp_path / "set.parquet")
    records, problems, _ = scanned(tmp_path / "set.parquet")
    assert problems == []
    assert [read(record.image) for record in records] == [b"a", b"b"]
    assert records[1].audio == f"{tmp_path}/y.wav"


@pytest.mark.parametrize("column", ["image", "audio", "note", "texts", "view"])
def test_a_damaged_arrow_file_gives_one_sentence(tmp_path, column):
    """Offsets beyond the data of a mapped file would crash the process."""
    columns = {"image": [b"a" * 20] * 4, "audio": ["s.wav"] * 4, "note": ["\xe9"] * 4, "texts": [["x"]] * 4}
    table = pa.table(columns).append_column("view", pa.array(["y" * 40] * 4, pa.string_view()))
    write_arrow(tmp_path / "set.arrow", table)
    (whole,) = pa.ipc.open_stream(tmp_path / "set.arrow").read_all().to_batches()
    offsets = whole.column(column).buffers()[1].to_pybytes()
    content = (tmp_path / "set.arrow").read_bytes()
    assert content.count(offsets) >= 1
    damaged = offsets[:8] + b"\xff\xff\xff\x6f" + offsets[12:]
    (tmp_path / "set.arrow").write_bytes(content.replace(offsets, damaged))
    with pytest.raises(ManifestError, match=r"manifest_unreadable: .*set\.arrow: cannot be read as a table"):
        scanned(tmp_path / "set.arrow")
    if column == "image":
        with pytest.raises(InputError, match="archive_unreadable"):
            read(f"cell://image/2::{tmp_path}/set.arrow")


def test_text_that_is_not_utf8_in_an_arrow_file_is_a_problem_of_its_row(tmp_path):
    text = pa.array([b"a.wav", b"\xff", b"c.wav"]).view(pa.string())
    write_arrow(tmp_path / "set.arrow", pa.table({"image": ["p.png", "q.png", "r.png"], "audio": text}))
    records, (problem,), _ = scanned(tmp_path / "set.arrow")
    assert [record is None for record in records] == [False, True, False]
    assert (problem.row, problem.column) == (2, "audio")


def test_the_bytes_of_media_are_not_read_while_rows_are_copied(tmp_path, monkeypatch):
    n_bytes = 400_000
    contents = [bytes([i]) * n_bytes for i in range(20)]
    table = pa.table({"image": contents, "audio": ["s.wav"] * 20, "n": [*range(20)]})
    pq.write_table(table, tmp_path / "set.parquet", compression="none", use_dictionary=False)
    read_bytes = 0
    original = open_manifest(tmp_path / "set.parquet").open_reader

    class Counted(io.FileIO):
        def readinto(self, buffer):
            nonlocal read_bytes
            count = super().readinto(buffer)
            read_bytes += count
            return count

    monkeypatch.setattr("manifests.manifest.open_binary", lambda path: io.BufferedReader(Counted(path), 4096))
    assert original("set.parquet").columns == ("image", "audio", "n")
    rows = copied(tmp_path / "set.parquet", tmp_path / "run")
    assert rows.records == 20
    assert read_bytes < n_bytes


def test_rows_without_bytes_use_their_path_and_rows_without_both_are_empty(tmp_path):
    pictures = [{"bytes": b"a", "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    for name, groups in (("mixed", 3), ("split", 1)):
        table = pa.table({"image": pa.array(pictures, MEDIA), "audio": ["s.wav"] * 3})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=groups)
        records, (problem,), _ = scanned(tmp_path / f"{name}.parquet")
        assert (records[0].image.partition("::")[0], records[1].image) == ("cell://image/1", f"{tmp_path}/b.png")
        assert (problem.row, problem.column, problem.code) == (3, "image", "missing_value")


def test_a_remote_data_set_names_no_files_of_this_machine(tmp_path):
    import fsspec

    paths = ["a/b.png", "https://host/a.png", "/etc/passwd", "../b.png", "file:///etc/passwd", "zip://x::/etc/a.zip"]
    pictures = [{"bytes": None, "path": path} for path in paths]
    pq.write_table(pa.table({"image": pa.array(pictures, MEDIA), "audio": ["s.wav"] * 6}), tmp_path / "m.parquet")
    fsspec.filesystem("memory").pipe_file("/hostile/m.parquet", (tmp_path / "m.parquet").read_bytes())
    records, problems, _ = scanned("memory://hostile/m.parquet")
    assert [record and record.image for record in records[:2]] == ["memory://hostile/a/b.png", "https://host/a.png"]
    assert [(problem.row, problem.code) for problem in problems] == [(row, "path_outside") for row in (3, 4, 5, 6)]


def test_the_only_column_of_pictures_is_the_image_and_others_are_not_copied(tmp_path):
    table = media_table(3, image="face", audio="speech").replace_schema_metadata(hub_metadata(FEATURES))
    pq.write_table(table, tmp_path / "set.parquet")
    records, problems, summary = scanned(tmp_path / "set.parquet")
    assert problems == []
    assert read(records[2].image) == b"picture 2"
    assert summary.notes == ["column face is used as image", "column speech is used as audio"]
    columns, _ = extra(tmp_path / "set.parquet")
    assert columns.column_names == ["n"]

    both = table.append_column("mask", table.column("face")).replace_schema_metadata(
        hub_metadata({**FEATURES, "mask": {"_type": "Image"}})
    )
    pq.write_table(both.append_column("image", pa.array(["a.png"] * 3)), tmp_path / "both.parquet")
    records, _, summary = scanned(tmp_path / "both.parquet")
    assert records[0].image == f"{tmp_path}/a.png"
    assert "column mask holds media and is not passed through" in summary.notes


def test_a_folder_of_save_to_disk_is_read_and_caches_in_it_are_not(tmp_path):
    splits = ("train", "test")
    for number, split in enumerate(splits):
        write_arrow(tmp_path / split / "data-00000-of-00001.arrow", media_table(6, start=6 * number))
        write_arrow(tmp_path / split / "cache-1a2b.arrow", media_table(6))
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (tmp_path / split / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))

    records, problems, _ = scanned(tmp_path)
    assert problems == []
    assert [read(record.image) for record in records] == [b"picture %d" % i for i in range(12)]
    assert extra(tmp_path)[0].to_pydict() == {"n": [*range(12)], "split": ["train"] * 6 + ["test"] * 6}
    assert len(scanned(tmp_path / "test")[0]) == 6


def test_a_folder_of_save_to_disk_in_an_object_store_is_read_batch_by_batch(tmp_path, s3_bucket):
    import fsspec

    write_arrow(tmp_path / "set" / "data-00000-of-00001.arrow", media_table(6))
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    fsspec.filesystem("s3").put(str(tmp_path / "set"), f"{s3_bucket}/set", recursive=True)
    records, problems, _ = scanned(f"{s3_bucket}/set")
    assert problems == []
    assert records[5].image == f"cell://image/6::{s3_bucket}/set/data-00000-of-00001.arrow"
    assert read(records[5].image) == b"picture 5"
    assert extra(f"{s3_bucket}/set")[0].to_pydict() == {"n": [*range(6)]}


@pytest.mark.parametrize("form", [pa.ipc.new_stream, pa.ipc.new_file])
def test_a_remote_arrow_file_names_no_files_of_this_machine(tmp_path, form):
    import fsspec

    table = pa.table({"image": pa.array([{"bytes": None, "path": "/etc/passwd"}], MEDIA), "audio": ["s.wav"]})
    with form(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    fsspec.filesystem("memory").pipe_file("/hostile/a.arrow", (tmp_path / "a.arrow").read_bytes())
    _, problems, _ = scanned("memory://hostile/a.arrow")
    assert [problem.code for problem in problems] == ["path_outside"]
    fsspec.filesystem("memory").pipe_file("/hostile/b.arrow", (tmp_path / "a.arrow").read_bytes()[:-40])
    if form is pa.ipc.new_file:
        with pytest.raises(ManifestError, match=r"manifest_unreadable: b\.arrow"):
            scanned("memory://hostile/b.arrow")


@pytest.mark.parametrize("name", ["../../etc/x.arrow", "/etc/x.arrow", "..", 3])
def test_a_list_of_files_does_not_leave_its_folder(tmp_path, name):
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(ManifestError, match=r"manifest_unreadable: .*state.json: is damaged .*save the data set again"):
        open_manifest(tmp_path)


def test_a_repository_of_parquet_files_is_read_with_its_splits(tmp_path):
    for name in ("data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001-0a1b"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(media_table(2, start=10 * len(list(path.parent.iterdir()))), path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert extra(tmp_path)[0].column("split").to_pylist() == ["test"] * 2 + ["train"] * 4

    (tmp_path / "hub" / "train").mkdir(parents=True)
    pq.write_table(media_table(2), tmp_path / "hub" / "train" / "0000.parquet")
    records, problems, _ = scanned(tmp_path / "hub")
    assert problems == []
    assert records[0].image == f"cell://image/1::{tmp_path}/hub/train/0000.parquet"


def test_a_run_whose_rows_were_moved_with_their_data_set_finds_them(tmp_path):
    from manifests.run.manifest_file import RunManifest
    from manifests.storage import open_storage

    (tmp_path / "old").mkdir()
    pq.write_table(media_table(2), tmp_path / "old" / "set.parquet")
    copied(tmp_path / "old" / "set.parquet", tmp_path / "run")
    rows = RunManifest(open_storage(tmp_path / "run"), str(tmp_path / "new"))
    assert rows.read_shard(0).records[1].image == f"cell://image/2::{tmp_path}/new/set.parquet"


def test_consecutive_members_with_the_same_key_are_a_row(tmp_path):
    members = [
        ("a/0001.jpg", b"picture"),
        ("a/0001.wav", b"sound"),
        ("a/0001.txt", "naïve".encode()),
        ("a/0001.json", b'{"voice": "slt", "seed": 3, "image": "/etc/passwd"}'),
        ("README", b"no sample"),
        ("a/0002.image.png", b"second"),
        ("a/0002.mask.png", b"mask"),
        ("a/0002.FLAC", b"flac"),
    ]
    write_tar(tmp_path / "00000.tar", members)
    records, problems, _ = scanned(tmp_path / "00000.tar")
    assert problems == []
    first, second = records
    assert (first.id, first.given_seed, first.row) == ("00000-a/0001", 3, 1)
    assert [read(location) for location in (first.image, first.audio)] == [b"picture", b"sound"]
    assert [read(location) for location in (second.image, second.audio)] == [b"second", b"flac"]
    columns, _ = extra(tmp_path / "00000.tar")
    assert columns.to_pylist() == [
        {"__key__": "a/0001", "text": "naïve", "voice": "slt"},
        {"__key__": "a/0002", "text": None, "voice": None},
    ]


def test_tar_files_of_a_folder_are_one_manifest_whose_ids_are_unique(tmp_path):
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", [("x.jpg", b"p"), ("x.wav", b"s%d" % number), ("x.json", b'{"a": 1}')])
    records, problems, _ = scanned(tmp_path)
    assert problems == []
    assert [record.id for record in records] == ["0-x", "1-x", "2-x"]
    assert [read(record.audio) for record in records] == [b"s0", b"s1", b"s2"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([("1.jpg", b"p"), ("1.wav", b"s"), ("1.json", b"[1]")], "malformed_json"),
        ([("1.jpg", b"p"), ("1.wav", b"s"), ("1.txt", b"\xff")], "not_utf8"),
        ([("1.jpg", b"p"), ("1.wav", b"s"), ("1.txt", b"a" * (1 << 21))], "line_too_long"),
        ([("1.jpg", b"p"), ("1.png", b"p"), ("1.wav", b"s")], "member_ambiguous"),
        ([("1::a.jpg", b"p"), ("1::a.wav", b"s")], "member_unusable"),
        ([("1.jpg", b"p"), ("2.wav", b"s")], "missing_value"),
    ],
)
def test_a_bad_sample_is_a_problem_of_its_row(tmp_path, members, code):
    write_tar(tmp_path / "a.tar", [*members, ("z.jpg", b"p"), ("z.wav", b"s")])
    records, problems, _ = scanned(tmp_path / "a.tar")
    assert {problem.code for problem in problems} == {code}
    assert records[-1].id == "a-z"


def test_a_sample_whose_members_are_not_next_to_each_other_is_named(tmp_path):
    write_tar(tmp_path / "a.tar", [("1.jpg", b"p"), ("2.jpg", b"p"), ("1.wav", b"s"), ("2.wav", b"s")])
    _, problems, _ = scanned(tmp_path / "a.tar")
    assert [problem.code for problem in problems] == ["missing_value"] * 2 + ["sample_scattered"] * 2
    assert str(problems[2].text).endswith("expected all next to each other: make it with tar --sort=name")


def test_members_that_leave_the_archive_or_are_links_reach_no_file(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("../secret.jpg", tarfile.REGTYPE), ("1.jpg", tarfile.SYMTYPE), ("1.wav", tarfile.REGTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, str(tmp_path / "secret.jpg"), 0
            tar.addfile(entry)
    records, problems, _ = scanned(tmp_path / "a.tar")
    assert records == [None, None]
    assert {problem.code for problem in problems} == {"missing_value"}
    assert read(f"tar://../secret.jpg::{tmp_path}/a.tar") == b""  # of the archive
    with pytest.raises(InputError, match="file_missing"):
        read(f"tar://1.jpg::{tmp_path}/a.tar")


@pytest.mark.parametrize("content", [b"no tar", b"", b"\x1f\x8b\x08\x00 gzip", b"\0" * 10240])
def test_a_file_that_is_no_tar_file_or_has_no_sample_is_named(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ManifestError, match=r"a\.tar: (cannot be read as an uncompressed tar file|holds no sample)"):
        scanned(tmp_path / "a.tar")


def test_a_header_that_claims_a_huge_name_is_not_read(tmp_path):
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "a.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10240)
    with pytest.raises(ManifestError, match="a header of 1099511627776 bytes"):
        scanned(tmp_path / "a.tar")


def test_a_large_row_group_is_read_in_windows(tmp_path, monkeypatch):
    monkeypatch.setattr("manifests.cells.WINDOW_BYTES", 4_000)
    pq.write_table(pa.table({"image": [bytes([i]) * 1000 for i in range(50)]}), tmp_path / "a.parquet")
    cells = {member: bytes(content) for member, content in read_cells(tmp_path / "a.parquet", "image/21")}
    assert cells["image/21"] == bytes([20]) * 1000
    assert 1 < len(cells) < 10
    assert WINDOW_BYTES > 4_000


@pytest.mark.parametrize("member", ["image/0", "image/11", "image/-1", "image/x", "other/1", "image"])
def test_a_cell_that_does_not_exist_is_named(tmp_path, member):
    pq.write_table(media_table(10), tmp_path / "a.parquet")
    write_arrow(tmp_path / "a.arrow", media_table(10))
    for name in ("a.parquet", "a.arrow"):
        with pytest.raises(InputError, match=r"archive_unreadable: cell://"):
            read(f"cell://{member}::{tmp_path}/{name}")
