"""Everything that is measured of a bundle, in order, into one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from joyvasa.animator import Animator
from joyvasa.errors import EnvironmentFault, InputError, ModelError
from joyvasa.models import AnimationConfig, Models
from joyvasa.motion.driving import DrivingConfig
from joyvasa.sample.measurement.articulation import ARTICULATION_ROWS, articulation_rows, plot_articulation
from joyvasa.sample.measurement.background import BACKGROUND_ROWS, background_rows
from joyvasa.sample.measurement.blinks import BLINK_ROWS, blink_rows
from joyvasa.sample.measurement.films import SPEED_ROWS, Film, Studio, pairs, shorten, speed_rows, write_sound
from joyvasa.sample.measurement.identity import identity_rows
from joyvasa.sample.measurement.inputs import Inputs, unseen_inputs
from joyvasa.sample.measurement.keypoint_errors import GAP_ROWS, KEYPOINT_ROWS, gap_rows, keypoint_rows
from joyvasa.sample.measurement.lip_sync import LIP_SYNC_ROWS, lip_sync_rows
from joyvasa.sample.measurement.poses import Poses
from joyvasa.sample.measurement.reenactment import REENACTMENT_ROWS, reenactment_rows
from joyvasa.sample.measurement.sheets import detail_sheet, film_sheet, portrait_sheet, sheet_rows, write_sheet
from joyvasa.sample.measurement.subjects import Subject, find_subjects
from joyvasa.sample.measurement.table import Missing, Row, write_table
from joyvasa.sample.measurement.tracks import read_track
from joyvasa.sample.measurement.utterances import Spoken, spoken
from joyvasa.sample.measurement.watcher import Watcher

VIDEOS = 7  # that are looked at
FILMS, SOUNDS = "films", "sounds"  # folders
Log = Callable[[str], object]


def measure(
    bundle: str, media: Path, mean: np.ndarray, out: Path, *, others: Sequence[Path] = (), log: Log = lambda _: None
) -> list[Row]:
    """Measures a bundle of the compact family and writes `quality.json`, `quality.md`, sheets and a plot.

    Takes 5 to 10 minutes on two free cores.

    Args:
        bundle: name or folder.
        media: what it was trained from; only the held-out files are used.
        mean: of `mean_head`, as in training.
        out: folder for all that is made; the videos too.
        others: folders of the shape of `media`, nothing of which was trained on.
        log: told what is being done.

    Returns:
        the rows of the table; what cannot be had says what it needs.

    Raises:
        ModelError: the bundle is unknown, its networks for pictures are not there, or they are of another family.
        InputError: `no_faces`.
        OutputError: `output_unwritable`.
    """
    out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    config = AnimationConfig(models=bundle)
    models = Models(config)
    config = replace(config, driving=DrivingConfig(stitching=models.bundle.has("stitching")))
    models = models.with_config(config)
    inputs = unseen_inputs(media, others)
    log("portraits")
    subjects, lost = find_subjects(models, inputs.portraits)
    if not subjects:
        raise InputError("no_faces", f"{media}/portraits: no face in a held-out picture; expected some: add portraits")
    watcher = _teacher(mean)
    poses = Poses(models)

    rows = _against_teacher(subjects, inputs, models, watcher, log)
    films = _films(config, models, subjects, inputs, watcher, out, log)
    said = _said(films, subjects, out, log)
    rows += _heard(films, said, watcher, out)
    rows += identity_rows(subjects, poses)
    log("background")
    rows += _behind(films, models, watcher, out)
    log("sheets")
    sheets = {"portraits.png": portrait_sheet(subjects, poses), "details.png": detail_sheet(subjects, poses)}
    if not isinstance(films, Missing):
        sheets["films.png"] = film_sheet(films.made)
    for name, sheet in sheets.items():
        write_sheet(out / name, sheet)
    rows += sheet_rows(subjects, list(sheets))
    rows += films.rows(SPEED_ROWS) if isinstance(films, Missing) else speed_rows(films.made, load)
    about = {
        "bundle": f"{models.bundle.name} ({models.fingerprint[:12]})",
        "machine": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.1f} before it began",
        "portraits": [subject.name for subject in subjects],
        "portraits in which the bundle's detector finds no face": lost,
        "recordings": [path.name for path in inputs.speech],
        "videos": [path.name for path in inputs.videos[:VIDEOS]],
    }
    write_table(out, rows, about)
    return rows


@dataclass(frozen=True)
class _Films:
    """What the whole chain made, and what makes more."""

    studio: Studio
    made: list[Film]


def _teacher(mean: np.ndarray) -> Watcher | Missing:
    try:
        return Watcher(mean)
    except EnvironmentFault as fault:
        return Missing(f"the teacher: {fault}")


def _against_teacher(
    subjects: Sequence[Subject], inputs: Inputs, models: Models, watcher: Watcher | Missing, log: Log
) -> list[Row]:
    if isinstance(watcher, Missing):
        return watcher.rows(KEYPOINT_ROWS | GAP_ROWS | REENACTMENT_ROWS)
    rows = keypoint_rows(subjects, watcher)
    tracks = []
    for path in inputs.videos[:VIDEOS]:
        log(f"video {path.name}")
        track = read_track(path, models, watcher)
        if track is not None:
            tracks.append(track)
    if not tracks:
        return [*rows, *Missing("a held-out video in which a face is followed").rows(GAP_ROWS | REENACTMENT_ROWS)]
    return [*rows, *gap_rows(tracks), *reenactment_rows(tracks, models)]


def _films(
    config: AnimationConfig,
    models: Models,
    subjects: Sequence[Subject],
    inputs: Inputs,
    watcher: Watcher | Missing,
    out: Path,
    log: Log,
) -> _Films | Missing:
    try:
        animator = Animator(config, loaded=models)
    except ModelError as error:
        return Missing(f"the whole bundle: {error}")
    studio = Studio(animator, None if isinstance(watcher, Missing) else watcher, out / FILMS)
    made = []
    for number, recording in pairs(len(subjects), len(inputs.speech)):
        subject, sound = subjects[number], inputs.speech[recording]
        log(f"film of {subject.name} with {sound.name}")
        made.append(studio.film(subject, shorten(sound, out / SOUNDS)))
    return _Films(studio, made) if made else Missing("a held-out recording")


def _behind(films: _Films | Missing, models: Models, watcher: Watcher | Missing, out: Path) -> list[Row]:
    """What happens behind the head."""
    if isinstance(films, Missing):
        return films.rows(BACKGROUND_ROWS)
    if isinstance(watcher, Missing):
        return watcher.rows(BACKGROUND_ROWS)
    return background_rows(films.made, models, watcher, out / FILMS)


def _said(
    films: _Films | Missing, subjects: Sequence[Subject], out: Path, log: Log
) -> list[tuple[Spoken, Film]] | Missing:
    """One portrait for each synthesizer."""
    if isinstance(films, Missing):
        return films
    try:
        texts = spoken()
    except EnvironmentFault as fault:
        return Missing(f"both synthesizers: {fault}")
    found = []
    for number, text in enumerate(texts):
        subject = subjects[number % len(subjects)]
        log(f"film of {subject.name} with {text.name}")
        found.append((text, films.studio.film(subject, write_sound(out / SOUNDS / f"{text.name}.wav", text.samples))))
    return found


def _heard(
    films: _Films | Missing, said: list[tuple[Spoken, Film]] | Missing, watcher: Watcher | Missing, out: Path
) -> list[Row]:
    """What the teacher sees in the films."""
    if isinstance(watcher, Missing):
        return watcher.rows(LIP_SYNC_ROWS | ARTICULATION_ROWS | BLINK_ROWS)
    if isinstance(films, Missing):
        return films.rows(LIP_SYNC_ROWS | ARTICULATION_ROWS | BLINK_ROWS)
    rows = lip_sync_rows(films.made)
    if isinstance(said, Missing):
        rows += said.rows(ARTICULATION_ROWS)
    else:
        rows += articulation_rows(said)
        plot_articulation(said, out / "articulation.png")
    return [*rows, *blink_rows(films.made, watcher)]
