"""What `orbitflow trace inspect` shows of a trace: overview, lengths and their distribution."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import zip_longest

import numpy as np
from rich.console import Console
from rich.table import Table

from orbitflow.arrays import IntArray
from orbitflow.traces.summary import Burstiness, LengthSummary, TraceSummary
from orbitflow.traces.trace import Trace
from orbitflow.units import format_seconds


def print_trace(trace: Trace, summary: TraceSummary) -> None:
    """Print all of it as tables."""
    console = Console(highlight=False, markup=False)
    console.print(_overview(trace, summary))
    console.print(_length_table(summary))
    console.print(_histogram(trace))


def trace_as_json(trace: Trace, summary: TraceSummary) -> str:
    """Write the overview as JSON, in tokens and the trace's own unit of time."""
    about = {
        "name": trace.name,
        "source": trace.source,
        "format": trace.format,
        **asdict(summary),
        "max_batch": trace.max_batch,
        "kv_capacity_tokens": trace.kv_capacity_tokens,
        "notices": trace.notices,
    }
    return json.dumps(about, indent=2, allow_nan=False)


def _overview(trace: Trace, summary: TraceSummary) -> Table:
    table = Table(title=f"{trace.name} ({trace.format})", show_header=False, title_justify="left")
    table.add_row("source", trace.source)
    table.add_row("requests", f"{summary.requests:,}")
    for name, value in (*_time_rows(summary), *_burst_rows(summary.burstiness)):
        table.add_row(name, value)
    table.add_row("Spearman input/output", _figure(summary.spearman))
    if trace.max_batch is not None:
        table.add_row("batch size of the trace", f"{trace.max_batch:,}")
    if trace.kv_capacity_tokens is not None:
        table.add_row("KV capacity of the trace", f"{trace.kv_capacity_tokens:,} tokens")
    for name, column in (("TBT", trace.slo_tbt_s), ("TTFT", trace.slo_ttft_s)):
        if column is not None:
            table.add_row(f"with an own {name} SLO", f"{int((column > 0).sum()):,} requests")
    return table


def _time_rows(summary: TraceSummary) -> list[tuple[str, str]]:
    gap_cv = ("CV of gaps", _figure(summary.gap_cv))
    if summary.arrival_unit == "steps":
        rate = None if summary.rate is None else summary.rate * 1000
        return [
            ("span", f"{summary.span:,.0f} engine steps (a profile gives a step its length)"),
            ("rate", f"{_figure(rate)} requests per 1,000 steps"),
            gap_cv,
        ]
    return [
        ("span", format_seconds(summary.span)),
        ("rate", f"{_figure(summary.rate)} requests/s"),
        gap_cv,
    ]


def _burst_rows(bursts: Burstiness | None) -> list[tuple[str, str]]:
    if bursts is None:
        return []
    window = f"{bursts.window_s:g} s windows"
    return [
        (f"CV of arrivals in {window}", _figure(bursts.cv)),
        ("their lag-1 autocorrelation", _figure(bursts.lag1_autocorrelation)),
    ]


def _length_table(summary: TraceSummary) -> Table:
    table = Table("tokens", title="Lengths", title_justify="left")
    for name in ("total", "mean", "p50", "p90", "p99", "max"):
        table.add_column(name, justify="right")
    table.add_row("input", *_length_cells(summary.prompt_tokens))
    table.add_row("output", *_length_cells(summary.output_tokens))
    return table


def _length_cells(lengths: LengthSummary) -> list[str]:
    figures = (lengths.total, lengths.mean, lengths.p50, lengths.p90, lengths.p99, lengths.max)
    return [f"{figure:,.0f}" for figure in figures]


def _histogram(trace: Trace) -> Table:
    """Show both lengths in bins of a factor of four, with bars to compare."""
    table = Table("tokens", title="Distribution", title_justify="left")
    inputs, outputs = _shares(trace.prompt_tokens), _shares(trace.output_tokens)
    table.columns[0].justify = "right"
    table.add_column("input")
    table.add_column("output")
    for power, shares in enumerate(zip_longest(inputs, outputs, fillvalue=0.0)):
        if any(shares):
            label = f"{4**power:,} to {4 ** (power + 1) - 1:,}"
            table.add_row(label, *(_bar(share) for share in shares))
    return table


def _shares(tokens: IntArray) -> list[float]:
    powers = (np.frexp(tokens)[1] - 1) // 2
    shares: list[float] = (np.bincount(powers) / len(tokens)).tolist()
    return shares


def _bar(share: float) -> str:
    return f"{share:6.1%} {'█' * round(share * 24)}" if share else ""


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}"
