"""Time opening, sorting and paging a run of 100,000 records; `make bench`."""

import resource
import time

import pytest

from pipelines.runs.selection.options import SelectionOptions
from pipelines.web.confinement import RunsRoot
from pipelines.web.limits import Limits
from pipelines.web.records import Query
from pipelines.web.runs_browser import RunsBrowser
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, write_run

N = 100_000
METRICS = tuple(f"number_{index}" for index in range(30))


def outcome(record):
    number = int(record.id)
    if number % 100 == 7:
        return failed_outcome(record)
    return ok_outcome(record, **{name: float(number * (index + 7) % 9973) for index, name in enumerate(METRICS)})


@pytest.mark.bench
def test_measure_100_000_records(tmp_path):
    rows = ({"record_id": str(number), "image": "a", "audio": "b"} for number in range(N))
    write_run(tmp_path / "root/run", rows, outcome, manifests=tmp_path, shard_size=256)
    browser = RunsBrowser(RunsRoot(str(tmp_path / "root")), Limits())
    print()
    for title, query in (
        ("open, first page", Query()),
        ("again", Query()),
        ("first sort by a metric", Query(sort="metric_number_3", descending=True)),
        ("its page 4,000", Query(sort="metric_number_3", descending=True, page=3999)),
        ("sort by another", Query(sort="metric_number_4")),
        ("filter by status", Query(SelectionOptions(statuses=("failed",)))),
        ("select by two conditions", Query(SelectionOptions(where=("number_5 >= 500", "number_6 < 9000")))),
    ):
        started, cpu = time.monotonic(), time.process_time()
        run = browser.open("run")
        page = browser.render_records(run, query, table=False)
        browser.render_state(run), browser.render_failures(run), browser.list_choices(run)
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
        print(f"{title:24} {wall:6.2f} s, {cpu:6.2f} s of one core, {page.position}, {len(page.html) / 1024:.0f} KiB")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
