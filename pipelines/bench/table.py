"""Tables of the figures for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table

from pipelines.bench.bench import Document


def build_tables(document: Document) -> Iterator[Table]:
    """Yield the tables of each section, in the order of measurement."""
    machine = document.machine
    memory = f"{machine.memory_bytes / 2**30:.0f} GiB" if machine.memory_bytes else "unknown memory"
    yield _table(
        "Machine",
        ("processor", "cores", "threads", "memory", "device", "PyTorch", "models"),
        [(machine.processor, machine.cores, machine.threads, memory, machine.device, machine.torch, document.models)],
    )

    if document.networks:
        limits = {"computation": "computation", "precision": "precision", "GFLOP/s": lambda f: f.flops_per_s / 1e9}
        yield _table_of("Limits", document.networks.limits, limits)
        yield _table_of("Networks", document.networks.networks, NETWORKS)
    if document.chain:
        yield _table_of("Stages", document.chain.stages, STAGES)
        yield _table_of("Chain", [document.chain.chain], CHAIN)
    if document.engine:
        columns = {"executor": "executor", "records": "records", "records/s": "records_per_s"}
        yield _table_of("Engine with empty stages", document.engine, {**columns, "ms/record": "ms_per_record"})
    if document.simulation:
        yield _table_of("One driver with simulated GPUs", document.simulation, SIMULATION)
    if document.scaling:
        yield _table_of("Scaling", document.scaling, SCALING)
    if document.encoding:
        yield _table_of("Encoding", document.encoding, ENCODING)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _mebibytes(n_bytes: int | None) -> str | None:
    return None if n_bytes is None else f"{n_bytes / 2**20:,.0f} MiB"


# Titles of the columns, with the field of the figures, or a function that computes the value.
Columns = Mapping[str, str | Callable[[Any], Any]]
NETWORKS: Columns = {
    "network": "network",
    "batch": "batch",
    "precision": "precision",
    "compiled": "torch_compile",
    "ms/item": lambda f: f.skipped or f.ms_per_item,
    "plain ms/item": lambda f: f.plain_seconds and 1000 * f.plain_seconds / f.batch,
    "gain": "gain",
    "items/s": "items_per_s",
    "GFLOP/s": lambda f: f.flops_per_s and f.flops_per_s / 1e9,
    "of matrix product": lambda f: _percent(f.share_of_matrix_product),
    "of convolution": lambda f: _percent(f.share_of_convolution),
    "memory": lambda f: _mebibytes(f.memory_bytes),
}
STAGES: Columns = {
    "stage": "stage",
    "workers": "workers",
    "batch": "batch_size",
    "records/s alone": "records_per_s",
    "set-up s": "setup_s",
    "first batch s": "first_batch_s",
    "later s": "later_batch_s",
    "of busy time": lambda f: _percent(f.share_of_busy),
    "batch fill": lambda f: _percent(f.batch_fill),
    "memory": lambda f: _mebibytes(f.peak_memory_bytes),
}
CHAIN: Columns = {
    "records": "records",
    "frames": "frames",
    "s": "elapsed_s",
    "records/s": "records_per_s",
    "frames/s": "frames_per_s",
    "real time": "real_time_factor",
    "slowest stage": "slowest_stage",
    "efficiency": lambda f: _percent(f.efficiency),
}
SIMULATION: Columns = {
    "GPUs": "gpus",
    "deaths": "deaths",
    "records/s": "records_per_s",
    "used": "used",
    "driver, cores": "driver_share",
    "memory, MiB": "memory_mib",
    "longest idle, s": "longest_idle_s",
}
SCALING: Columns = {
    "over": "over",
    "stage": "stage",
    "value": "value",
    "records/s": lambda f: f.skipped or f.records_per_s,
    "ratio": "ratio",
    "real time": "real_time_factor",
    "memory": lambda f: _mebibytes(f.peak_memory_bytes),
}
ENCODING: Columns = {
    "preset": "preset",
    "threads": "threads",
    "frame": lambda f: f"{f.width}x{f.height}",
    "frames/s": "frames_per_s",
    "processor ms/frame": "processor_ms_per_frame",
    "bytes/frame": "bytes_per_frame",
    "PSNR dB": "psnr_db",
}


def _table_of(title: str, figures: Iterable[object], columns: Columns) -> Table:
    rows = [[getattr(f, read) if isinstance(read, str) else read(f) for read in columns.values()] for f in figures]
    return _table(title, columns, rows)


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
