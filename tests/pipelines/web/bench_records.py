"""How long a run of 100,000 records takes to open, to sort and to turn the page; `make bench`."""

import resource
import time

import pytest

from pipelines.web.confined import Root
from pipelines.web.limits import Limits
from pipelines.web.records import Query
from pipelines.web.runs_browser import RunsBrowser
from tests.pipelines.report.runs import bad, good, made_run

N = 100_000
METRICS = tuple(f"number_{index}" for index in range(30))


def outcome(record):
    number = int(record.id)
    if number % 100 == 7:
        return bad(record)
    return good(record, **{name: float(number * (index + 7) % 9973) for index, name in enumerate(METRICS)})


@pytest.mark.bench
def test_measure_100_000_records(tmp_path):
    rows = ({"record_id": str(number), "image": "a", "audio": "b"} for number in range(N))
    made_run(tmp_path / "root/run", rows, outcome, manifests=tmp_path, shard_size=256)
    browser = RunsBrowser(Root(str(tmp_path / "root")), Limits())
    print()
    for what, query in (
        ("open, first page", Query()),
        ("again", Query()),
        ("first sort by a metric", Query(sort="metric_number_3", descending=True)),
        ("its page 4,000", Query(sort="metric_number_3", descending=True, page=3999)),
        ("sort by another", Query(sort="metric_number_4")),
        ("filter by status", Query(status="failed")),
        ("filter by id", Query(text="777")),
    ):
        started, cpu = time.monotonic(), time.process_time()
        run = browser.open("run")
        page = browser.records(run, query, table=False)
        browser.state(run), browser.failures(run), browser.choices(run)
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
        print(f"{what:24} {wall:6.2f} s, {cpu:6.2f} s of one core, {page.place}, {len(page.html) / 1024:.0f} KiB")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
