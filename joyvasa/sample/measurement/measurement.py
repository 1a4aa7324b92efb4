"""Measurement of a bundle, with all results in one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from joyvasa.animator import Animator
from joyvasa.errors import InputError
from joyvasa.models import Models
from joyvasa.motion.driving import DrivingConfig
from joyvasa.options import AnimationConfig
from joyvasa.sample.measurement.articulation import articulation_rows, lip_sync_rows, synthesize_sentences
from joyvasa.sample.measurement.background import background_rows
from joyvasa.sample.measurement.blinks import blink_rows
from joyvasa.sample.measurement.face_reader import FaceReader
from joyvasa.sample.measurement.inputs import find_unseen_inputs
from joyvasa.sample.measurement.keypoint_errors import gap_row, identity_row, keypoint_row
from joyvasa.sample.measurement.pose_renderer import PoseRenderer
from joyvasa.sample.measurement.reenactment import reenactment_rows
from joyvasa.sample.measurement.sheets import draw_detail_sheet, write_sheet
from joyvasa.sample.measurement.subjects import find_subjects
from joyvasa.sample.measurement.table import Row, write_table
from joyvasa.sample.measurement.tracks import read_track
from joyvasa.sample.measurement.videos import VideoMaker, choose_pairs, shorten_recording, speed_row, write_sound

MAX_REAL_VIDEOS = 7
INSPECTED = "Teeth or a dark cavity with an edge, no smear: by visual inspection of the sheet"
VIDEOS, SOUNDS, SHEET = "videos", "sounds", "details.png"


def measure_bundle(
    bundle: str,
    media: Path,
    mean: np.ndarray,
    out: Path,
    *,
    others: Sequence[Path] = (),
    log: Callable[[str], object] = lambda _: None,
) -> list[Row]:
    """Measure a bundle of the compact family and write `quality.json`, `quality.md` and a sheet of mouths.

    Takes 5 to 10 minutes on two free cores.

    Args:
        bundle: name or folder of the bundle.
        media: folder that the bundle was trained from; only the held-out files are used.
        mean: mean head of the training, see `mean_head`.
        out: folder for all results, including videos.
        others: folders of the same layout that training did not use.
        log: callback, called with the name of each step.

    Returns:
        The rows of the table.

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
    config = replace(config, driving=DrivingConfig(stitching=models.bundle.has_role("stitching")))
    models = models.with_config(config)
    inputs = find_unseen_inputs(media, others)

    log("portraits")
    subjects, rejected = find_subjects(models, inputs.portraits)
    if not subjects:
        raise InputError("no_faces", f"{media}/portraits: no face in a held-out picture; expected some: add portraits")
    reader, poses = FaceReader(mean), PoseRenderer(models)

    log("videos")
    real_videos = inputs.videos[:MAX_REAL_VIDEOS]
    tracks = [track for path in real_videos if (track := read_track(path, models, reader)) is not None]

    log("generated videos")
    maker = VideoMaker(Animator(config, models=models), reader, out / VIDEOS)
    videos = [
        maker.make_video(subjects[number], shorten_recording(inputs.speech[recording], out / SOUNDS))
        for number, recording in choose_pairs(len(subjects), len(inputs.speech))
    ]
    synthetic = []
    for number, speech in enumerate(synthesize_sentences()):
        sound = write_sound(out / SOUNDS / f"{speech.name}.wav", speech.samples)
        synthetic.append((speech, maker.make_video(subjects[number % len(subjects)], sound)))

    log("figures")
    write_sheet(out / SHEET, draw_detail_sheet(subjects, poses))
    rows = [
        keypoint_row(subjects, reader),
        gap_row(tracks),
        *reenactment_rows(tracks, models),
        *lip_sync_rows(videos),
        *articulation_rows(synthetic),
        *blink_rows(videos, reader),
        identity_row(subjects, poses),
        *background_rows(videos, models, reader, out / VIDEOS),
        Row("sheet", INSPECTED, inputs=f"{len(subjects)} portraits", note=SHEET, missing="visual inspection"),
        speed_row(videos, load),
    ]
    about = {
        "bundle": f"{models.bundle.name} ({models.fingerprint[:12]})",
        "machine": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "load average before the measurement": f"{load:.1f}",
        "portraits": [subject.name for subject in subjects],
        "portraits in which the bundle's detector finds no face": rejected,
        "recordings": [path.name for path in inputs.speech],
        "videos": [path.name for path in real_videos],
    }
    write_table(out, rows, about)
    return rows
