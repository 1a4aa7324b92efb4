"""The command line: `joyvasa COMMAND`. Commands import their dependencies when they run, which keeps `--help` fast."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from joyvasa import __version__
from joyvasa.errors import JoyvasaError
from manifests.scratch import sweep_scratch
from pipelines.cli import FAILED, manifest, metrics, models, motion, runs, train
from pipelines.cli.bench import bench_command
from pipelines.cli.demo import demo_command
from pipelines.cli.export import export_command, report_command
from pipelines.cli.motion import animate_command
from pipelines.cli.options import options_command
from pipelines.cli.pair import pair_command
from pipelines.cli.prepare import prepare_command
from pipelines.cli.select import select_command
from pipelines.cli.web import web_command

app = typer.Typer(
    name="joyvasa",
    help="Generate talking-head videos from portraits and recordings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("animate")(animate_command)
app.command("options")(options_command)
app.command("demo")(demo_command)
app.command("pair")(pair_command)
app.command("validate")(manifest.validate_command)
app.command("plan")(manifest.plan_command)
app.command("generate")(runs.generate_command)
app.command("evaluate")(runs.evaluate_command)
app.command("resume")(runs.resume_command)
app.command("status")(runs.status_command)
app.command("export")(export_command)
app.command("report")(report_command)
app.command("select")(select_command)
app.command("web")(web_command)
app.command("prepare")(prepare_command)
app.command("train")(train.train_command)
app.command("bundle")(train.bundle_command)
app.command("bench")(bench_command)
app.add_typer(models.app, name="models")
app.add_typer(metrics.app, name="metrics")
app.add_typer(motion.app, name="motion")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"joyvasa {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line; print errors that a user can act on as one sentence and exit with 1."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:  # files have names that it cannot express
        os.environ["PYTHONUTF8"] = "1"  # worker processes inherit it
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):  # names and sentences may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)  # an exception, so that partial files are removed
    status: int | str | None = FAILED
    try:
        status = _run_app()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if status:
            gc.collect()  # files that the frames of an exception hold open
        sweep_scratch()  # what a second Ctrl-C left
        gc.freeze()  # spares the collection of all that PyTorch has imported, half a second of the interpreter's end
    raise SystemExit(status)


def _run_app() -> int | str | None:
    """Run the command; return the exit status."""
    try:
        app()
    except SystemExit as end:
        return end.code
    except JoyvasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        where = error.filename or "file system"
        print(f"error: io_error: {where}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    return 0


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
