"""`joyvasa pair`: build a manifest from portraits and recordings."""

from __future__ import annotations

import os
import posixpath
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from joyvasa.errors import InputError
from pipelines.cli import ROWS_FAILED
from pipelines.cli.options import AsJson, print_json
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from manifests.media_lists import MediaList
    from manifests.option_columns import Variation
    from manifests.pair_table import PairSummary, Usage
    from manifests.pieces import OpenPiece
    from manifests.storage import Storage

MIN_PIECE_S = 0.5  # a syllable or two; shorter pieces are no speech
NOUNS = {"image": "portrait", "audio": "recording"}

Images = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES", help="Folder, quoted glob, archive, or table with column `image`.", show_default=False
    ),
]
Audio = Annotated[
    str,
    typer.Argument(
        metavar="AUDIO", help="Folder, quoted glob, archive, or table with column `audio`.", show_default=False
    ),
]
Output = Annotated[str, typer.Option("--output", "-o", help="Manifest to write, *.parquet; a path or URI.")]
All = Annotated[bool, typer.Option("--all", help="Pair every portrait with every recording.")]
Sample = Annotated[
    int | None,
    typer.Option("--sample", metavar="N", min=1, help="Draw N pairs; portraits and recordings are used equally often."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Random seed of --sample and --vary.")]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="NAME=LOW:HIGH",
        help="Draw an option, such as pose.yaw=-15:15, for each row; NAME=A,B for choices; may be repeated.",
    ),
]
MatchColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--match-column",
        metavar="LEFT=RIGHT",
        help="Pair only if column LEFT of IMAGES equals column RIGHT of AUDIO (also: folder, stem); may be repeated.",
    ),
]
TakeSeconds = Annotated[
    str | None,
    typer.Option("--take-seconds", metavar="MIN:MAX", help="Cut longer recordings into pieces of MIN to MAX seconds."),
]
Check = Annotated[bool, typer.Option("--check", help="Decode all files first, and leave out those that fail.")]


def pair_command(
    images: Images,
    audio: Audio,
    output: Output,
    all_pairs: All = False,
    sample: Sample = None,
    seed: Seed = 0,
    match_column: MatchColumns = None,
    vary: Vary = None,
    take_seconds: TakeSeconds = None,
    check: Check = False,
    as_json: AsJson = False,
) -> None:
    """Write a manifest of pairs of portraits and recordings. Exits with 3 if a file was left out because it is bad."""
    from manifests.media_lists import open_media_list
    from manifests.pair_table import open_output, write_pairs
    from manifests.pairing import plan_pairs

    if all_pairs == (sample is not None):
        raise typer.BadParameter("expected one of --all and --sample N", param_hint="--all, --sample")
    match = [_parse_match(text) for text in match_column or ()]
    durations = _parse_durations(take_seconds) if take_seconds else None
    variations = _parse_variations(vary, seed) if vary else ()

    storage, name = open_output(output, [images, audio])
    portraits, recordings = open_media_list(images, "image"), open_media_list(audio, "audio")
    problems: list[str] = []
    with ProgressDisplay(enabled=not as_json) as progress:
        if check:
            portraits = _keep_readable(portraits, problems, progress)
            recordings = _keep_readable(recordings, problems, progress)
        if durations:
            recordings = _cut_recordings(recordings, problems, progress, storage, name, durations)
        plan = plan_pairs(portraits, recordings, sample=sample, seed=seed, match=match)
        summary = write_pairs(
            plan,
            portraits,
            recordings,
            storage,
            name,
            variations=variations,
            on_progress=lambda rows: progress.update("pairs", rows, len(plan)),
        )
    _print_summary(output, summary, (portraits, recordings), problems, as_json=as_json)
    if problems:
        raise typer.Exit(ROWS_FAILED)


def _parse_match(text: str) -> tuple[str, str]:
    left, mark, right = text.partition("=")
    if not (mark and left and right):
        raise typer.BadParameter(f"found {text!r}; expected LEFT=RIGHT", param_hint="--match-column")
    return left, right


def _parse_variations(texts: list[str], seed: int) -> list[Variation]:
    from joyvasa.options import AnimationConfig
    from manifests.option_columns import parse_variation
    from pipelines.runs.config import build_option_columns

    options = build_option_columns(AnimationConfig())
    variations = [parse_variation(text, options, seed=seed) for text in texts]
    names = [variation.name for variation in variations]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise typer.BadParameter(f"{repeated} is given twice; expected each option once", param_hint="--vary")
    return variations


def _parse_durations(text: str) -> tuple[float, float]:
    try:
        min_s, max_s = map(float, text.split(":"))
    except ValueError:
        raise typer.BadParameter(
            f"found {text!r}; expected MIN:MAX, such as 4:10", param_hint="--take-seconds"
        ) from None
    if not MIN_PIECE_S <= min_s < max_s < float("inf"):
        expected = f"expected {MIN_PIECE_S:g} <= MIN < MAX"
        raise typer.BadParameter(f"found {text!r}; {expected}", param_hint="--take-seconds")
    return min_s, max_s


def _keep_readable(media: MediaList, problems: list[str], progress: ProgressDisplay) -> MediaList:
    """Decode all files of a list and return it without those that fail; their errors are added to `problems`."""
    from joyvasa.media.audio import probe_audio
    from joyvasa.media.image import read_image
    from stages.media import local_file

    def find_problem(location: str) -> str:
        try:
            with local_file(location) as path:
                (read_image if media.kind == "image" else probe_audio)(path)
        except InputError as error:
            return str(error)
        except OSError as error:
            return f"file_unreadable: {location}: {error.strerror or error}"
        return ""

    good: list[int] = []
    is_archive = any("::" in location for location in media.locations)  # readers of archives have one position
    with ThreadPoolExecutor(1 if is_archive else os.cpu_count(), thread_name_prefix="check") as pool:
        for row, problem in enumerate(pool.map(find_problem, media.locations)):
            if problem:
                problems.append(problem)
            else:
                good.append(row)
            progress.update(f"{NOUNS[media.kind]}s", row + 1, len(media))
    if not good:
        raise InputError("media_none", f"{media.source}: no {NOUNS[media.kind]} can be used; the first: {problems[-1]}")
    return media.take(good)


def _cut_recordings(
    recordings: MediaList,
    problems: list[str],
    progress: ProgressDisplay,
    storage: Storage,
    name: str,
    durations: tuple[float, float],
) -> MediaList:
    """Cut recordings into pieces, in a folder next to the manifest."""
    from joyvasa.media.pauses import find_pieces, measure_loudness, write_pieces
    from manifests.file_tree import PIECES_SUFFIX
    from manifests.pieces import PieceFolder
    from stages.media import local_file

    min_s, max_s = durations

    def cut(location: str, open_piece: OpenPiece) -> list[tuple[float, float]] | None:
        with local_file(location) as path:
            loudness = measure_loudness(path)
            pieces = find_pieces(loudness, min_s, max_s)
            if pieces and loudness.duration_s <= max_s:
                return None
            write_pieces(path, pieces, open_piece)
        return [(piece.start_s, piece.end_s) for piece in pieces]

    folder = PieceFolder(storage, posixpath.splitext(name)[0] + PIECES_SUFFIX, cut, min_s=min_s, max_s=max_s)
    pieces, bad = folder.cut_all(recordings, on_progress=lambda done: progress.update("cut", done, len(recordings)))
    problems += bad
    return pieces


def _print_summary(
    output: str, summary: PairSummary, lists: tuple[MediaList, MediaList], problems: list[str], *, as_json: bool
) -> None:
    notes = [f"{media.source}: {note}" for media in lists for note in media.notes]
    for media, usage in zip(lists, (summary.images, summary.audio), strict=True):
        if unused := usage.entries - usage.used:
            notes.append(f"{media.source}: {unused:,} of {usage.entries:,} {NOUNS[media.kind]}s are in no pair")
    if as_json:
        print_json({"output": output, **asdict(summary), "notes": notes, "problems": problems})
        return
    portraits, recordings = _describe_usage("portrait", summary.images), _describe_usage("recording", summary.audio)
    typer.echo(f"{output}: {summary.pairs:,} pairs of {portraits} and {recordings}")
    for note in notes:
        typer.echo(f"note: {note}")
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)


def _describe_usage(noun: str, usage: Usage) -> str:
    times = f"{usage.fewest:,}" if usage.fewest == usage.most else f"{usage.fewest:,} to {usage.most:,}"
    plural = "s" if usage.used != 1 else ""
    return f"{usage.used:,} {noun}{plural} ({times} each)"
