"""The figures as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.table import Table

from pipelines.bench.chain import ChainSection
from pipelines.bench.document import Document
from pipelines.bench.networks import NetworksSection


def tables(document: Document) -> Iterator[Table]:
    """One table a section, in the order of measuring."""
    machine = document.machine
    memory = f"{machine.memory_bytes / 2**30:.0f} GiB" if machine.memory_bytes else "unknown memory"
    yield _table(
        "Machine",
        ("processor", "cores", "threads", "memory", "device", "PyTorch", "models"),
        [(machine.processor, machine.cores, machine.threads, memory, machine.device, machine.torch, document.models)],
    )
    if document.networks:
        yield from _networks(document.networks)
    if document.chain:
        yield from _chain(document.chain)
    if document.engine:
        rows = [(one.executor, one.records, one.records_per_s, one.ms_per_record) for one in document.engine]
        yield _table("Engine with empty stages", ("executor", "records", "records/s", "ms/record"), rows)
    if document.scaling:
        columns = ("over", "stage", "value", "records/s", "ratio", "real time", "memory")
        rows = [
            (
                one.over,
                one.stage,
                one.value,
                one.skipped or one.records_per_s,
                one.ratio,
                one.real_time_factor,
                _mebibytes(one.peak_memory_bytes),
            )
            for one in document.scaling
        ]
        yield _table("Scaling", columns, rows)
    if document.encoding:
        columns = ("preset", "threads", "frame", "frames/s", "processor ms/frame", "bytes/frame", "PSNR dB")
        rows = [
            (
                one.preset,
                one.threads,
                f"{one.width}x{one.height}",
                one.frames_per_s,
                one.processor_ms_per_frame,
                one.bytes_per_frame,
                one.psnr_db,
            )
            for one in document.encoding
        ]
        yield _table("Encoding", columns, rows)


def _networks(section: NetworksSection) -> Iterator[Table]:
    rows = [(one.computation, one.precision, one.flops_per_s / 1e9) for one in section.limits]
    yield _table("Limits", ("computation", "precision", "GFLOP/s"), rows)
    columns = ("network", "batch", "precision", "compiled", "ms/item", "plain ms/item", "gain", "items/s", "GFLOP/s")
    rows = [
        (
            one.network,
            one.batch,
            one.precision,
            "yes" if one.compiled else "no",
            one.skipped or one.ms_per_item,
            one.plain_seconds and 1000 * one.plain_seconds / one.batch,
            one.gain,
            one.items_per_s,
            one.flops_per_s and one.flops_per_s / 1e9,
            _percent(one.share_of_matrix_product),
            _percent(one.share_of_convolution),
            _mebibytes(one.memory_bytes),
        )
        for one in section.networks
    ]
    yield _table("Networks", (*columns, "of matrix product", "of convolution", "memory"), rows)


def _chain(section: ChainSection) -> Iterator[Table]:
    columns = ("stage", "workers", "batch", "records/s alone", "set-up s", "first batch s", "later s", "of busy time")
    rows = [
        (
            one.stage,
            one.workers,
            one.batch_size,
            one.records_per_s,
            one.setup_s,
            one.first_batch_s,
            one.later_batch_s,
            _percent(one.share_of_busy),
            _percent(one.batch_fill),
            _mebibytes(one.peak_memory_bytes),
        )
        for one in section.stages
    ]
    yield _table("Stages", (*columns, "batch fill", "memory"), rows)
    one = section.chain
    columns = ("records", "frames", "s", "records/s", "frames/s", "real time", "slowest stage", "efficiency")
    row = (one.records, one.frames, one.elapsed_s, one.records_per_s, one.frames_per_s, one.real_time_factor)
    yield _table("Chain", columns, [(*row, one.slowest_stage, _percent(one.efficiency))])


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


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _mebibytes(n_bytes: int | None) -> str | None:
    return None if n_bytes is None else f"{n_bytes / 2**20:,.0f} MiB"
