"""Progress is shown as bars on a terminal, otherwise as lines or not at all."""

from dataclasses import asdict

import pytest

from pipelines.cli import progress
from pipelines.cli.progress import ProgressDisplay, format_duration, run_progress, training_progress
from pipelines.engine.events import Event, EventKind
from pipelines.engine.statistics import Estimate
from pipelines.training import step_printer

STATISTICS = {
    "ok": 2,
    "failed": 1,
    "quarantined": 0,
    "records": 10,
    "elapsed_s": 6.0,
    "first_batch_s": 1.0,
    "stages": {
        "portrait": {"records": 4, "shared": 3, "partial_records": 0.5, "workers": 1},
        "render": {"records": 0, "shared": 0, "partial_records": 0.0, "workers": 0},
    },
    "estimate": asdict(Estimate(84.0, True, "portrait", "frame", 1234.0, 12.34)),
}
STARTING = STATISTICS | {"ok": 0, "failed": 0, "first_batch_s": None, "estimate": asdict(Estimate())}
EARLY = STATISTICS | {"estimate": asdict(Estimate(0.01, True, "portrait", "record", 4.0, 891.0))}
REJECTED = {"status": "failed", "record": "r1", "code": "image_empty", "sentence": "a[0].png: is empty"}


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")


def step_values(**values):
    return {"loss": 0.5, "validation_loss": None, "samples_per_s": 8.0, "compute_share": 0.9, **values}


def test_a_terminal_shows_bars_with_count_and_rate_and_a_new_bar_for_each_round(terminal, capsys):
    with ProgressDisplay(keep=True) as display:
        assert display.visible
        for done in (0, 1, 7, 2):
            display.update("frames", done, 9)
        display.update("rows", 5, note="slow")
        display.print_line("a line [with brackets]")
    shown = capsys.readouterr().err
    final = shown[shown.rindex("a line [with brackets]") :]
    assert "7/9" in final
    assert "2/9" in final
    assert "/s" in final
    assert "5/?" in final
    assert "slow" in final


def test_without_a_terminal_only_lines_are_printed(capsys):
    for enabled in (True, False):
        with ProgressDisplay(enabled=enabled) as display:
            display.update("frames", 1, 9)
            display.print_line("a line")
    assert capsys.readouterr().err == "a line\na line\n"


def test_without_a_terminal_a_long_step_is_a_line_at_intervals(monkeypatch, capsys):
    times = iter([0.0, 0.0, 10.0, 15.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with ProgressDisplay() as display:
        for done in (0, 500, 600, 1000):
            display.update("rows", done, 4000)
    assert capsys.readouterr().err.splitlines() == [
        "rows: 500 of 4,000, 50.00/s, 1 min 10 s left",
        "rows: 1,000 of 4,000, 50.00/s, 1 min 00 s left",
    ]


def test_a_display_can_be_disabled_on_a_terminal(terminal, capsys):
    with ProgressDisplay(enabled=False) as display:
        display.update("frames", 1, 9)
    assert capsys.readouterr().err == ""


def test_a_run_is_shown_as_lines(monkeypatch, capsys):
    with run_progress() as on_event:
        on_event(Event(EventKind.PROGRESS, data=STATISTICS))  # too soon for a line
        on_event(Event(EventKind.RECORD_REJECTED, stage="portrait", data=REJECTED))
        monkeypatch.setattr(progress, "LINE_S", 0.0)
        on_event(Event(EventKind.PROGRESS, data=STARTING))
        on_event(Event(EventKind.PROGRESS, data=EARLY))
        on_event(Event(EventKind.PROGRESS, data=STATISTICS))
    assert capsys.readouterr().err.splitlines() == [
        "failed: r1: portrait: image_empty: a[0].png: is empty",
        "6 s: 0 of 10 records; workers are starting",
        "6 s: 3 of 10 records; workers are starting: render",
        "6 s: 3 of 10 records; slowest stage portrait, 1,234 frames, 12.3 frames/s; at least 1 min 24 s left",
        "failures by reason: 1",
        "  1  failed  portrait  image_empty",
    ]


def test_many_failures_are_counted_by_reason_and_the_first_ones_are_printed(capsys):
    lost = REJECTED | {"status": "quarantined", "code": "worker_lost"}
    with run_progress() as on_event:
        for _ in range(1200):
            on_event(Event(EventKind.RECORD_REJECTED, stage="portrait", data=REJECTED))
        on_event(Event(EventKind.RECORD_REJECTED, stage="render", data=lost))
    assert capsys.readouterr().err.splitlines() == [
        *["failed: r1: portrait: image_empty: a[0].png: is empty"] * 5,
        "quarantined: r1: render: worker_lost: a[0].png: is empty",
        "failures by reason: 1,201",
        "  1,200  failed       portrait  image_empty",
        "      1  quarantined  render    worker_lost",
    ]


def test_a_run_is_shown_as_bars(terminal, capsys):
    with run_progress() as on_event:
        on_event(Event(EventKind.PROGRESS, data=STATISTICS))
        on_event(Event(EventKind.RECORD_REJECTED, stage="portrait", data=REJECTED))
    shown = capsys.readouterr().err
    assert "failed: r1: portrait: image_empty: a[0].png: is empty" in shown
    assert "3/10 at least 1 min 24 s left" in shown.replace("  ", " ")
    assert "7/10 1,234 frames, 12.3 frames/s" in shown.replace("  ", " ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (84, "1 min 24 s"), (7500, "2 h 05 min"), (273_600, "3 d 4 h")],
)
def test_durations_have_two_units(seconds, text):
    assert format_duration(seconds) == text


def test_training_is_shown_as_lines_at_intervals_and_at_validations(monkeypatch, capsys):
    monkeypatch.setattr(step_printer, "LINE_S", 1000.0)
    monkeypatch.setattr(step_printer.time, "monotonic", lambda: 5000.0)
    with training_progress(1000) as on_step:
        for step in (1, 2, 3, 1000):
            on_step(step, step_values(validation_loss=0.25 if step == 3 else None))
    assert capsys.readouterr().err.splitlines() == [
        "step 1 of 1,000: loss 0.5000, 8.0 samples/s, 90.0% compute",
        "step 3 of 1,000: loss 0.5000, validation 0.2500, 8.0 samples/s, 90.0% compute",
        "step 1,000 of 1,000: loss 0.5000, 8.0 samples/s, 90.0% compute",
    ]


def test_names_that_look_like_markup_are_shown_as_they_are(terminal, capsys):
    with ProgressDisplay(keep=True) as display:
        display.update("[/x] :car:", 1, 9, "[red]:car:[/]")
        display.print_line("spk:car:01 [/x]")
    shown = capsys.readouterr().err
    assert all(text in shown for text in ("[/x] :car:", "[red]:car:[/]", "spk:car:01 [/x]"))


def test_training_is_shown_as_a_bar(terminal, capsys):
    with training_progress(None) as on_step:
        on_step(4, step_values(validation_loss=0.25))
    shown = capsys.readouterr().err
    assert "step 4: loss 0.5000, validation 0.2500" in shown
    assert "4/?" in shown
