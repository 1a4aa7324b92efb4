import pytest

from manifests.problems import ManifestError
from manifests.run.events import EventLog, read_events
from manifests.storage import LocalStorage, open_storage


def test_events_are_read_in_the_order_in_which_they_were_written(storage):
    for start in (0, 5):
        with EventLog(storage) as log:
            for number in range(start, start + 5):
                log.write("step", number=number, text="line\ntwo")
    events = list(read_events(storage))
    assert [event["number"] for event in events] == list(range(10))
    assert {event["event"] for event in events} == {"step"}
    assert events[0]["time"] <= events[-1]["time"]


def test_local_events_are_written_at_once_and_an_incomplete_line_is_skipped(tmp_path):
    storage = LocalStorage(str(tmp_path))
    with EventLog(storage) as log:
        log.write("one")
        assert [event["event"] for event in read_events(storage)] == ["one"]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "to')
    with EventLog(storage) as log:
        log.write("two")
    assert [event["event"] for event in read_events(storage)] == ["one", "two"]


def test_a_run_without_events_has_none(storage):
    assert list(read_events(storage)) == []


def test_a_full_disk_gives_one_sentence_and_hides_no_other_error(tmp_path):
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    storage = LocalStorage(str(tmp_path))
    with EventLog(storage) as log, pytest.raises(ManifestError, match=r"output_unwritable: .*events.jsonl.*No space"):
        log.write("one")
    (tmp_path / "file").write_text("in the way")
    log = EventLog(open_storage("memory://events/run"))
    log.write("one")
    log._storage = LocalStorage(str(tmp_path / "file"))  # not writable
    log.__exit__(ZeroDivisionError)
    with pytest.raises(ManifestError, match="output_unwritable"):
        log.__exit__(None)


def test_numbers_that_json_does_not_have_are_text(storage):
    with EventLog(storage) as log:
        log.write("one", rate=float("nan"), more={"rest_s": float("inf")})
    assert [(event["rate"], event["more"]) for event in read_events(storage)] == [("NaN", {"rest_s": "Infinity"})]
