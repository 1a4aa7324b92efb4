"""The data card of a data set: README.md with the metadata that the hub reads, and its picture."""

from __future__ import annotations

import io
import json
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from joyvasa.errors import InputError, escape_unprintable
from manifests.problems import safe_text
from pipelines.report.contact_sheets import SheetConfig, VideoSource, make_contact_sheet
from pipelines.report.metrics import all_metric_columns
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.formats.writer import CAPTION, HUB_SPLITS
from pipelines.runs.export.licenses import StatedLicense, find_hub_license
from pipelines.runs.export.plan import ExportPlan
from pipelines.runs.export.source import ExportSource, SourceRun
from pipelines.runs.export.statistics import DatasetStatistics

CARD = "README.md"
SHOWN_CHARACTERS = 200  # of a text of a row
MACHINE_OPTIONS = ("executor", "ray", "engine", "stages")  # options of a run that do not affect its results
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SIZES += ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))
_ACTIVE = re.compile(r"[\\|`<>\[\]*&]")  # characters with a meaning in Markdown or HTML
JSON_NOTE = (
    "A column with nulls, NaN or infinite numbers is text, because JSON readers infer one type per column; a null is "
    "an empty text, and `null_columns` lists the null columns of a row as JSON text. Lists are JSON text."
)
COLUMN_NOTES = {
    "webdataset": "A sample is `NAME.mp4` and `NAME.json` with these keys{caption}. " + JSON_NOTE,
    "folder": "`metadata.jsonl` has `file_name` and these columns{caption}. " + JSON_NOTE,
    "parquet": "`video` is the video; nulls are nulls.",
    "parquet, files": "`metadata.parquet` has `file_name` and these columns{caption}; nulls are nulls.",
}
INPUT_NOTES = {
    True: " `portrait_file` and `audio_file` name the inputs in this folder.",
    False: " `portrait` and `audio` are the inputs.",
}


def write_card(
    source: ExportSource,
    plan: ExportPlan,
    config: ExportConfig,
    licenses: Sequence[StatedLicense],
    patterns: Mapping[str, list[str]],
    *,
    picture: bool,
) -> str:
    """Return the data card as Markdown; it contains no paths of this machine and no time of the export."""
    statistics, runs = plan.statistics, [*source.runs.values()]
    name = posixpath.splitext(posixpath.basename(source.location))[0]
    title = f"Talking faces: {safe_text(name)}"
    note = COLUMN_NOTES[
        f"{config.format}, files" if config.media == "files" and config.format == "parquet" else config.format
    ].format(
        caption=f", and `NAME.txt` with the {CAPTION}"
        if CAPTION in plan.schema.names and config.with_caption_files
        else ""
    )
    environment = Environment(
        loader=PackageLoader("pipelines.runs.export"), undefined=StrictUndefined, autoescape=False
    )
    environment.filters["cell"] = escape_cell
    return environment.get_template("card.md").render(
        metadata=_format_metadata(title, plan, config, licenses, patterns),
        title=title,
        statistics=statistics,
        hours=lambda seconds: f"{seconds / 3600:,.3f}",
        systems=[run.description.name for run in runs if run.description.name],
        picture=CONTACT_SHEET if picture else "",
        loading=_format_loading(config),
        splits=[(HUB_SPLITS[split], statistics.splits[split]) for split in plan.shards],
        metrics=_list_metrics(statistics),
        licenses=licenses,
        sources_stated=bool(statistics.source_licenses),
        column_note=note + (INPUT_NOTES[config.with_files] if config.with_inputs else ""),
        columns=[(entry.name, str(entry.type), statistics.columns[entry.name].nulls) for entry in plan.schema],
        bundles=statistics.bundles.most_common(),
        runs=[_describe_run(run) for run in runs],
        selection=source.is_selection,
        commands=_format_commands(source, runs, config),
    )


def escape_cell(value: object) -> str:
    """Return a value as one line of Markdown without markup, which may stand in a table."""
    text = safe_text(value if isinstance(value, str) else str(value), SHOWN_CHARACTERS)
    return _ACTIVE.sub(lambda match: f"&#{ord(match[0])};", text)


def _format_metadata(
    title: str,
    plan: ExportPlan,
    config: ExportConfig,
    licenses: Sequence[StatedLicense],
    patterns: Mapping[str, list[str]],
) -> str:
    records = plan.statistics.records
    data_files = [
        {"split": HUB_SPLITS[split], "path": paths[0] if len(paths) == 1 else paths}
        for split, paths in patterns.items()
    ]
    metadata: dict[str, Any] = {
        "pretty_name": title,
        "license": config.license or find_hub_license([*licenses]),
        "task_categories": ["image-to-video"],
        "tags": ["talking-head", "audio-driven", "synthetic", "joyvasa"],
        "size_categories": [next((name for limit, name in SIZES if records < limit), "n>1T")],
        "configs": [{"config_name": "default", "data_files": data_files}],
    }
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)


def _format_loading(config: ExportConfig) -> str:
    lines = ["from datasets import load_dataset", "", 'data = load_dataset("OWNER/NAME")  # or the path of this folder']
    if config.format == "webdataset":
        lines += ["", "import webdataset", "", 'samples = webdataset.WebDataset("train/00000.tar", shardshuffle=False)']
    return "\n".join(lines)


def _list_metrics(statistics: DatasetStatistics) -> list[tuple[str, ...]]:
    columns = all_metric_columns()
    rows = []
    for name in sorted(statistics.metrics, key=lambda name: ([*columns, name].index(name), name)):
        moments, column = statistics.metrics[name], columns.get(name)
        if not moments.n:
            continue
        half = moments.half_width
        interval = f"{moments.mean - half:.4g} to {moments.mean + half:.4g}" if half is not None else "-"
        title = f"{column.title}, {column.unit}" if column and column.unit else column.title if column else name
        numbers = f"{moments.mean:.4g}", interval, f"{moments.minimum:.4g}", f"{moments.maximum:.4g}", f"{moments.n:,}"
        rows.append((title, *numbers, (column and column.better) or "-", column.measures if column else "-"))
    return rows


def _describe_run(run: SourceRun) -> dict[str, Any]:
    description = run.description
    content = json.loads(json.dumps({k: v for k, v in description.configuration.items() if k not in MACHINE_OPTIONS}))
    options = yaml.safe_dump(_without_paths(content), sort_keys=False, allow_unicode=True)
    return {
        "name": run.name,
        "kind": "Videos generated" if description.kind == "generate" else "Existing videos, scored",
        "created": description.created,
        "rows": description.manifest.rows,
        "fingerprint": description.manifest.fingerprint,
        "versions": ", ".join(f"{name} {version}" for name, version in description.versions.items()),
        "options": options.replace("```", "'''"),
    }


def _without_paths(value: Any) -> Any:
    """Return options in which absolute paths are reduced to the name of the file."""
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_paths(entry) for entry in value]
    return posixpath.basename(value.rstrip("/")) if isinstance(value, str) and value.startswith("/") else value


def _format_commands(source: ExportSource, runs: Sequence[SourceRun], config: ExportConfig) -> str:
    lines = []
    for run in runs:
        description, manifest = run.description, posixpath.basename(run.description.manifest.uri.rstrip("/"))
        name = ["--name", description.name] if description.kind == "evaluate" else []
        options = ["--config", f"{run.name}-options.yaml"]  # the options above
        lines.append(
            shlex.join(["joyvasa", description.kind, safe_text(manifest, 200), *name, *options, "--out", run.name])
        )

    given = safe_text(posixpath.basename(source.location) if source.is_selection else runs[0].name, 200)
    if source.selection_options:
        criteria = map(escape_unprintable, source.selection_options.to_arguments())
        lines.append(shlex.join(["joyvasa", "select", *(run.name for run in runs), *criteria, "-o", given]))
    elif source.is_selection:
        lines.append(f"# {given}: rows of {'this run' if len(runs) == 1 else 'these runs'} that another program chose")
    command = ["joyvasa", "export", given, "--out", "DEST", "--format", config.format]
    command += ["--media", config.media] if config.media != "embed" else []
    command += ["--shard-size", str(config.shard_bytes)]
    command += [] if config.inputs is None else ["--inputs" if config.inputs else "--no-inputs"]
    command += ["--license", config.license] if config.license else []
    command += ["--accept-licenses"] if config.accept_licenses else []
    return "\n".join([*lines, shlex.join(command)])


CONTACT_SHEET = "contact_sheet.jpg"
LAYOUT = SheetConfig(frames=6, height=128, quality=80)
MAX_S = 10.0  # seconds decoded of each video
GAP = 4  # pixels between rows


def make_overview(samples: Sequence[tuple[str, float | None]]) -> bytes | None:
    """Make a picture with one row of frames per video, as a JPEG file; None if no video can be read.

    Args:
        samples: locations of videos and their durations in seconds.
    """
    from PIL import Image

    rows = []
    for location, duration_s in samples:
        try:
            sheet = make_contact_sheet(VideoSource(location, duration_s), LAYOUT, max_s=MAX_S)
        except (InputError, OSError):
            continue
        rows.append(Image.open(io.BytesIO(sheet)).convert("RGB"))
    if not rows:
        return None

    size = max(row.width for row in rows), sum(row.height for row in rows) + GAP * (len(rows) - 1)
    picture, top = Image.new("RGB", size, "white"), 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height + GAP
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=LAYOUT.quality, optimize=True)
    return sink.getvalue()
