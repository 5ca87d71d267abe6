"""`orbitflow trace`: convert, inspect, synthesize and fetch traces.

Only typer is imported here, everything else where it is used: `orbitflow --help` must stay quick.
Tables go to stdout, notices to stderr, and --json prints nothing but JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from orbitflow.arrays import IntArray
    from orbitflow.traces.summary import Burstiness, LengthSummary, TraceSummary
    from orbitflow.traces.trace import Trace

trace_app = typer.Typer(
    name="trace",
    help="Convert, inspect, synthesize and fetch request traces.",
    no_args_is_help=True,
)
trace_app.command("paper")(paper_command)


@trace_app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A trace file of a known format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    format: Annotated[
        str,
        typer.Option(
            help="auto looks at the content; otherwise a name such as azure-2024, sharegpt or "
            "orbitflow-paper."
        ),
    ] = "auto",
    step_time: Annotated[
        str | None,
        typer.Option(help="Length of an engine step, such as 50ms, where arrivals count steps."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second, for a file of text without arrivals.  [1]"),
    ] = None,
    tokens_per_word: Annotated[
        float | None, typer.Option(help="For a file of text without lengths.  [1.3]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the arrivals that are drawn for a file of text.  [0]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
) -> None:
    """Convert a trace to canonical JSON lines, whatever its format."""
    from orbitflow.traces.write import convert
    from orbitflow.units import parse_seconds

    step_s = None if step_time is None else parse_seconds(step_time)
    done = convert(
        source,
        out,
        format=format,
        step_s=step_s,
        rate=rate,
        tokens_per_word=tokens_per_word,
        seed=seed,
        overwrite=force,
    )
    _say(done.notices)
    _say([f"{out}: {done.requests:,} requests written"])


@trace_app.command("inspect")
def inspect_command(
    name_or_path: Annotated[str, typer.Argument(help="A file, or a name such as azure_conv.")],
    json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Show what a trace holds: lengths, rate, burstiness, and which file it came from."""
    from orbitflow.traces.resolve import resolve
    from orbitflow.traces.summary import summarize

    trace = resolve(name_or_path)
    summary = summarize(trace)
    _say(trace.notices)
    if json:
        typer.echo(_as_json(trace, summary))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(_overview(trace, summary))
    console.print(_length_table(summary))
    console.print(_histogram(trace))


@trace_app.command("synth")
def synth_command(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    like: Annotated[str, typer.Option(help="The trace whose twin to draw.")] = "azure_conv",
    num_requests: Annotated[
        int | None, typer.Option(help="How many requests; by default as many as the original.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    rate_scale: Annotated[float, typer.Option(help="Multiply the arrival rate.")] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Draw a synthetic twin of a public trace, as canonical JSON lines."""
    from orbitflow.traces.synth import load_model, synthesize
    from orbitflow.traces.transform import scaled
    from orbitflow.traces.write import write_canonical

    model = load_model(like)
    trace = scaled(synthesize(model, num_requests, seed), rate_scale=rate_scale)
    write_canonical(trace, out, overwrite=force)
    _say([f"fitted to {model.title}, {model.licence}; cite {model.citation}"])
    _say([f"{out}: {len(trace):,} requests written, {trace.source}"])


@trace_app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="A public trace: azure_conv or mooncake.")],
    url: Annotated[
        str | None, typer.Option(help="Another address of the same file; its sha256 is checked.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Download it even if it is there already.")
    ] = False,
) -> None:
    """Download a public trace into the cache, where its name finds it; resumes what broke off."""
    from orbitflow.traces.fetch import fetch

    progress = _Progress()
    try:
        done = fetch(name, url=url, force=force, progress=progress, say=lambda text: _say([text]))
    finally:
        progress.end()
    was = "fetched" if done.is_new else "is there already"
    _say([f"{done.path}: {was}, {done.size_bytes:,} bytes, sha256 verified"])


class _Progress:
    """A line on stderr that counts up, where stderr is a terminal."""

    def __init__(self) -> None:
        self.shown = ""

    def __call__(self, done: int, total: int | None) -> None:
        share = "" if not total else f" of {total / 1e6:,.1f} ({done / total:.0%})"
        text = f"{done / 1e6:,.1f}{share} MB"
        if text == self.shown or not sys.stderr.isatty():
            return
        self.shown = text
        typer.echo(f"\r{text}", err=True, nl=False)

    def end(self) -> None:
        if self.shown:
            typer.echo(err=True)


def _say(notices: Iterable[str]) -> None:
    for notice in notices:
        typer.echo(notice, err=True)


def _as_json(trace: Trace, summary: TraceSummary) -> str:
    import json
    from dataclasses import asdict

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
    from rich.table import Table

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
    from orbitflow.units import format_seconds

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
    from rich.table import Table

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
    from itertools import zip_longest

    from rich.table import Table

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
    import numpy as np

    powers = (np.frexp(tokens)[1] - 1) // 2
    shares: list[float] = (np.bincount(powers) / len(tokens)).tolist()
    return shares


def _bar(share: float) -> str:
    return f"{share:6.1%} {'█' * round(share * 24)}" if share else ""


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}"
