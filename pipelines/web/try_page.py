"""The first tab of the page: make one video from a portrait and a recording."""

from __future__ import annotations

import asyncio
import csv
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from PIL import Image
from starlette.concurrency import run_in_threadpool

from joyvasa.config import config_from_dict, config_to_dict
from joyvasa.errors import JoyvasaError
from joyvasa.mode import MODES
from joyvasa.motion.driving import DrivingRegion, MouthSource
from joyvasa.motion.smoothing import SmoothingMethod
from joyvasa.options import AnimationConfig
from manifests.examples import DEMO, FOLDER
from pipelines.report.page import format_seconds
from pipelines.web.controls_panel import ControlsPanel, read_controls
from pipelines.web.jobs import ENDED, STEPS, Job, JobQueue, JobState, RemainingTime, TimeEstimator
from pipelines.web.previewer import inline_picture
from pipelines.web.shell_command import changed_options
from pipelines.web.templating import RESULTS, read_asset, render_stateful, render_template
from pipelines.web.uploads import Uploads, original_name

POLL_S = 0.25
DEMO_PICTURE = FOLDER / "demo.jpg"  # portraits and frames of their videos
BOX_PIXELS = 236  # height of the boxes for uploads
INVITATION = "Choose a portrait and a recording, or select examples."
STEP_TITLES = {"": "Loading models", "loading": "Loading models", "motion": "Sampling motion"}
STEP_TITLES |= {"frames": "Rendering", "metrics": "Computing metrics"}
STEP_TITLES |= {"faces": "Following the face of the video", "video frames": "Reading the video"}
DEFAULT_NAMES = {"portrait": "portrait.png", "sound": "sound.wav", "motion": "motion.safetensors"}
INPUT_TITLES = {"portrait": "portrait", "sound": "recording or motion", "motion": "motion"}

# The options of the fields of the page, in order, with their labels.
FIELDS = {
    "mode": "The picture shows",
    "seed": "Seed",
    "face.index": "Face",
    "sampling.cfg_scale": "Guidance",
    "driving.region": "Motion region",
    "smoothing.method": "Smoothing",
    "paste_back": "Paste back into the picture",
    "driving.mouth_from": "Lips follow",
}


@dataclass(frozen=True)
class TryPage:
    """The tab that makes one video."""

    config: AnimationConfig  # options of animations, with the defaults of the fields
    queue: JobQueue  # queue of jobs
    estimator: TimeEstimator  # estimates the remaining time
    uploads: Uploads  # uploaded files
    panel: ControlsPanel  # controls with their preview, and the choice of a face

    def build(self) -> None:
        """Add the components of the tab to the current `gr.Blocks`."""
        with gr.Row(elem_id="jv-inputs"):
            with gr.Column(min_width=280):
                portrait = gr.Image(
                    type="filepath",
                    label="Portrait",
                    sources=["upload", "clipboard"],
                    height=BOX_PIXELS,
                    buttons=[],
                    placeholder="Drop a picture with a face\nor click to choose one",
                    elem_id="jv-portrait",
                )
                portraits = _add_examples("image", "Example portraits", pictures=True)
                faces = gr.HTML(js_on_load=read_asset("page.js"), elem_id="jv-faces")
            with gr.Column(min_width=280):
                sound = gr.Audio(
                    type="filepath",
                    label="Recording",
                    sources=["upload", "microphone"],
                    editable=False,
                    buttons=[],
                    elem_id="jv-sound",
                )
                recordings = _add_examples("audio", "Example recordings")
            with gr.Column(min_width=280):
                fields = self._build_fields()
                with gr.Accordion("Motion from a file or a video", open=False, elem_id="jv-motion-panel"):
                    motion = gr.File(label="Motion file, or video to imitate", height=110, elem_id="jv-motion")
                    sources = list(get_args(MouthSource))
                    mouth = gr.Radio(
                        sources, value=self.config.driving.mouth_from, label="With a recording, the lips follow"
                    )
                fields.append(mouth)
        controls = self.panel.build(portrait, faces, fields, read_options=self._read_options)
        portraits.connect({"image": portrait, "mode": fields[list(FIELDS).index("mode")]})
        recordings.connect({"audio": sound})
        with gr.Row(elem_id="jv-actions", equal_height=True):
            start = gr.Button("Make video", variant="primary", scale=0, min_width=150, elem_id="jv-start")
            cancel = gr.Button("Cancel", visible=False, scale=0, min_width=110, elem_id="jv-cancel")
            status = gr.HTML(render_template("message", kind="quiet", text=INVITATION), elem_id="jv-status")
        demo = inline_picture(Image.open(DEMO_PICTURE), 920, quality=80)
        invitation = render_template("invitation", picture=demo, count=self.queue.limits.results)
        result = gr.HTML(invitation, js_on_load=read_asset("page.js"), elem_id="jv-result")
        job_id = gr.State("")
        start.click(
            self._make_video,
            [portrait, sound, motion, controls, *fields],
            [status, result, job_id, start, cancel],
            preprocess=False,
            show_progress="hidden",
            concurrency_limit=None,  # jobs wait in the queue
        )
        cancel.click(self.queue.cancel, [job_id], None, show_progress="hidden", concurrency_limit=None)

    def remove_session(self, request: gr.Request) -> None:
        """Remove the videos of a browser that has disconnected."""
        if request.session_hash:
            self.queue.remove_session(request.session_hash)

    def _build_fields(self) -> list[Any]:
        """Add the fields for options and return them in the order of `FIELDS`."""
        config, label = self.config, FIELDS
        with gr.Row():
            mode = gr.Radio(
                list(MODES), value=config.mode, label=label["mode"], scale=2, min_width=190, elem_id="jv-mode"
            )
            seed = gr.Number(
                config.seed, label=label["seed"], precision=0, minimum=0, scale=1, min_width=90, elem_id="jv-seed"
            )
        with gr.Accordion("Options", open=False, elem_id="jv-options"):
            face = gr.Number(config.face.index, label=label["face.index"], precision=0, minimum=0, elem_id="jv-face")
            guidance = gr.Slider(1, 6, value=config.sampling.cfg_scale, step=0.1, label=label["sampling.cfg_scale"])
            with gr.Row():
                regions, methods = list(get_args(DrivingRegion)), list(get_args(SmoothingMethod))
                region = gr.Dropdown(regions, value=config.driving.region, label=label["driving.region"], min_width=130)
                smoothing = gr.Dropdown(
                    methods, value=config.smoothing.method, label=label["smoothing.method"], min_width=130
                )
            paste = gr.Checkbox(config.paste_back, label=label["paste_back"])
        return [mode, seed, face, guidance, region, smoothing, paste]

    async def _make_video(
        self, request: gr.Request, portrait: Any, sound: Any, motion: Any, controls: Any, *values: Any
    ) -> AsyncIterator[tuple[Any, Any, Any, Any, Any]]:
        """Submit a job and yield its progress until the video is finished."""
        uploads = {"portrait": portrait, "sound": sound, "motion": motion}
        session = str(request.session_hash)
        disabled, enabled = gr.update(interactive=False), gr.update(interactive=True)
        visible, hidden = gr.update(visible=True), gr.update(visible=False)
        try:
            job = await run_in_threadpool(self._submit_job, uploads, controls, values, session)
        except JoyvasaError as error:
            yield render_template("message", kind="error", text=str(error)), gr.skip(), "", enabled, hidden
            return
        try:
            yield self._render_progress(job), gr.skip(), job.id, disabled, visible
            while job.state not in ENDED:
                await asyncio.sleep(POLL_S)
                yield self._render_progress(job), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            results = self._render_results(job.session) if job.result else gr.skip()
            yield _render_ending(job), results, gr.skip(), enabled, hidden
        finally:
            if job.state not in ENDED:  # the browser has disconnected
                self.queue.cancel(job.id)

    def _submit_job(self, uploads: Mapping[str, Any], controls: Any, values: Sequence[Any], session: str) -> Job:
        """Check the untrusted values from a browser and submit a job.

        Raises:
            JoyvasaError: the same errors as `joyvasa animate`.
        """
        config = self._read_options(values, controls)
        given = {name: upload for name, upload in uploads.items() if upload or name == "portrait"}
        if len(given) == 1:
            given["sound"] = None  # whose error says what to do
        folder = self.uploads.new_folder()
        names = {name: original_name(upload, DEFAULT_NAMES[name]) for name, upload in given.items()}
        try:
            files = {
                name: self.uploads.store(upload, folder / name, INPUT_TITLES[name]) for name, upload in given.items()
            }
            duration_s = self._measure_sound(files["sound"], names["sound"]) if "sound" in files else 0.0
            job = Job(session, folder, files, names, duration_s, config)
            self.queue.submit(job)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job

    def _measure_sound(self, sound: Path, name: str) -> float:
        try:
            return self.uploads.check_length(sound)
        except JoyvasaError as error:
            raise type(error)(error.code, error.sentence.replace(str(sound), name)) from None

    def _read_options(self, values: Sequence[Any], controls: Any) -> AnimationConfig:
        """Return the options of fields and controls.

        Args:
            values: values of the fields in the order of `FIELDS`; untrusted.
            controls: values of controls by name; untrusted.

        Raises:
            ConfigError: `config_invalid`.
        """
        tree = config_to_dict(self.config)
        for name, value in [*zip(FIELDS, values, strict=True), *read_controls(controls).items()]:
            *path, last = name.split(".")
            branch = tree
            for level in path:
                branch = branch[level]
            branch[last] = value
        return config_from_dict(AnimationConfig, tree, where="the page")

    def _render_progress(self, job: Job) -> str:
        if job.state is JobState.WAITING:
            jobs_ahead = self.queue.jobs_ahead(job)
            estimates = [self._estimate(other) for other in jobs_ahead] + [self.estimator.estimate(job.duration_s)]
            timed = [estimate for estimate in estimates if estimate]
            left = RemainingTime(sum(estimate.seconds for estimate in timed), all(estimates)) if timed else None
            title = f"Waiting, {len(jobs_ahead)} ahead" if jobs_ahead else "Waiting"
            return render_template("progress", title=title, share=None, left=_format_estimate(left))
        share = job.done / job.total if job.total else None
        title = STEP_TITLES.get(job.step, job.step)
        if job.total:
            title += f", {job.done:,} of {job.total:,} {'windows' if job.step == 'motion' else 'frames'}"
        return render_template("progress", title=title, share=share, left=_format_estimate(self._estimate(job)))

    def _render_results(self, session: str) -> str:
        """Render the last videos of a browser, with the settings that differ from those of the page."""
        jobs = self.queue.list_finished(session)
        settings = {}
        for job in jobs:
            changed = {"seed": job.config.seed, **changed_options(self.config, job.config)}
            settings[job.id] = [(FIELDS.get(name, name), value) for name, value in changed.items()]
        return render_stateful("results", jobs=jobs, settings=settings, base_path=RESULTS)

    def _estimate(self, job: Job) -> RemainingTime | None:
        if job.step not in STEPS:
            return self.estimator.estimate(job.duration_s)
        share = job.done / job.total if job.total else 0.0
        return self.estimator.estimate(job.duration_s, job.step, share, time.monotonic() - job.step_started)


def _render_ending(job: Job) -> str:
    """Render the status of a job that has ended."""
    if job.state is JobState.CANCELLED:
        return render_template("message", kind="quiet", text="Cancelled.")
    if job.result is None:
        return render_template("message", kind="error", text=job.error)
    return render_template("message", kind="quiet", text=f"Finished in {format_seconds(job.result.elapsed_s)}.")


def _format_estimate(left: RemainingTime | None) -> str:
    if left is None or left.seconds < 1:
        return ""
    text = f"{left.seconds:.0f} s" if left.seconds < 120 else f"{left.seconds / 60:.0f} min"
    return f"about {text} left" if left.complete else f"more than {text} left"


@dataclass(frozen=True)
class Examples:
    """Buttons that select rows of the bundled manifest."""

    buttons: Any  # component with the buttons
    rows: list[dict[str, str]]  # rows by number of the button

    def connect(self, targets: dict[str, Any]) -> None:
        """Set the components of these columns to the values of the selected row."""

        def select_example(event: gr.EventData) -> Any:
            number = event._data.get("example") if isinstance(event._data, dict) else None
            row = self.rows[number] if isinstance(number, int) and number in range(len(self.rows)) else None
            values = [row[column] if row else gr.skip() for column in targets]
            return values[0] if len(values) == 1 else values

        self.buttons.click(select_example, None, [*targets.values()], show_progress="hidden", concurrency_limit=None)


def _add_examples(column: str, label: str, *, pictures: bool = False) -> Examples:
    """Add a button for each file of a column of the bundled manifest."""
    with DEMO.open(encoding="utf-8", newline="") as file:
        rows = {row[column]: row | {column: str(FOLDER / row[column])} for row in csv.DictReader(file)}
    files = [Path(row[column]) for row in rows.values()]
    examples = [
        {"name": file.stem, "picture": inline_picture(Image.open(file), 128, quality=80) if pictures else ""}
        for file in files
    ]
    html = render_template("examples", label=label, examples=examples)
    return Examples(gr.HTML(html, js_on_load=read_asset("page.js")), list(rows.values()))
