"""Tables of the figures for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from rich.table import Table

from pipelines.bench.bench import Document
from pipelines.bench.chain import ChainSection
from pipelines.bench.networks import NetworksSection


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
        yield from _networks(document.networks)
    if document.chain:
        yield from _chain(document.chain)
    if document.engine:
        rows = [
            (figure.executor, figure.records, figure.records_per_s, figure.ms_per_record) for figure in document.engine
        ]
        yield _table("Engine with empty stages", ("executor", "records", "records/s", "ms/record"), rows)
    if document.simulation:
        columns = ("GPUs", "deaths", "records/s", "used", "driver, cores", "memory, MiB", "longest idle, s")
        rows = [dataclasses.astuple(figure) for figure in document.simulation]
        yield _table("One driver with simulated GPUs", columns, rows)
    if document.scaling:
        columns = ("over", "stage", "value", "records/s", "ratio", "real time", "memory")
        rows = [
            (
                figure.over,
                figure.stage,
                figure.value,
                figure.skipped or figure.records_per_s,
                figure.ratio,
                figure.real_time_factor,
                _mebibytes(figure.peak_memory_bytes),
            )
            for figure in document.scaling
        ]
        yield _table("Scaling", columns, rows)
    if document.encoding:
        columns = ("preset", "threads", "frame", "frames/s", "processor ms/frame", "bytes/frame", "PSNR dB")
        rows = [
            (
                figure.preset,
                figure.threads,
                f"{figure.width}x{figure.height}",
                figure.frames_per_s,
                figure.processor_ms_per_frame,
                figure.bytes_per_frame,
                figure.psnr_db,
            )
            for figure in document.encoding
        ]
        yield _table("Encoding", columns, rows)


def _networks(section: NetworksSection) -> Iterator[Table]:
    rows = [(figure.computation, figure.precision, figure.flops_per_s / 1e9) for figure in section.limits]
    yield _table("Limits", ("computation", "precision", "GFLOP/s"), rows)

    columns = ("network", "batch", "precision", "compiled", "ms/item", "plain ms/item", "gain", "items/s", "GFLOP/s")
    rows = [
        (
            figure.network,
            figure.batch,
            figure.precision,
            figure.torch_compile,
            figure.skipped or figure.ms_per_item,
            figure.plain_seconds and 1000 * figure.plain_seconds / figure.batch,
            figure.gain,
            figure.items_per_s,
            figure.flops_per_s and figure.flops_per_s / 1e9,
            _percent(figure.share_of_matrix_product),
            _percent(figure.share_of_convolution),
            _mebibytes(figure.memory_bytes),
        )
        for figure in section.networks
    ]
    yield _table("Networks", (*columns, "of matrix product", "of convolution", "memory"), rows)


def _chain(section: ChainSection) -> Iterator[Table]:
    columns = ("stage", "workers", "batch", "records/s alone", "set-up s", "first batch s", "later s", "of busy time")
    rows = [
        (
            figure.stage,
            figure.workers,
            figure.batch_size,
            figure.records_per_s,
            figure.setup_s,
            figure.first_batch_s,
            figure.later_batch_s,
            _percent(figure.share_of_busy),
            _percent(figure.batch_fill),
            _mebibytes(figure.peak_memory_bytes),
        )
        for figure in section.stages
    ]
    yield _table("Stages", (*columns, "batch fill", "memory"), rows)

    chain = section.chain
    columns = ("records", "frames", "s", "records/s", "frames/s", "real time", "slowest stage", "efficiency")
    row = (chain.records, chain.frames, chain.elapsed_s, chain.records_per_s, chain.frames_per_s)
    shares = (chain.real_time_factor, chain.slowest_stage, _percent(chain.efficiency))
    yield _table("Chain", columns, [(*row, *shares)])


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
