"""The controls of the first tab as sliders, with a preview of one frame, and the choice of a face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import gradio as gr

from joyvasa.errors import JoyvasaError
from joyvasa.options import AnimationConfig
from pipelines.web.previewer import Previewer
from pipelines.web.shell_command import flatten_options
from pipelines.web.templating import read_asset, render_template
from pipelines.web.uploads import Uploads, original_name
from stages.record_options import walk_options

LOOSE_GROUP = "face"  # heading of controls without a group
FRAMING = "framing"  # group that is shown last
WIDE = 20.0  # width of a range with whole steps, such as degrees
STEP, FINE_STEP = 1.0, 0.05


@dataclass(frozen=True)
class Control:
    """A control."""

    name: str  # option, such as `pose.yaw`
    default: float | None  # default value; None if the motion decides unless the control is set
    # low, high: range
    low: float
    high: float
    unit: str  # unit of the value

    @property
    def group(self) -> str:
        """Heading under which the control is shown."""
        group, dot, _ = self.name.rpartition(".")
        return group if dot else LOOSE_GROUP

    @property
    def step(self) -> float:
        """Step of the slider."""
        return STEP if self.high - self.low >= WIDE else FINE_STEP


@cache
def list_controls() -> tuple[Control, ...]:
    """Return all controls, in the order of the options."""
    options = ((name, entry.metadata, value) for name, _, entry, value in walk_options(AnimationConfig()))
    return tuple(
        Control(name, value, declared["ge"], declared["le"], declared["json_schema_extra"]["unit"])
        for name, declared, value in options
        if "ge" in declared
    )


def read_controls(values: Any) -> dict[str, float]:
    """Return the controls that a browser has set, by name; other values are ignored.

    Args:
        values: mapping from names to numbers; untrusted, and not compared with the ranges.
    """
    given: Mapping[Any, Any] = values if isinstance(values, Mapping) else {}
    found = ((control.name, given.get(control.name)) for control in list_controls())
    return {name: value for name, value in found if isinstance(value, int | float) and not isinstance(value, bool)}


MODE, FACE = 0, 2  # positions of fields
ReadOptions = Callable[[Sequence[Any], Any], AnimationConfig]
"""Returns the options of the values of fields, and of controls."""


@dataclass(frozen=True)
class ControlsPanel:
    """The controls of the first tab."""

    config: AnimationConfig  # options of animations, with the defaults of the controls
    previewer: Previewer  # makes previews
    uploads: Uploads  # uploaded files

    def build(self, portrait: Any, faces: Any, fields: Sequence[Any], *, read_options: ReadOptions) -> gr.State:
        """Add the components of the panel to the current `gr.Blocks`.

        Args:
            portrait: component with the portrait.
            faces: component that shows the faces of the portrait.
            fields: fields for options, with the mode and the number of the face at `MODE` and `FACE`.
            read_options: reads the options from the values of the fields and of the controls.

        Returns:
            State with the values of the controls that were set, by name.
        """
        with gr.Accordion("Controls: pose, expression, eyes, framing", open=False, elem_id="jv-controls") as panel:
            with gr.Row():
                with gr.Column(scale=1, min_width=240):
                    preview = gr.HTML(elem_id="jv-preview")
                with gr.Column(scale=3, min_width=280):
                    sliders = gr.HTML(self._render_sliders(), js_on_load=read_asset("page.js"))
        controls, opened = gr.State({}), gr.State(False)
        mode, face = fields[MODE], fields[FACE]
        quiet: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "concurrency_limit": None}

        def preview_with(portrait: Any, opened: Any, controls: Any, values: Sequence[Any]) -> Any:
            return self._render_preview(portrait, lambda: read_options(values, controls)) if opened else gr.skip()

        def open_panel(portrait: Any, _: Any, controls: Any, *values: Any) -> tuple[bool, Any]:
            return True, preview_with(portrait, True, controls, values)

        def set_controls(event: gr.EventData, portrait: Any, opened: Any, _: Any, *values: Any) -> tuple[Any, Any]:
            controls = read_controls(event._data.get("controls") if isinstance(event._data, dict) else None)
            return controls, preview_with(portrait, opened, controls, values)

        def choose_face(
            event: gr.EventData, portrait: Any, opened: Any, controls: Any, *values: Any
        ) -> tuple[Any, Any]:
            number = event._data.get("face") if isinstance(event._data, dict) else None
            return number, preview_with(portrait, opened, controls, _with_face(values, number))

        def show_faces(portrait: Any, opened: Any, controls: Any, *values: Any) -> tuple[Any, Any, Any]:
            values = _with_face(values, 0)
            faces = self._render_faces(portrait, lambda: read_options(values, controls))
            return faces, 0, preview_with(portrait, opened, controls, values)

        inputs = [portrait, opened, controls, *fields]
        panel.expand(open_panel, inputs, [opened, preview], **quiet)
        last: dict[str, Any] = {"trigger_mode": "always_last", **quiet}
        sliders.click(set_controls, inputs, [controls, preview], **last)
        faces.click(choose_face, inputs, [face, preview], **last)
        for changed in (portrait.change, mode.change):
            changed(show_faces, inputs, [faces, face, preview], **last)
        return controls

    def _render_sliders(self) -> str:
        by_group: dict[str, list[Control]] = {}
        for control in sorted(list_controls(), key=lambda control: control.group == FRAMING):
            by_group.setdefault(control.group, []).append(control)
        return render_template("controls", groups=by_group.items(), values=flatten_options(self.config))

    def _render_preview(self, portrait: Any, read_options: Callable[[], AnimationConfig]) -> str:
        if not portrait:
            return render_template("message", kind="quiet", text="Choose a portrait to see one frame of it.")
        try:
            path = self.uploads.find(portrait, "portrait")
            try:
                return render_template("preview", picture=self.previewer.render(path, read_options()))
            except JoyvasaError as error:
                sentence = error.sentence.replace(str(path), original_name(portrait, "portrait.png"))
                raise type(error)(error.code, sentence) from None
        except JoyvasaError as error:
            return render_template("message", kind="error", text=str(error))

    def _render_faces(self, portrait: Any, read_options: Callable[[], AnimationConfig]) -> str:
        """Render the faces of a portrait; empty if there are less than two, or if it cannot be read."""
        try:
            faces = self.previewer.find_faces(self.uploads.find(portrait, "portrait"), read_options())
        except JoyvasaError:  # the preview and the video explain it
            return ""
        return render_template("faces", faces=faces, index=0) if len(faces) > 1 else ""


def _with_face(values: Sequence[Any], number: Any) -> tuple[Any, ...]:
    """Return the values of the fields with another number of the face."""
    return (*values[:FACE], number, *values[FACE + 1 :])
