"""The page as a whole."""

from __future__ import annotations

import gradio as gr
from gradio import themes
from gradio.components import Component

from joyvasa.errors import InputError
from pipelines.web.limits import Limits
from pipelines.web.render import render
from pipelines.web.runs_page import RunsPage
from pipelines.web.try_page import TryPage

CLEAN_EVERY_S = 60
FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def build_page(try_page: TryPage, runs_page: RunsPage, limits: Limits) -> gr.Blocks:
    """The page with its two tabs.

    Args:
        try_page: the first one.
        runs_page: the second one.
        limits: of what is kept.
    """
    with gr.Blocks(
        title="joyvasa",
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY_S, limits.upload_age_s),
        fill_width=False,
    ) as blocks:
        gr.HTML(render("title", config=try_page.config))
        with gr.Tabs():
            with gr.Tab("Try"):
                try_page.build()
            with gr.Tab("Runs", elem_id="jv-runs-tab") as tab:
                runs_page.build(tab)
        blocks.unload(try_page.leave)
    for block in blocks.blocks.values():
        if isinstance(block, Component):
            block.async_move_resource_to_block_cache = _local_only(block)  # type: ignore[method-assign]
    return blocks


def theme() -> themes.Base:
    """Colours and sizes; the fonts are those of the visitor's system, so that none is fetched."""
    return themes.Base(
        primary_hue="blue", neutral_hue="slate", spacing_size="md", radius_size="md", font=FONTS, font_mono=MONO
    )


def _local_only(block: Component):  # noqa: ANN202 (Gradio's)
    """Gradio would fetch a file that a browser names by an address of the web; this page takes uploads alone."""
    move = block.async_move_resource_to_block_cache

    async def moved(path: str | None) -> str | None:
        if path and "://" in str(path)[:16]:
            raise InputError("upload_missing", "an address is no upload: choose a file")
        return await move(path)

    return moved
