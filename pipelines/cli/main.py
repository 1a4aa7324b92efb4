"""The command line: `joyvasa COMMAND`. Commands import what they need when they run, so `--help` is quick."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from joyvasa.errors import JoyvasaError
from pipelines.cli import FAILED, metrics, models, motion, runs, train
from pipelines.cli import manifest as tables
from pipelines.cli.animate import animate
from pipelines.cli.bench import bench
from pipelines.cli.demo import demo
from pipelines.cli.option_listing import print_options
from pipelines.cli.prepare import prepare
from pipelines.cli.report import report
from pipelines.cli.web import web

app = typer.Typer(
    name="joyvasa",
    help="Talking-head videos from portraits and recordings.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("animate")(animate)
app.command("options")(print_options)
app.command("demo")(demo)
app.command("validate")(tables.validate)
app.command("plan")(tables.plan)
app.command("generate")(runs.generate)
app.command("evaluate")(runs.evaluate)
app.command("resume")(runs.resume)
app.command("status")(runs.status)
app.command("export")(runs.export)
app.command("report")(report)
app.command("web")(web)
app.command("prepare")(prepare)
app.command("train")(train.train)
app.command("bundle")(train.bundle)
app.command("bench")(bench)
app.add_typer(models.app, name="models")
app.add_typer(metrics.app, name="metrics")
app.add_typer(motion.app, name="motion")


def main() -> NoReturn:
    """Run the command line; an error that a user can act on becomes one sentence and exit code 1."""
    signal.signal(signal.SIGTERM, _terminate)  # so that half-written files are removed on the way out
    try:
        app()
    except JoyvasaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None
    except OSError as error:
        where = error.filename or "file system"
        print(f"error: io_error: {where}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(FAILED) from None
    raise SystemExit(0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
