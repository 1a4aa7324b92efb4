"""The page's first tab: one portrait and one recording become one video."""

from __future__ import annotations

import asyncio
import csv
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from starlette.concurrency import run_in_threadpool

from joyvasa.config import config_from_dict, config_to_dict
from joyvasa.errors import JoyvasaError
from joyvasa.mode import MODES
from joyvasa.models import AnimationConfig
from joyvasa.motion.driving import DrivingRegion
from joyvasa.motion.smoothing import SmoothingMethod
from manifests.examples import PAIRS
from pipelines.web.jobs import ENDED, Job, JobQueue, State
from pipelines.web.pace import STEPS, Pace, TimeLeft
from pipelines.web.render import RESULTS, asset, render
from pipelines.web.uploads import Uploads

POLL_S = 0.25
INVITATION = "Choose a portrait and a sound; the video appears here."
WORDS = {"": "Loading the networks", "loading": "Loading the networks", "motion": "Drawing the motion"}
WORDS |= {"frames": "Rendering", "metrics": "Measuring"}
UNITS = {"motion": "windows", "frames": "frames", "metrics": "frames"}

# The page's fields, in order, and where their values stand among the options of an animation.
FIELDS = (
    "mode",
    "sampling.cfg_scale",
    "driving.region",
    "smoothing.method",
    "crop.scale",
    "paste_back",
    "seed",
)


@dataclass(frozen=True)
class TryPage:
    """What the tab works with.

    Attributes:
        config: options that the page does not show, and the defaults of those that it does.
        queue: takes the pairs.
        pace: how long they take.
        uploads: where their files come from.
    """

    config: AnimationConfig
    queue: JobQueue
    pace: Pace
    uploads: Uploads

    def build(self) -> None:
        """Puts the tab's parts into the `gr.Blocks` that is being built."""
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                portrait = gr.Image(
                    type="filepath",
                    label="Portrait",
                    sources=["upload", "clipboard"],
                    height=260,
                    buttons=[],
                    elem_id="jv-portrait",
                )
                _examples(portrait, "image", "Take a portrait")
                sound = gr.Audio(
                    type="filepath",
                    label="Sound",
                    sources=["upload", "microphone"],
                    editable=False,
                    buttons=[],
                    elem_id="jv-sound",
                )
                _examples(sound, "audio", "Take a recording")
                fields = self._fields()
                with gr.Row():
                    start = gr.Button("Make the video", variant="primary", elem_id="jv-start")
                    cancel = gr.Button("Cancel", visible=False, elem_id="jv-cancel")
            with gr.Column(scale=3, min_width=300):
                status = gr.HTML(render("message", kind="quiet", text=INVITATION), elem_id="jv-status")
                result = gr.HTML(js_on_load=asset("page.js"), elem_id="jv-result")
        job_id = gr.State("")
        start.click(
            self._make,
            [portrait, sound, *fields],
            [status, result, job_id, start, cancel],
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,  # they wait in the line of the queue
        )
        cancel.click(self.queue.cancel, [job_id], None, show_progress="hidden", concurrency_limit=None)

    def leave(self, request: gr.Request) -> None:
        """Forgets the videos of a browser that has gone."""
        if request.session_hash:
            self.queue.leave(request.session_hash)

    def _fields(self) -> list[Any]:
        config = self.config
        mode = gr.Radio(list(MODES), value=config.mode, label="The picture shows", elem_id="jv-mode")
        with gr.Accordion("Options", open=False):
            with gr.Row():
                guidance = gr.Slider(1, 6, value=config.sampling.cfg_scale, step=0.1, label="Guidance")
                crop = gr.Slider(1.5, 3.5, value=config.crop.scale, step=0.1, label="Crop scale")
            with gr.Row():
                regions, methods = list(get_args(DrivingRegion)), list(get_args(SmoothingMethod))
                region = gr.Dropdown(regions, value=config.driving.region, label="What moves")
                smoothing = gr.Dropdown(methods, value=config.smoothing.method, label="Smoothing")
            with gr.Row():
                paste = gr.Checkbox(config.paste_back, label="Paste back into the picture")
                seed = gr.Number(config.seed, label="Seed", precision=0, minimum=0, elem_id="jv-seed")
        return [mode, guidance, region, smoothing, crop, paste, seed]

    async def _make(
        self, request: gr.Request, portrait: Any, sound: Any, *values: Any
    ) -> AsyncIterator[tuple[Any, Any, Any, Any, Any]]:
        """Puts a pair into the line and tells how far it is, until the video is there."""
        busy, free = gr.update(interactive=False), gr.update(interactive=True)
        shown, hidden = gr.update(visible=True), gr.update(visible=False)
        try:
            job = await run_in_threadpool(self._job, portrait, sound, values, str(request.session_hash))
        except JoyvasaError as error:
            yield render("message", kind="error", text=str(error)), "", "", free, hidden
            return
        try:
            yield self._progress(job), "", job.id, busy, shown
            while job.state not in ENDED:
                await asyncio.sleep(POLL_S)
                yield self._progress(job), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            yield *_ending(job), gr.skip(), free, hidden
        finally:
            if job.state not in ENDED:  # the browser has gone
                self.queue.cancel(job.id)

    def _job(self, portrait: Any, sound: Any, values: tuple[Any, ...], session: str) -> Job:
        """Checks what a browser sent, and puts it into the line.

        Raises:
            JoyvasaError: one sentence, as of `joyvasa animate`.
        """
        config = self._chosen(values)
        folder = self.uploads.new_folder()
        names = _name(portrait, "portrait.png"), _name(sound, "sound.wav")
        try:
            files = (
                self.uploads.take(_path(portrait), folder / "portrait", "portrait"),
                self.uploads.take(_path(sound), folder / "sound", "sound"),
            )
            try:
                duration_s = self.uploads.check_length(files[1])
            except JoyvasaError as error:
                raise type(error)(error.code, error.sentence.replace(str(files[1]), names[1])) from None
            job = Job(session, folder, *files, names, duration_s, config)
            self.queue.submit(job)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job

    def _chosen(self, values: tuple[Any, ...]) -> AnimationConfig:
        tree = config_to_dict(self.config)
        for name, value in zip(FIELDS, values, strict=True):
            *path, last = name.split(".")
            place = tree
            for step in path:
                place = place[step]
            place[last] = value
        return config_from_dict(AnimationConfig, tree, where="the page")

    def _progress(self, job: Job) -> str:
        if job.state is State.WAITING:
            ahead = self.queue.ahead(job)
            times = [self._left(other) for other in ahead] + [self.pace.left(job.duration_s)]
            known = [time for time in times if time]
            left = TimeLeft(sum(time.seconds for time in known), all(times)) if known else None
            what = f"Waiting, {len(ahead)} ahead" if ahead else "Waiting"
            return render("progress", what=what, share=None, left=_left_words(left))
        share = job.done / job.total if job.total else None
        what = WORDS.get(job.step, job.step)
        if job.total:
            what += f", {job.done:,} of {job.total:,} {UNITS[job.step]}"
        return render("progress", what=what, share=share, left=_left_words(self._left(job)))

    def _left(self, job: Job) -> TimeLeft | None:
        if job.step not in STEPS:
            return self.pace.left(job.duration_s)
        share = job.done / job.total if job.total else 0.0
        return self.pace.left(job.duration_s, job.step, share, time.monotonic() - job.step_since)


def _ending(job: Job) -> tuple[str, str]:
    """Status and result of a job that has ended."""
    if job.state is State.CANCELLED:
        return render("message", kind="quiet", text="Cancelled."), ""
    if job.made is None:
        return render("message", kind="error", text=job.error), ""
    name = f"{Path(job.names[0]).stem}-{Path(job.names[1]).stem}"
    return "", render("result", made=job.made, base=f"{RESULTS}/{job.id}", name=name)


def _left_words(left: TimeLeft | None) -> str:
    if left is None or left.seconds < 1:
        return ""
    text = f"{left.seconds:.0f} s" if left.seconds < 120 else f"{left.seconds / 60:.0f} min"
    return f"about {text} left" if left.whole else f"more than {text} left"


def _path(upload: Any) -> str | None:
    path = upload.get("path") if isinstance(upload, Mapping) else None
    return path if isinstance(path, str) else None


def _name(upload: Any, default: str) -> str:
    """The name that a file has at the visitor's."""
    found = upload.get("orig_name") if isinstance(upload, Mapping) else None
    name = Path(found).name if isinstance(found, str) else ""
    return name if name and name.isprintable() else default


def _examples(target: Any, column: str, label: str) -> None:
    """Files of the bundled manifest, to be taken with one click."""
    folder = PAIRS.parent
    with PAIRS.open(encoding="utf-8", newline="") as file:
        names = dict.fromkeys(row[column] for row in csv.DictReader(file))
    gr.Examples([[str(folder / name)] for name in names], [target], label=label, cache_examples=False)
