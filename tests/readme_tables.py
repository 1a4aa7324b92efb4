"""Tables of options, stages and columns in the READMEs, generated from the classes that declare them.

A README marks a table with `<!-- table: NAME -->` and `<!-- end of table -->`. In a checkout,
`python -m tests.readme_tables` rewrites all of them.
"""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import stages
from joyvasa.config import format_range
from joyvasa.options import AnimationConfig
from joyvasa.training.clip_config import ClipConfig
from joyvasa.training.config import TrainingConfig
from manifests.run.outcome import RecordOutcome
from manifests.run.outcome_table import RESULT_FIELDS
from manifests.schema import MANIFEST_COLUMNS
from pipelines.bench.bench import Document
from pipelines.bench.config import BenchConfig
from pipelines.runs.config import RunConfig
from stages.base import Stage

ROOT = Path(__file__).parents[1]
ROOMS = ("joyvasa", "stages", "manifests", "pipelines")
OPTIONS = {
    "animate": (AnimationConfig(), ""),
    "generate": (RunConfig(), ""),  # without `animation` and `clips`, which have tables of their own
    "prepare": (ClipConfig(), "clips."),
    "train": (TrainingConfig(), ""),
}


def fill_tables(text: str) -> str:
    """Return the text of a README with each marked table as it is now."""
    marked = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
    return marked.sub(lambda match: f"{match[1]}{render_table(match[2])}{match[3]}", text)


def render_table(name: str) -> str:
    """Return a table in Markdown.

    Args:
        name: `stages`, `manifest`, `records`, `bench`, a command in `OPTIONS` for its options, or `classes_COMMAND`
            for the classes that declare them.
    """
    if name == "stages":
        heads = ("stage", "`batch_size`", "workers", "`num_cpus`", "`num_gpus`", "`time_limit_s`")
        rows = [_stage_row(stage) for stage in find_stages()]
    elif name == "manifest":
        heads = ("column", "meaning")
        rows = [(f"`{column.name}`", column.meaning) for column in MANIFEST_COLUMNS]
    elif name == "records":
        heads, comments = ("column", "type", "meaning"), field_comments(RecordOutcome)
        rows = [(f"`{field.name}`", f"`{field.type}`", comments[field.name]) for field in RESULT_FIELDS]
    elif name == "bench":
        heads = ("entry", "meaning")
        rows = list(document_rows(Document))
    elif name.startswith("classes_"):
        heads = ("options", "class", "file")
        rows = list(class_rows(*OPTIONS[name.removeprefix("classes_")]))
    else:
        heads = ("option", "default", "values", "meaning")
        rows = list(option_rows(*OPTIONS[name]))

    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def option_rows(config: Any, prefix: str = "") -> Iterator[Sequence[str]]:
    """Yield name, default, values and meaning of each option of a configuration.

    Args:
        config: configuration with its defaults.
        prefix: path of the configuration in its parent, with a dot at its end.
    """
    hints, meanings = get_type_hints(type(config)), field_comments(type(config))
    parts = {item.name: part for item, *part in nested_configs(config, prefix)}

    for item in fields(config):
        value = getattr(config, item.name)
        if item.name in parts:
            yield from option_rows(*parts[item.name])
        elif not is_dataclass(value):
            values, meaning = format_range(item) or _values(hints[item.name]), meanings.get(item.name, "")
            if "ge" in item.metadata and value is None:
                values = f"{values}, `null`"
            yield f"`{prefix}{item.name}`", f"`{_as_yaml(value)}`", values, meaning


def class_rows(config: Any, prefix: str = "") -> Iterator[Sequence[str]]:
    """Yield the options, the name and the file of a configuration class and of those nested in it."""
    file = Path(inspect.getfile(type(config))).relative_to(ROOT)
    yield f"`{prefix}*`", f"`{type(config).__name__}`", f"`{file}`"
    for _, value, path in nested_configs(config, prefix):
        yield from class_rows(value, path)


def nested_configs(config: Any, prefix: str) -> Iterator[tuple[Field[Any], Any, str]]:
    """Yield field, value and prefix of each nested configuration that has no table of its own."""
    hints = get_type_hints(type(config))

    for item in fields(config):
        hint, value = hints[item.name], getattr(config, item.name)
        if get_origin(hint) is Mapping:  # options by the name of a stage
            yield item, get_args(hint)[1](), f"{prefix}{item.name}.NAME."
        elif is_dataclass(value) and not isinstance(value, (AnimationConfig, ClipConfig)):
            yield item, value, f"{prefix}{item.name}."


def document_rows(document: type, path: str = "") -> Iterator[Sequence[str]]:
    """Yield path and meaning of each entry of a JSON document that a dataclass describes; `[]` is an item of a list."""
    hints, meanings = get_type_hints(document), field_comments(document)

    for item in fields(document):
        hint, name = hints[item.name], f"{path}{item.name}"
        nested = next((part for part in _walk_hint(hint) if is_dataclass(part) and part is not BenchConfig), None)
        if nested is None:
            yield f"`{name}`", meanings.get(item.name, "")
        else:
            is_list = any(get_origin(part) in (tuple, Sequence) for part in (hint, *get_args(hint)))
            yield from document_rows(nested, f"{name}[]." if is_list else f"{name}.")  # type: ignore[arg-type]


def _walk_hint(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _walk_hint(part)


def field_comments(config: type) -> dict[str, str]:
    """Return what the source of a dataclass says about each field.

    That is the entry under `Args:` or `Attributes:` in its docstring, or the comment above the field and at the end of
    its line; a comment may be shared, as `low, high: range of the numbers`.
    """
    source = textwrap.dedent(inspect.getsource(config))
    lines, tree = source.splitlines(), ast.parse(source).body[0]
    entries = re.findall(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", inspect.getdoc(config) or "", re.MULTILINE)
    comments = {name: re.sub(r"\s+", " ", text) for names, text in entries for name in names.split(", ")}

    for node in tree.body:  # type: ignore[attr-defined]  (a class by contract)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            start = node.lineno - 1
            while lines[start - 1].strip().startswith("#"):
                start -= 1
            parts = [line.strip() for line in lines[start : node.lineno - 1]]
            parts += re.findall(r"  (# .*)", lines[(node.end_lineno or 0) - 1])[:1]
            if parts:
                text = " ".join(part.removeprefix("# ") for part in parts)
                names, _, shared = text.partition(": ")
                is_shared = names.startswith(f"{node.target.id}, ")  # `low, high: range`, above the first of them
                for name in names.split(", ") if is_shared else [node.target.id]:
                    comments.setdefault(name, shared if is_shared else text)
    return {name: re.sub(r"\bNone\b", "`null`", text).rstrip(".") for name, text in comments.items()}


def find_stages() -> list[type[Stage]]:
    """Return the classes of all stages, in the order of their names."""
    modules = [import_module(f"stages.{module.name}") for module in pkgutil.iter_modules(stages.__path__)]
    classes = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    return sorted(
        (kind for kind in classes if issubclass(kind, Stage) and kind is not Stage), key=lambda kind: kind.name
    )


def _stage_row(stage: type[Stage]) -> Sequence[str]:
    needs = stage.resources
    workers = "one per GPU, or one" if needs.workers == "per_gpu" else "one"
    cores = "1 with a GPU, else all" if needs.all_cores else f"{needs.cpu:g}"
    return f"`{stage.name}`", str(stage.batch_size), workers, cores, f"{needs.gpu:g}", f"{needs.time_limit_s:g}"


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _values(hint: Any) -> str:
    """Return what an option accepts: its choices, or its type as YAML names it."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        return f"list of {_values(first)}" if Ellipsis in rest else f"{1 + len(rest)} × {_values(first)}"
    if get_args(hint):
        return ", ".join(_values(part) for part in get_args(hint))
    names = {str: "text", float: "number", int: "whole number", bool: "`true`, `false`", type(None): "`null`"}
    return names.get(hint, "mapping")


def main() -> None:
    """Rewrite the tables in the READMEs of the rooms."""
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("README.md")):
        text = file.read_text(encoding="utf-8")
        if (filled := fill_tables(text)) != text:
            file.write_text(filled, encoding="utf-8")
            print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
