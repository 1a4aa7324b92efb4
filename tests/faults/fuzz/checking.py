"""The property that every manifest has: validating, copying into a run, and exporting agree about its rows."""

import io
import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from joyvasa.errors import JoyvasaError
from manifests.manifest import open_manifest
from manifests.run.json_rows import JsonRows
from manifests.run.manifest_file import MANIFEST, RunManifest, write_manifest
from manifests.scan import Scan
from manifests.storage import open_storage
from tests.faults.fuzz.fuzzing import call

CELLS = [
    "",
    "a.png",
    "b.wav",
    "human",
    "animal",
    "1",
    "-1",
    "1.5",
    "1e999",
    "nan",
    "0x1",
    "9" * 30,
    "../../x",
    "/a/b",
    "s3://b/k",
]
CELLS += [
    "http://[::1",
    "file:///%ff",
    "a::b",
    "a\x00b",
    "\u202e",
    "\ud800",
    "é",
    '"',
    '""',
    "a,b",
    "a\tb",
    "a\nb",
    "a\r\nb",
    " ",
    "'",
]
CELLS += ["memory://x", "~user/x", "\\\\host\\x", "C:\\x", "x" * 5000, "=1+1", "-", "null", "None", "１", "\x1b[31m"]


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def check(files):
    """Check that validating, copying into a run, and exporting agree about the rows."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file, content in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content)
        target = root / next(iter(files)) if len(files) == 1 else root
        out = root / ".run"
        out.mkdir()

        def validate(extra):
            scan = Scan(open_manifest(target))
            blocks = [*scan.blocks(extra=extra)]
            return (
                scan.summary,
                [record for block in blocks for record in block.records],
                [p for block in blocks for p in block.problems],
            )

        plain, full = call(lambda: validate(False)), call(lambda: validate(True))
        copied = call(lambda: write_manifest(Scan(open_manifest(target)), out / MANIFEST, shard_size=2))
        assert isinstance(full, JoyvasaError) == isinstance(copied, JoyvasaError), (full, copied)
        if isinstance(full, JoyvasaError):
            return
        assert not isinstance(plain, JoyvasaError), plain

        summary, records, problems = full
        assert plain == full
        assert summary.rows == len(records)
        assert summary.bad_rows == records.count(None)
        assert (summary.bad_rows > 0) == bool(problems)
        for problem in problems:
            assert problem.text.isprintable(), problem
            assert problem.place.isprintable(), problem
            assert len(problem.text) < 1000, problem
        for note in summary.notes:
            assert note.isprintable()

        good = [record for record in records if record]
        manifest = call(lambda: RunManifest(open_storage(out)))
        shards = call(lambda: [manifest.read_shard(number) for number in range(len(manifest))])
        again = [record for shard in shards for record in shard.records]
        assert [record.id for record in again] == [record.id for record in good]
        assert [(record.image, record.audio, record.given_seed) for record in again] == [
            (r.image, r.audio, r.given_seed) for r in good
        ]
        if good:
            rows = call(lambda: [row for shard in shards for row in JsonRows().convert(shard.table)])
            json.dumps(rows, allow_nan=False)
            second = Scan(open_manifest(out / MANIFEST))
            assert [record.id for block in second.blocks(extra=True) for record in block.records] == [
                record.id for record in good
            ]
