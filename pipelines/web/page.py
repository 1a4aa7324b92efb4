"""The page with its two tabs."""

from __future__ import annotations

import gradio as gr
from gradio import themes
from gradio.components import Component

from joyvasa.errors import InputError
from pipelines.web.limits import Limits
from pipelines.web.runs_page import RunsPage
from pipelines.web.templating import render_template
from pipelines.web.try_page import TryPage

CLEAN_EVERY_S = 60
FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def build_page(try_page: TryPage, runs_page: RunsPage, limits: Limits) -> gr.Blocks:
    """Build the page.

    Args:
        try_page: first tab.
        runs_page: second tab.
        limits: limits of what is stored.
    """
    with gr.Blocks(
        title="joyvasa",
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY_S, limits.upload_age_s),
        fill_width=False,
    ) as blocks:
        gr.HTML(render_template("title", config=try_page.config))
        with gr.Tabs():
            with gr.Tab("Try"):
                try_page.build()
            with gr.Tab("Runs", elem_id="jv-runs-tab") as tab:
                runs_page.build(tab)
        blocks.unload(try_page.remove_session)
    for block in blocks.blocks.values():
        if isinstance(block, Component):
            block.async_move_resource_to_block_cache = _local_only(block)  # type: ignore[method-assign]
    return blocks


def build_theme() -> themes.Base:
    """Build the theme; it uses system fonts, so that none is downloaded, and colors with the contrast of WCAG AA."""
    theme = themes.Base(
        primary_hue="blue", neutral_hue="slate", spacing_size="md", radius_size="md", font=FONTS, font_mono=MONO
    )
    return theme.set(
        body_text_color_subdued="*neutral_500",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def _local_only(block: Component):  # noqa: ANN202 (Gradio's)
    """Return a method that refuses URLs: Gradio would download them, but this page accepts only uploads."""
    move_file = block.async_move_resource_to_block_cache

    async def move_upload(path: str | None) -> str | None:
        if path and "://" in str(path)[:16]:
            raise InputError("upload_missing", "a URL is not an upload: choose a file")
        return await move_file(path)

    return move_upload
