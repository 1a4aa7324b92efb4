"""`joyvasa models`: list, fetch, verify and convert model bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli import FAILED
from pipelines.cli.options import AsJson, local_path, print_json
from pipelines.cli.progress import ProgressDisplay, build_console

if TYPE_CHECKING:
    from joyvasa.bundles import Bundle

app = typer.Typer(name="models", no_args_is_help=True, help="List, fetch, verify and convert model bundles.")

BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a model bundle.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Use only this role; may be repeated.")]
ModeName = Annotated[
    str, typer.Option("--mode", help="Use the roles of a mode: human, animal, training or all. Ignored with --role.")
]


def _select_roles(bundle: Bundle, roles: list[str] | None, mode: str) -> list[str]:
    """Return the roles for a command; raise if the mode has none."""
    selected = roles or bundle.spec.roles_for_mode(mode)
    if not selected:
        raise typer.BadParameter(f"bundle {bundle.name} has no roles for mode {mode!r}", param_hint="--mode")
    bundle.get_licenses(selected)  # raises for unknown roles
    return selected


@contextmanager
def _role_progress(title: str, n_roles: int) -> Iterator[Callable[[str], None]]:
    """Show the progress over roles; yield a function to be called with the name of each before it is processed."""
    done = count()
    with ProgressDisplay() as progress:
        yield lambda name: progress.update(title, next(done), n_roles, name)


def _format_size(n_bytes: int | None, about_bytes: int | None = None) -> str:
    if n_bytes is None:
        return "?" if about_bytes is None else f"about {_format_size(about_bytes)}"
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 100_000 else f"{n_bytes:,} B"


def _build_table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        wide = column in ("role", "license")
        table.add_column(column, no_wrap=not wide, overflow="fold", justify="right" if column == "size" else "left")
    return table


def _role_rows(bundle: Bundle) -> list[dict[str, Any]]:
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
                "about_bytes": role.about_bytes,
                "license": license.name,
                "commercial": license.commercial,
                "available": bundle.has_role(name),
                "needs": "" if bundle.has_role(name) else bundle.describe_missing([name]),
            }
        )
    return rows


@app.command("list")
def list_models_command(
    models: Annotated[
        str | None, typer.Argument(metavar="BUNDLE", help="Name or folder of a model bundle; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List bundles with the sizes, licenses and availability of their roles."""
    from joyvasa.bundles import get_models_folder, list_bundle_names, open_bundle

    bundles = [open_bundle(name) for name in (list_bundle_names() if models is None else [models])]
    if as_json:
        print_json(
            [
                {
                    "name": bundle.name,
                    "description": bundle.spec.description,
                    "folder": str(bundle.folder),
                    "synthetic": bundle.synthetic,
                    "notes": list(bundle.notes),
                    "roles": _role_rows(bundle),
                }
                for bundle in bundles
            ]
        )
        return

    console = build_console()
    for bundle in bundles:
        console.print(Text.assemble((bundle.name, "bold"), f": {bundle.spec.description}"), soft_wrap=True)
        table = _build_table("role", "size", "license", "state")
        missing: dict[str, None] = {}
        for row in _role_rows(bundle):
            size = "generated" if row["file"] is None else _format_size(row["bytes"], row["about_bytes"])
            state = "available" if row["available"] else "missing"
            table.add_row(row["role"], size, row["license"], state)
            if not row["available"]:
                missing[row["needs"]] = None
        console.print(table)
        for sentence in missing:
            console.print(sentence, soft_wrap=True)
        _print_notes(console, bundle)
    console.print(f"Models are fetched to {get_models_folder()}; set JOYVASA_MODELS to change it.", soft_wrap=True)


@app.command("fetch")
def fetch_models_command(
    models: BundleName,
    roles: Roles = None,
    mode: ModeName = "human",
    commercial_only: Annotated[
        bool, typer.Option("--commercial-only", help="Skip weights that may not be used commercially.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download missing files from the Hugging Face Hub. Resumes interrupted downloads and checks all hashes."""
    from joyvasa.bundles import open_bundle
    from joyvasa.bundles.fetch import fetch_files, plan_fetch

    bundle = open_bundle(models)
    console = build_console(stderr=as_json)
    plan = plan_fetch(bundle, _select_roles(bundle, roles, mode), commercial_only=commercial_only)
    if plan.pending:
        console.print(f"Downloading {_format_size(plan.bytes)} to {bundle.folder}", soft_wrap=True)
    results = fetch_files(
        bundle,
        plan,
        on_file=lambda name, role: console.print(f"{name}: {role.file} ({_format_size(role.bytes)})", soft_wrap=True),
    )

    if as_json:
        print_json([vars(result) for result in results])
    elif not results:
        console.print("nothing to fetch: no role has a file")
    else:
        messages = {
            "fetched": "fetched",
            "present": "already present",
            "refused": "skipped: not for commercial use",
            "no_source": "cannot be fetched: no source in bundle.yaml",
        }
        for result in results:
            instructions = bundle.spec.roles[result.role].instructions if result.outcome == "no_source" else ""
            text = f"get it by hand: {instructions}" if instructions else messages[result.outcome]
            console.print(f"{result.role}: {text}", soft_wrap=True)
    if any(result.outcome == "no_source" for result in results):
        raise typer.Exit(FAILED)


@app.command("verify")
def verify_models_command(
    models: BundleName,
    roles: Roles = None,
    mode: ModeName = "human",
    load: Annotated[bool, typer.Option("--load/--no-load", help="Also load each file into its network.")] = True,
    as_json: AsJson = False,
) -> None:
    """Verify that files exist, have the right size and hash, and can be loaded. Exits with 1 if one fails."""
    from joyvasa.bundles import open_bundle
    from joyvasa.bundles.verification import verify_bundle

    bundle = open_bundle(models)
    selected = _select_roles(bundle, roles, mode)
    with _role_progress("verifying", len(selected)) as show:
        checks = verify_bundle(bundle, selected, load=load, on_role=show)

    good = all(check.passed for check in checks)
    if as_json:
        print_json(
            {
                "name": bundle.name,
                "folder": str(bundle.folder),
                "ok": good,
                "notes": list(bundle.notes),
                "files": [check.to_dict() for check in checks],
            }
        )
    else:
        console = build_console()
        console.print(Text.assemble((bundle.name, "bold"), f" in {bundle.folder}"), soft_wrap=True)
        table = _build_table("role", "size", "sha256", "loads", "license", "result")
        for check in checks:
            digest = f"{check.sha256[:12]}{'' if check.pinned else ' unpinned'}" if check.sha256 else ""
            loads = {True: "yes", False: "no", None: ""}[check.loads]
            size = _format_size(check.bytes) if check.file else "generated"
            table.add_row(check.role, size, digest, loads, check.license, check.status)
        console.print(table)
        for check in checks:
            if check.problem:
                console.print(f"{check.role}: {check.problem}", soft_wrap=True)
        _print_notes(console, bundle)
    if not good:
        raise typer.Exit(FAILED)


@app.command("convert")
def convert_models_command(
    models: BundleName,
    roles: Roles = None,
    mode: ModeName = "all",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New folder for a complete bundle; by default, files are written next to the pickles.",
            parser=local_path,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert the published pickle files to safetensors; missing files are skipped."""
    from joyvasa.bundles import open_bundle
    from joyvasa.bundles.conversion import convert_in_place, convert_to_folder

    bundle = open_bundle(models)
    console = build_console(stderr=as_json)
    selected = _select_roles(bundle, roles, mode)
    with _role_progress("converting", len(selected)) as show:
        if out:
            converted = convert_to_folder(bundle, selected, out, on_role=show)
        else:
            converted = convert_in_place(bundle, selected, on_role=show)
    if as_json:
        print_json([{"role": item.role, "path": str(item.path), "copied": item.copied} for item in converted])
    elif converted:
        for item in converted:
            console.print(f"{item.path}{' (copied)' if item.copied else ''}", soft_wrap=True)
    else:
        console.print("nothing to convert: no published pickle file exists", soft_wrap=True)


def _print_notes(console: Console, bundle: Bundle) -> None:
    for note in bundle.notes:
        console.print(f"note: {note}", soft_wrap=True)
