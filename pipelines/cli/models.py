"""`joyvasa models`: list, fetch, verify and convert the weights."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.cli import FAILED
from pipelines.cli.options import AsJson
from pipelines.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from joyvasa.bundles import Bundle

app = typer.Typer(
    name="models", no_args_is_help=True, help="Model bundles: what is there, getting it, checking it, converting it."
)

Models = Annotated[str, typer.Argument(metavar="NAME|PATH", help="A bundle, as for --models.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Only this role; may be repeated.")]
ModeName = Annotated[str, typer.Option("--mode", help="human, animal, training or all; --role wins over it.")]


def _chosen(bundle: Bundle, roles: list[str] | None, mode: str) -> list[str]:
    """Roles that a command works on; complains about a mode without any."""
    chosen = roles or bundle.spec.of_mode(mode)
    if not chosen:
        raise typer.BadParameter(f"bundle {bundle.name} has no roles for mode {mode!r}", param_hint="--mode")
    bundle.licenses(chosen)  # refuses unknown roles
    return chosen


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "?"
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 100_000 else f"{n_bytes:,} B"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        wide = column in ("role", "license")
        table.add_column(column, no_wrap=not wide, overflow="fold", justify="right" if column == "size" else "left")
    return table


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _rows(bundle: Bundle) -> list[dict[str, Any]]:
    rows = []
    for name, role in bundle.spec.roles.items():
        license = bundle.spec.licenses[role.license]
        rows.append(
            {
                "role": name,
                "modes": role.modes,
                "optional": role.optional,
                "file": role.file,
                "bytes": role.bytes,
                "license": license.name,
                "commercial": license.commercial,
                "available": bundle.has(name),
                "needs": "" if bundle.has(name) else bundle.needs([name]),
            }
        )
    return rows


@app.command("list")
def list_command(
    models: Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="Only this bundle.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show bundles with their roles, sizes and licenses, and what is there."""
    from joyvasa.bundles import bundle_names, models_folder, open_bundle

    bundles = [open_bundle(name) for name in ([models] if models else bundle_names())]
    if as_json:
        _print_json(
            [
                {
                    "name": bundle.name,
                    "description": bundle.spec.description,
                    "folder": str(bundle.folder),
                    "synthetic": bundle.synthetic,
                    "notes": list(bundle.notes),
                    "roles": _rows(bundle),
                }
                for bundle in bundles
            ]
        )
        return
    console = Console()
    for bundle in bundles:
        console.print(f"[bold]{bundle.name}[/]: {bundle.spec.description}", soft_wrap=True)
        table = _table("role", "size", "license", "state")
        missing: dict[str, None] = {}
        for row in _rows(bundle):
            size = "generated" if row["file"] is None else _size(row["bytes"])
            state = "there" if row["available"] else "not available"
            table.add_row(row["role"], size, row["license"], state)
            if not row["available"]:
                missing[row["needs"]] = None
        console.print(table)
        for sentence in missing:
            console.print(sentence, soft_wrap=True, markup=False, highlight=False)
        _print_notes(console, bundle)
    console.print(f"Fetched models live in {models_folder()} (JOYVASA_MODELS changes it).", soft_wrap=True)


@app.command("fetch")
def fetch_command(
    models: Models,
    roles: Roles = None,
    mode: ModeName = "human",
    commercial_only: Annotated[
        bool, typer.Option("--commercial-only", help="Leave out weights that may not be used commercially.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Get missing files from the Hugging Face hub. Continues a broken transfer; checks before it keeps a file."""
    from joyvasa.bundles import open_bundle
    from joyvasa.bundles.fetch import fetch, plan_fetch

    bundle = open_bundle(models)
    console = Console(stderr=as_json)
    plan = plan_fetch(bundle, _chosen(bundle, roles, mode), commercial_only=commercial_only)
    if plan.wanted:
        console.print(f"To transfer: {_size(plan.bytes)} into {bundle.folder}", soft_wrap=True)
    results = fetch(
        bundle,
        plan,
        on_file=lambda name, role: console.print(f"{name}: {role.file} ({_size(role.bytes)})", soft_wrap=True),
    )
    if as_json:
        _print_json([vars(result) for result in results])
    elif not results:
        console.print("nothing to fetch: no role has a file")
    else:
        said = {
            "fetched": "fetched",
            "present": "already there",
            "refused": "left out: not for commercial use",
            "no_source": "cannot be fetched: bundle.yaml names no source",
        }
        for result in results:
            console.print(f"{result.role}: {said[result.outcome]}", soft_wrap=True)
    if any(result.outcome == "no_source" for result in results):
        raise typer.Exit(FAILED)


@app.command("verify")
def verify_command(
    models: Models,
    roles: Roles = None,
    mode: ModeName = "human",
    load: Annotated[bool, typer.Option("--load/--no-load", help="Also load each file into its network.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check that files are there, have their size and hash, and load. Exit code 1 if one does not."""
    from joyvasa.bundles import open_bundle
    from joyvasa.bundles.verify import verify

    bundle = open_bundle(models)
    chosen, done = _chosen(bundle, roles, mode), count()
    with ProgressDisplay() as progress:
        checks = verify(
            bundle, chosen, load=load, on_role=lambda name: progress.update("checking", next(done), len(chosen), name)
        )
    good = all(check.good for check in checks)
    if as_json:
        _print_json(
            {
                "name": bundle.name,
                "folder": str(bundle.folder),
                "ok": good,
                "notes": list(bundle.notes),
                "files": [check.row() for check in checks],
            }
        )
    else:
        console = Console()
        console.print(f"[bold]{bundle.name}[/] in {bundle.folder}", soft_wrap=True)
        table = _table("role", "size", "sha256", "loads", "license", "result")
        for check in checks:
            digest = f"{check.sha256[:12]}{'' if check.pinned else ' unpinned'}" if check.sha256 else ""
            loads = {True: "yes", False: "no", None: ""}[check.loads]
            size = _size(check.bytes) if check.file else "generated"
            table.add_row(check.role, size, digest, loads, check.license, check.status)
        console.print(table)
        for check in checks:
            if check.problem:
                console.print(f"{check.role}: {check.problem}", soft_wrap=True, markup=False)
        _print_notes(console, bundle)
    if not good:
        raise typer.Exit(FAILED)


@app.command("convert")
def convert_command(
    models: Models,
    roles: Roles = None,
    mode: ModeName = "all",
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder that becomes a complete bundle; else beside the pickles.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn published pickles into safetensors, once; files that are not there are left out."""
    from joyvasa.bundles import open_bundle
    from joyvasa.bundles.convert import convert_in_place, convert_to_folder

    bundle = open_bundle(models)
    console = Console(stderr=as_json)
    chosen = _chosen(bundle, roles, mode)

    def show(name: str) -> None:
        console.print(f"converting {name}", soft_wrap=True)

    done = (
        convert_to_folder(bundle, chosen, out, on_role=show) if out else convert_in_place(bundle, chosen, on_role=show)
    )
    if as_json:
        _print_json([{"role": item.role, "path": str(item.path), "copied": item.copied} for item in done])
    elif done:
        for item in done:
            console.print(f"{item.path}{' (copied)' if item.copied else ''}", soft_wrap=True)
    else:
        console.print("nothing to convert: no published pickle is there", soft_wrap=True)


def _print_notes(console: Console, bundle: Bundle) -> None:
    for note in bundle.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
