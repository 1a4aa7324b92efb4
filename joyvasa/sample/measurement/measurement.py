"""Everything that is measured of a bundle, in order, into one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from joyvasa.animator import Animator
from joyvasa.errors import InputError
from joyvasa.models import AnimationConfig, Models
from joyvasa.motion.driving import DrivingConfig
from joyvasa.sample.measurement.articulation import articulation_rows, spoken
from joyvasa.sample.measurement.background import background_rows
from joyvasa.sample.measurement.blinks import blink_rows
from joyvasa.sample.measurement.films import Studio, pairs, shorten, speed_row, write_sound
from joyvasa.sample.measurement.identity import identity_row
from joyvasa.sample.measurement.inputs import unseen_inputs
from joyvasa.sample.measurement.keypoint_errors import gap_row, keypoint_row
from joyvasa.sample.measurement.lip_sync import lip_sync_rows
from joyvasa.sample.measurement.poses import Poses
from joyvasa.sample.measurement.reenactment import reenactment_rows
from joyvasa.sample.measurement.sheets import detail_sheet, sheet_row, write_sheet
from joyvasa.sample.measurement.subjects import find_subjects
from joyvasa.sample.measurement.table import Row, write_table
from joyvasa.sample.measurement.tracks import read_track
from joyvasa.sample.measurement.watcher import Watcher

VIDEOS = 7  # that are looked at
FILMS, SOUNDS, SHEET = "films", "sounds", "details.png"


def measure(
    bundle: str,
    media: Path,
    mean: np.ndarray,
    out: Path,
    *,
    others: Sequence[Path] = (),
    log: Callable[[str], object] = lambda _: None,
) -> list[Row]:
    """Measure a bundle of the compact family and write `quality.json`, `quality.md` and a sheet of mouths.

    It takes 5 to 10 minutes on two free cores.

    Args:
        bundle: name or folder of the bundle.
        media: folder that it was trained from; only the held-out files are used.
        mean: mean head, as in training; see `mean_head`.
        out: folder for all results; the videos too.
        others: folders of the shape of `media`, nothing of which was trained on.
        log: called with what is being done.

    Returns:
        The rows of the table; one without a value says what it needs.

    Raises:
        ModelError: the bundle is unknown, files are missing, or it is of another family.
        InputError: `no_faces`.
        EnvironmentFault: `extra_missing`, `program_missing`.
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
    watcher, poses = Watcher(mean), Poses(models)

    log("videos")
    read = [read_track(path, models, watcher) for path in inputs.videos[:VIDEOS]]
    tracks = [track for track in read if track is not None]

    log("films")
    studio = Studio(Animator(config, loaded=models), watcher, out / FILMS)
    films = [
        studio.film(subjects[number], shorten(inputs.speech[recording], out / SOUNDS))
        for number, recording in pairs(len(subjects), len(inputs.speech))
    ]
    said = []
    for number, text in enumerate(spoken()):
        sound = write_sound(out / SOUNDS / f"{text.name}.wav", text.samples)
        said.append((text, studio.film(subjects[number % len(subjects)], sound)))

    log("figures")
    write_sheet(out / SHEET, detail_sheet(subjects, poses))
    rows = [
        keypoint_row(subjects, watcher),
        gap_row(tracks),
        *reenactment_rows(tracks, models),
        *lip_sync_rows(films),
        *articulation_rows(said),
        *blink_rows(films, watcher),
        identity_row(subjects, poses),
        *background_rows(films, models, watcher, out / FILMS),
        sheet_row(subjects, out / SHEET),
        speed_row(films, load),
    ]
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
