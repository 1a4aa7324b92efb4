"""The loop with the local executor; tests with worker processes are in test_executors and tests/faults."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from joyvasa.errors import ConfigError
from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.engine import loop
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import EventKind
from pipelines.engine.executors import base as executor_base
from pipelines.engine.executors.base import BatchDone, PayloadLost
from pipelines.engine.executors.local import LocalExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.interrupts import RunInterrupted, RunStopped
from pipelines.engine.loop import run_pipeline
from stages.base import Ok, Stage
from stages.failures import classify_exception, map_batch
from tests.pipelines.engine import toy_stages
from tests.pipelines.engine.toy_stages import (
    QUICK,
    BrokenSetup,
    Draw,
    Nothing,
    Shared,
    Slow,
    Trouble,
    diamond,
    read_notes,
    records,
    single_stage,
)


def finish(pipeline, rows, config=QUICK, executor=None, on_event=None):
    return toy_stages.finish(pipeline, rows, executor or LocalExecutor(), config, on_event)


def values(finished):
    return {name: record.facts["commit"]["value"] for name, record in finished.items()}


def test_every_record_is_finished_exactly_once_with_the_facts_of_all_stages():
    finished, statistics = finish(diamond(batch_size=4), records(50))
    assert finished.keys() == {f"r{i}" for i in range(50)}
    assert all(record.status is Status.OK and record.attempts == 1 for record in finished.values())
    assert all(
        record.facts.keys() == {"portrait", "speech", "motion", "render", "commit"} for record in finished.values()
    )
    assert (statistics.ok, statistics.admitted, statistics.in_flight) == (50, 50, 0)
    assert statistics.stages["render"].records == 50


def test_without_records_no_worker_starts():
    _, statistics = finish(single_stage(BrokenSetup()), [])
    assert statistics.admitted == 0


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_batch_size_and_order_change_no_result(batch_size):
    expected, _ = finish(diamond(batch_size=3), records(40))
    finished, _ = finish(diamond(batch_size=batch_size), reversed(records(40)))
    assert values(finished) == values(expected)


def test_records_that_share_a_key_are_computed_once(tmp_path):
    pipeline = single_stage(Shared(tmp_path), share=lambda record, facts: record.image, batch_size=4)
    rows = records(60, image={i: f"face{i % 3}" for i in range(60)})
    finished, statistics = finish(pipeline, rows)
    assert sorted(read_notes(tmp_path / "shared")) == ["face0", "face1", "face2"]
    assert all(record.status is Status.OK for record in finished.values())
    assert (statistics.stages["only"].records, statistics.stages["only"].shared) == (3, 57)


@pytest.mark.parametrize("bound", [{"cache_entries": 2}, {"cache_bytes": 250}])
def test_an_evicted_result_is_computed_again(tmp_path, bound):
    pipeline = single_stage(Shared(tmp_path, n_bytes=100), share=lambda record, facts: record.image, **bound)
    order = ["a", "b", "a", "c", "a", "b"]  # when c comes, b is the least recently used of two
    rows = records(6, image=dict(enumerate(order)))
    finish(pipeline, rows, EngineConfig(max_records=1))
    assert read_notes(tmp_path / "shared") == ["a", "b", "c", "b"]


def test_a_failed_shared_computation_fails_each_of_its_records_with_the_same_reason(tmp_path):
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Shared(tmp_path), share=lambda record, facts: record.image),
            StageSpec(name="commit", stage=Nothing(), inputs=("portrait",)),
        )
    )
    rows = records(30, image={i: "bad" if i % 2 else "good" for i in range(30)})
    finished, _ = finish(pipeline, rows)
    reasons = {record.rejection for name, record in finished.items() if int(name[1:]) % 2}
    assert len(reasons) == 1
    (reason,) = reasons
    assert (reason.status, reason.stage, reason.code) == (Status.FAILED, "portrait", "image_unreadable")
    assert all(record.status is Status.OK for name, record in finished.items() if not int(name[1:]) % 2)
    assert read_notes(tmp_path / "shared").count("bad") == 1


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    ("trouble", "status", "code", "runs"),
    [
        ("bad_input", Status.FAILED, "audio_unreadable", 1),
        ("raise_bad_input", Status.FAILED, "audio_unreadable", None),
        ("nan", Status.QUARANTINED, "not_finite", 1),
        ("io", Status.FAILED, "storage", 4),
        ("io_twice", Status.OK, None, 3),
        ("raise", Status.QUARANTINED, "unexpected_error", None),
        ("raise_once", Status.OK, None, None),
        ("contract", Status.QUARANTINED, "stage_contract", None),
        ("out_of_memory", Status.QUARANTINED, "out_of_memory", None),
        ("out_of_memory_in_company", Status.OK, None, None),
        ("sys_exit", Status.QUARANTINED, "worker_exited", None),
    ],
)
def test_a_failure_is_isolated_to_its_record(tmp_path, trouble, status, code, runs, batch_size):
    pipeline = single_stage(Trouble(tmp_path), batch_size=batch_size)
    finished, _ = finish(pipeline, records(20, trouble={7: trouble}))
    guilty = finished.pop("r7")
    assert guilty.status is status
    if code:
        assert (guilty.rejection.code, guilty.rejection.stage) == (code, "only")
    if runs:
        assert guilty.attempts == runs == read_notes(tmp_path / "trouble").count("r7")
    assert len(finished) == 19
    assert all(record.status is Status.OK for record in finished.values())


def test_waiting_for_a_service_delays_no_other_record(tmp_path):
    config = EngineConfig(io_backoff_s=0.5)
    order = []
    pipeline = single_stage(Trouble(tmp_path))
    rows = records(20, trouble={0: "io_twice"})
    run_pipeline(pipeline, rows, lambda record: order.append(record.record.id), executor=LocalExecutor(), config=config)
    assert order[-1] == "r0"


def test_a_full_disk_stops_the_run_and_fails_no_record(tmp_path):
    finished = []
    pipeline = single_stage(Trouble(tmp_path))
    with pytest.raises(RunStopped, match="No space left"):
        run_pipeline(pipeline, records(20, trouble={9: "disk_full"}), finished.append, executor=LocalExecutor())
    assert len(finished) == 9
    assert all(record.status is Status.OK for record in finished)


def test_setup_that_always_fails_stops_the_run_with_its_reason():
    with pytest.raises(RunStopped, match=r"stage only: setup failed 3 times in a row.*weights\.safetensors"):
        finish(single_stage(BrokenSetup()), records(3))


def test_a_stage_that_fails_for_every_record_stops_the_run(tmp_path):
    pipeline = single_stage(Trouble(tmp_path))
    rows = records(100, trouble=dict.fromkeys(range(100), "nan"))
    with pytest.raises(RunStopped, match="the first 16 records were all quarantined"):
        finish(pipeline, rows)


def test_priority_orders_records_within_the_window():
    rows = [Record(id=str(i), seed=i, priority=priority) for i, priority in enumerate([0, 0, 5, 0, 0, 0, 9, 5])]
    config = EngineConfig(max_records=1, look_ahead=5)
    order = list(finish(single_stage(Nothing()), rows, config)[0])
    assert order == ["2", "0", "6", "7", "1", "3", "4", "5"]  # row 6 enters the window after the second record


def test_the_manifest_is_read_only_as_room_becomes_free():
    n_read = 0
    n_finished = 0

    def rows():
        nonlocal n_read
        for record in records(500):
            n_read += 1
            assert n_read <= n_finished + 20 + 10  # in flight and in the window
            yield record

    def on_finished(record):
        nonlocal n_finished
        n_finished += 1

    config = EngineConfig(max_records=20, look_ahead=10)
    run_pipeline(diamond(batch_size=4), rows(), on_finished, executor=LocalExecutor(), config=config)
    assert n_finished == 500


def test_payloads_in_flight_stay_below_the_limit(monkeypatch):
    pipeline = Pipeline(
        (
            StageSpec(name="make", stage=Draw("make", n_bytes=1000), batch_size=4),
            StageSpec(name="use", stage=Draw("use"), inputs=("make",)),
        )
    )
    most = 0

    def on_event(event):
        nonlocal most
        if event.kind is EventKind.PROGRESS:
            most = max(most, event.data["bytes_in_flight"])

    monkeypatch.setattr(loop, "PROGRESS_S", 0.0)
    config = EngineConfig(max_records=1000, max_bytes=20_000)
    _, statistics = finish(pipeline, records(300), config, on_event=on_event)
    assert 4000 <= most <= 20_000
    assert statistics.bytes_in_flight == 0


def test_a_batch_contains_records_of_one_bucket_and_is_full_if_possible():
    batches = []

    class Watch(Stage):
        def run(self, batch):
            batches.append([item.record.seed % 3 for item in batch])
            return [Ok() for _ in batch]

    pipeline = Pipeline(
        (
            StageSpec(name="speech", stage=Draw("speech"), batch_size=7),
            StageSpec(
                name="motion",
                stage=Watch(),
                inputs=("speech",),
                batch_size=4,
                bucket=lambda record, facts: facts["speech"]["windows"],
            ),
        )
    )
    finish(pipeline, records(63))
    assert all(len(set(batch)) == 1 for batch in batches)
    assert sorted(map(len, batches)) == [1] * 3 + [4] * 15


def test_a_partial_batch_is_sent_immediately_if_no_other_record_follows_and_after_a_delay_otherwise():
    start = time.monotonic()
    finish(single_stage(Nothing(), batch_size=16, batch_wait_s=60), records(3))
    assert time.monotonic() - start < 10
    finished, _ = finish(
        single_stage(Nothing(), batch_size=16, batch_wait_s=0.02), records(9), EngineConfig(max_records=3)
    )
    assert len(finished) == 9


class LosingExecutor(LocalExecutor):
    """Lose a payload of one record several times; that of a given stage, or of any."""

    def __init__(self, record, times, lost=None):
        super().__init__()
        self.record, self.times, self.lost = record, times, lost

    def submit(self, worker, ticket, entries):
        sent = {name for e in entries if e.record.id == self.record for name in e.references}
        if self.times and (self.lost in sent if self.lost else sent):
            self.times -= len(entries) == 1
            self._reports.append(PayloadLost(ticket, "ObjectLostError"))
        else:
            super().submit(worker, ticket, entries)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_lost_payload_is_computed_again(tmp_path, batch_size):
    pipeline = Pipeline(
        (
            StageSpec(name="a", stage=Draw("a", tmp_path), batch_size=4),
            StageSpec(name="b", stage=Draw("b", tmp_path), inputs=("a",), batch_size=batch_size),
            StageSpec(name="c", stage=Draw("c"), inputs=("a", "b"), batch_size=4),
        )
    )
    expected, _ = finish(pipeline, records(20))
    finished, _ = finish(pipeline, records(20), executor=LosingExecutor("r7", 3))
    assert {k: v.facts["c"] for k, v in finished.items()} == {k: v.facts["c"] for k, v in expected.items()}
    assert read_notes(tmp_path / "a").count("r7") >= 4
    assert max(read_notes(tmp_path / "a").count(f"r{i}") for i in range(20) if i != 7) == 2  # once for each run


def test_a_shared_payload_that_is_lost_is_computed_again_for_all(tmp_path):
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Shared(tmp_path), share=lambda record, facts: record.image),
            StageSpec(name="render", stage=Draw("render"), inputs=("portrait",), batch_size=4),
        )
    )
    rows = records(12, image=dict.fromkeys(range(12), "face"))
    finished, _ = finish(pipeline, rows, executor=LosingExecutor("r5", 1))
    assert all(record.status is Status.OK for record in finished.values())
    assert len(read_notes(tmp_path / "shared")) == 2


def test_a_record_whose_payloads_are_always_lost_is_quarantined():
    pipeline = diamond(batch_size=4)
    finished, _ = finish(pipeline, records(12), executor=LosingExecutor("r5", 1000))
    assert {name for name, record in finished.items() if record.status is not Status.OK} == {"r5"}
    assert finished["r5"].rejection.code == "payload_lost"


def test_a_later_record_is_not_blamed_for_the_lost_payloads_of_a_result_that_it_shares():
    share = {"share": lambda record, facts: record.image}
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Draw("portrait")),
            StageSpec(name="motion", stage=Draw("motion"), inputs=("portrait",), **share),
        )
    )
    rows = records(2, image=dict.fromkeys(range(2), "face"))
    config = replace(QUICK, max_records=1)
    finished, _ = finish(pipeline, rows, executor=LosingExecutor("r0", 1000), config=config)
    assert finished["r0"].rejection.code == "payload_lost"
    assert finished["r1"].status is Status.OK


class CrowdedExecutor(LocalExecutor):
    """Have as many places as given; further workers wait for the end of others."""

    def __init__(self, places):
        super().__init__()
        self.places, self.waiting, self.ended = places, [], []

    def count_workers(self, spec):
        return spec.workers

    def start_worker(self, worker, spec):
        self.waiting.append((worker, spec))

    def find_obstacles(self, waiting, idle):
        without_place = {number for number, _ in self.waiting}
        ready = [other for other in idle if other not in without_place]
        self.ended += ready[:1]
        return [other for other in idle if other in without_place] + ready[:1] if ready else []

    def kill_worker(self, worker):
        self.waiting = [(number, spec) for number, spec in self.waiting if number != worker]
        super().kill_worker(worker)

    def wait(self, timeout_s, on_progress):
        while self.waiting and len(self._stages) < self.places:
            super().start_worker(*self.waiting.pop(0))
        return super().wait(timeout_s, on_progress)


def test_an_idle_worker_ends_for_a_stage_with_work_that_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "ROOM_S", 0.3)
    pipeline = Pipeline(
        (
            StageSpec(name="a", stage=Draw("a"), workers=5),
            StageSpec(name="b", stage=Draw("b", tmp_path), inputs=("a",), workers=2),
        )
    )
    events = []
    finished, _ = finish(pipeline, records(20), executor=CrowdedExecutor(places=3), on_event=events.append)
    assert {record.status for record in finished.values()} == {Status.OK}
    assert sorted(read_notes(tmp_path / "b")) == sorted(finished)
    ended = [event for event in events if event.kind is EventKind.WORKER_ENDED]
    assert {event.stage for event in ended} == {"a"}
    assert "stage b has work, but not all of its workers find room" in ended[0].data["sentence"]
    assert not [event for event in events if event.kind is EventKind.WORKER_LOST]


def test_the_last_worker_of_a_stage_ends_for_no_other_one(monkeypatch):
    monkeypatch.setattr(loop, "ROOM_S", 0.05)
    specs = [StageSpec(name="a", stage=Draw("a")), StageSpec(name="b", stage=Draw("b"), inputs=("a",))]
    executor = CrowdedExecutor(places=1)
    with pytest.raises(RunStopped, match="no_worker: stage b"):
        finish(Pipeline(tuple(specs)), records(3), EngineConfig(start_limit_s=0.5), executor)
    assert executor.ended == []


def test_results_are_shared_by_the_facts_of_earlier_stages(tmp_path):
    class HashContent(Stage):
        def run(self, batch):
            return [Ok("never sent on", {"content": item.record.image[0]}) for item in batch]

    class Alone(Shared):
        def run(self, batch):
            assert not any(item.inputs for item in batch)
            return super().run(batch)

    pipeline = Pipeline(
        (
            StageSpec(name="hash_content", stage=HashContent(), batch_size=4),
            StageSpec(
                name="portrait",
                stage=Alone(tmp_path),
                after=("hash_content",),
                share=lambda record, facts: facts["hash_content"]["content"],
            ),
        )
    )
    names = ["anna.jpg", "bert.jpg", "also-anna.jpg", "a-third.jpg"]
    finished, statistics = finish(pipeline, records(4, image=dict(enumerate(names))))
    assert len(finished) == 4
    assert (statistics.stages["portrait"].records, statistics.stages["portrait"].shared) == (2, 2)
    assert len(read_notes(tmp_path / "shared")) == 2


def with_alternatives(*stages, n_bytes=0):
    """Return a pipeline with one alternative for each remainder of seed / 3, between stages for all records."""

    def spec(number, stage):
        def only(record):
            return record.seed % 3 == number

        return StageSpec(name=f"portrait-{number}", stage=stage, output="portrait", only=only, inputs=("speech",))

    return Pipeline(
        (
            StageSpec(name="speech", stage=Draw("speech", n_bytes=n_bytes), batch_size=4),
            *(spec(number, stage) for number, stage in enumerate(stages)),
            StageSpec(name="render", stage=Draw("render"), inputs=("portrait", "speech"), batch_size=4),
        )
    )


def test_a_record_passes_the_one_alternative_that_is_for_it(tmp_path):
    pipeline = with_alternatives(*(Draw(f"kind{n}", tmp_path, n_bytes=10) for n in range(3)), n_bytes=10)
    finished, statistics = finish(pipeline, records(40))
    for number in range(3):
        ids = {f"r{i}" for i in range(number, 40, 3)}
        assert sorted(read_notes(tmp_path / f"kind{number}")) == sorted(ids)
        assert statistics.stages[f"portrait-{number}"].records == len(ids)
    for record in finished.values():
        assert record.facts.keys() == record.seconds.keys() == {"speech", "portrait", "render"}
        assert record.facts["render"]["value"] > record.facts["portrait"]["value"]
    assert statistics.bytes_in_flight == 0


def test_an_alternative_that_fails_harms_only_its_own_records(tmp_path):
    pipeline = with_alternatives(Draw("kind0"), Trouble(tmp_path), Draw("kind2"))
    rows = records(30, trouble={i: "nan" if i % 2 else "bad_input" for i in (1, 4, 7)})
    finished, statistics = finish(pipeline, rows)
    bad = {name: record.rejection for name, record in finished.items() if record.rejection}
    assert bad.keys() == {"r1", "r4", "r7"}
    assert {rejection.stage for rejection in bad.values()} == {"portrait-1"}
    stage = statistics.stages["portrait-1"]
    assert (stage.records, stage.failed, stage.quarantined) == (7, 1, 2)


@pytest.mark.parametrize("seed", [7, 8])
def test_a_lost_payload_is_computed_again_by_the_same_alternative(tmp_path, seed):
    pipeline = with_alternatives(*(Draw(f"kind{n}", tmp_path) for n in range(3)))
    finished, _ = finish(pipeline, records(12), executor=LosingExecutor(f"r{seed}", 2, "portrait"))
    assert all(record.status is Status.OK for record in finished.values())
    assert read_notes(tmp_path / f"kind{seed % 3}").count(f"r{seed}") == 3
    assert all(len(read_notes(tmp_path / f"kind{n}")) == 4 for n in range(3) if n != seed % 3)


def optional(stage):
    return Pipeline(
        (
            StageSpec(name="render", stage=Draw("render"), batch_size=4),
            StageSpec(name="score", stage=stage, inputs=("render",), optional=True, batch_size=4),
            StageSpec(name="commit", stage=Draw("commit"), inputs=("render",), after=("score",), batch_size=4),
        )
    )


def test_a_record_that_an_optional_stage_rejects_continues_without_its_result(tmp_path):
    rows = records(20, trouble={3: "bad_input", 8: "nan", 11: "raise"})
    finished, statistics = finish(optional(Trouble(tmp_path)), rows)
    assert (statistics.ok, statistics.failed, statistics.quarantined) == (20, 0, 0)
    reasons = {name: record.facts["score"].get("error_code") for name, record in finished.items()}
    assert {name for name, code in reasons.items() if code} == {"r3", "r8", "r11"}
    expected, _ = finish(optional(Nothing()), records(20))
    assert values(finished) == values(expected)


def test_no_stage_may_need_the_payload_of_an_optional_stage():
    pipeline = optional(Nothing()).stages
    with pytest.raises(ConfigError, match="needs the payload of score, which is optional"):
        Pipeline((*pipeline[:2], StageSpec(name="commit", stage=Nothing(), inputs=("render", "score"))))


@pytest.mark.parametrize("number", [0, 2])
def test_a_record_that_passes_none_or_several_alternatives_ends_the_run(number):
    two_way, three_way = with_alternatives(Nothing(), Nothing()), with_alternatives(Nothing(), Nothing(), Nothing())
    extra = StageSpec(name="extra", stage=Nothing(), output="portrait", only=lambda record: record.seed == 2)
    pipeline = two_way if number == 0 else Pipeline((*three_way.stages, extra))
    with pytest.raises(ConfigError, match=f"record r2: {number} of the stages that make portrait"):
        finish(pipeline, records(9))


def test_an_exception_of_the_callback_ends_the_run_and_closes_the_executor():
    class Closing(LocalExecutor):
        closed = False

        def close(self):
            Closing.closed = True
            super().close()

    def on_finished(record):
        raise OSError("read-only")

    with pytest.raises(OSError, match="read-only"):
        run_pipeline(diamond(), records(5), on_finished, executor=Closing())
    assert Closing.closed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_promptly(number):
    before = signal.getsignal(number)
    pipeline = single_stage(Draw("slow", seconds=20))
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    start = time.monotonic()
    with pytest.raises(RunInterrupted, match=number.name):
        finish(pipeline, records(5))
    assert time.monotonic() - start < 5
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_interrupt_the_removal_of_scratch_files():
    class Closing(LocalExecutor):
        closed = False

        def close(self):
            os.kill(os.getpid(), signal.SIGINT)
            super().close()
            Closing.closed = True

    before = signal.getsignal(signal.SIGINT)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(RunInterrupted, match="SIGINT"):
        run_pipeline(single_stage(Draw("slow", seconds=20)), records(5), lambda _: None, executor=Closing())
    assert Closing.closed
    assert signal.getsignal(signal.SIGINT) is before


def test_events_report_every_rejected_record_and_the_end(tmp_path):
    events = []
    pipeline = single_stage(Trouble(tmp_path))
    finish(pipeline, records(10, trouble={3: "nan", 4: "bad_input"}), on_event=events.append)
    rejected = [event.data for event in events if event.kind is EventKind.RECORD_REJECTED]
    assert {(data["record"], data["status"], data["code"]) for data in rejected} == {
        ("r3", "quarantined", "not_finite"),
        ("r4", "failed", "audio_unreadable"),
    }
    assert events[0].kind is EventKind.RUN_STARTED
    assert events[-1].kind is EventKind.RUN_ENDED
    assert (events[-1].data["ok"], events[-1].data["error"]) == (8, None)
    assert events[-1].data["stages"]["only"]["quarantined"] == 1


def test_the_last_event_states_why_the_run_ended_early(tmp_path):
    events = []
    with pytest.raises(RunStopped):
        finish(single_stage(Trouble(tmp_path)), records(9, trouble={3: "disk_full"}), on_event=events.append)
    assert events[-1].kind is EventKind.RUN_ENDED
    assert "No space left" in events[-1].data["error"]


def test_events_are_plain_values(tmp_path):
    finish(
        single_stage(Trouble(tmp_path), batch_size=4),
        records(20, trouble={3: "raise", 8: "sys_exit"}),
        on_event=lambda event: json.dumps([event.kind, event.stage, dict(event.data)]),
    )


def test_the_local_executor_does_not_import_ray():
    code = "import sys, pipelines.engine.loop, pipelines.engine.executors.local; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("specs", "text"),
    [
        ([], "no stage"),
        ([("a", ()), ("a", ())], "two stages are named a"),
        ([("a", ("b",))], "a needs b"),
        ([("a", ("b",)), ("b", ("a",))], "wait for each other"),
        ([("a", ("a",))], "wait for each other"),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused(specs, text):
    with pytest.raises(ConfigError, match=text):
        Pipeline(tuple(StageSpec(name=name, stage=Nothing(), inputs=inputs) for name, inputs in specs))


def test_two_stages_for_all_records_with_the_same_output_are_refused():
    specs = [StageSpec(name=name, stage=Nothing(), output="portrait") for name in "ab"]
    with pytest.raises(ConfigError, match="two stages make portrait of all records"):
        Pipeline(tuple(specs))


@pytest.mark.parametrize("num_gpus", [0.3, 0.18, 1.25, -1])
def test_an_inexact_share_of_a_gpu_is_refused(num_gpus):
    with pytest.raises(ConfigError, match="num_gpus"):
        StageSpec(name="a", stage=Nothing(), num_gpus=num_gpus)


@pytest.mark.parametrize("num_gpus", [0, 0.25, 1 / 3, 0.5, 1, 2])
def test_an_exact_share_of_a_gpu_is_accepted(num_gpus):
    StageSpec(name="a", stage=Nothing(), num_gpus=num_gpus)


def test_outcomes_of_finished_records_are_ignored(tmp_path):
    """Speech fails a record while its portrait is still running."""

    class Reversed(LocalExecutor):
        def submit(self, worker, ticket, entries):
            super().submit(worker, ticket, entries)
            self._batches.rotate(1)

    specs = (
        StageSpec(name="portrait", stage=Nothing()),
        StageSpec(name="speech", stage=Trouble(tmp_path)),
        StageSpec(name="render", stage=Nothing(), inputs=("portrait", "speech")),
    )
    for order in itertools.permutations(specs):
        rows = records(9, trouble={0: "nan", 5: "bad_input"})
        finished, statistics = finish(Pipeline(order), rows, executor=Reversed())
        assert len(finished) == 9
        assert (statistics.ok, statistics.failed, statistics.quarantined, statistics.in_flight) == (7, 1, 1, 0)


def test_the_executor_reports_one_outcome_per_entry():
    with pytest.raises(ValueError, match="zip"):
        finish(diamond(), records(2), executor=_Miscounting())


class _Miscounting(LocalExecutor):
    def wait(self, timeout_s, on_progress):
        reports = super().wait(timeout_s, on_progress)
        return [BatchDone(r.ticket, (), (), 0.0) if isinstance(r, BatchDone) else r for r in reports]


def test_an_error_of_the_driver_during_a_batch_ends_the_run_and_fails_no_record(monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "PROGRESS_S", 0.0)
    monkeypatch.setattr(executor_base, "PROGRESS_S", 0.0)
    finished = []

    def on_event(event):
        if event.kind is EventKind.PROGRESS and event.data["stages"]["only"]["partial_records"]:
            (tmp_path / "seen").touch()
            raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OSError, match="disk full"):
        run_pipeline(
            single_stage(Slow(tmp_path / "seen")),
            records(4),
            finished.append,
            executor=LocalExecutor(),
            on_event=on_event,
        )
    assert finished == []


class Interrupted(Stage):
    """Receive a signal in the middle of a record, and convert every exception to an outcome."""

    def run(self, batch):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)  # the handler runs between two instructions
        except BaseException as error:
            return [classify_exception(RuntimeError(repr(error))) for _ in batch]
        return [Ok() for _ in batch]


CALLS: list[int] = []


class Isolating(Stage):
    """Repeat the entries of a failed batch one at a time; a signal arrives during the first call."""

    def run(self, batch):
        return map_batch(batch, self._call)

    def _call(self, entries):
        CALLS.append(len(entries))
        os.kill(os.getpid(), signal.SIGINT)
        return [Ok() for _ in entries]


def test_a_signal_during_a_batch_is_no_failure_after_which_its_records_run_one_at_a_time():
    CALLS.clear()
    with pytest.raises(RunInterrupted):
        run_pipeline(single_stage(Isolating(), batch_size=4), records(4), print, executor=LocalExecutor(), config=QUICK)
    assert CALLS == [4]


class _Compiled(LocalExecutor):
    """Behave like an extension module that is interrupted by a signal during a call."""

    def wait(self, timeout_s, on_progress):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error


def test_a_signal_during_compiled_code_is_reported_as_one():
    events = []
    with pytest.raises(RunInterrupted, match="SIGTERM"):
        run_pipeline(diamond(), records(4), print, executor=_Compiled(), config=QUICK, on_event=events.append)
    assert "SIGTERM" in events[-1].data["error"]


def test_a_signal_that_a_stage_swallows_fails_no_record():
    finished = []
    with pytest.raises(RunInterrupted):
        run_pipeline(single_stage(Interrupted()), records(4), finished.append, executor=LocalExecutor(), config=QUICK)
    assert finished == []
