"""What `sim` and `run` print: the scenario before, the comparison after."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orbitflow.bound.bound import Bound
from orbitflow.results.bound_share import NOT_COVERED, bound_figures
from orbitflow.results.figures import best_as_written
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario
from orbitflow.units import format_bytes, format_count, format_seconds

WIDE = 120
_LABEL_WIDTH, _COLUMN_WIDTH = 28, 20
_SHOWN_REFUSALS = 10
_SHARES = "share_of_bound"


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, highlight=False)


def print_scenario(scenario: Scenario) -> None:
    """Say which trace, machine and limits, and how much load that is."""
    load, trace, profile, slo = scenario.load, scenario.trace, scenario.profile, scenario.slo
    mean_prompt = float(trace.prompt_tokens.mean())
    mean_output = float(trace.output_tokens.mean())
    batch = "no limit" if scenario.max_batch is None else str(scenario.max_batch)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row("trace", escape(f"{trace.name}: {trace.source}"))
    grid.add_row(
        "",
        f"{format_count(len(trace))} requests over {format_seconds(load.span_s)}, mean prompt "
        f"{mean_prompt:,.0f}, mean output {mean_output:,.0f} tokens, "
        f"rate scale {scenario.rate_scale:g}",
    )
    grid.add_row(
        "machine",
        escape(
            f"{profile.name}: {profile.model.name} on {profile.provenance.device}, KV capacity "
            f"{format_count(scenario.limits.capacity_tokens)} tokens, link "
            f"{scenario.believed.h2d.bytes_per_s[-1] / 1e9:.3g} GB/s"
        ),
    )
    grid.add_row(
        "SLO",
        escape(
            f"time between tokens {format_seconds(slo.tbt_limit_s)} ({slo.origin}); TTFT "
            f"{format_seconds(slo.ttft_s)} + {slo.ttft_scale:g} x isolated prefill; batch {batch}"
        ),
    )
    grid.add_row(
        "offered load",
        f"prefill {load.prefill:.2f} + decode {load.decode:.2f} = {load.compute:.2f} of "
        "the GPU's time; "
        f"KV wanted {load.kv_mean:.2f} (peak {load.kv_peak:.2f}) of its capacity, "
        f"more than it holds {_percent(load.kv_time_over)} of the time",
    )
    out = console(stderr=True)
    out.print(grid)
    for line in (*scenario.notices, *_warnings(scenario)):
        out.print(Text(f"note: {line}", style="yellow"))


def _warnings(scenario: Scenario) -> list[str]:
    load = scenario.load
    lines = []
    if load.compute > 1:
        lines.append(
            f"the offered load is {load.compute:.2f} GPUs: queues grow to the end; "
            "lower --rate-scale"
        )
    if load.kv_peak <= 1:
        lines.append(
            "the KV wanted never exceeds the GPU: policies will hardly differ; "
            "raise --context-scale or lower --kv-capacity-tokens"
        )
    return lines


class _Row(NamedTuple):
    """One line of the comparison: where its figure is, how it is written, which way is better."""

    label: str
    path: tuple[str, ...]
    write: Callable[[Any], str]
    best: Callable[[list[float]], float] | None = None


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _of_bound(figure: str) -> _Row:
    return _Row("  of the bound", (_SHARES, figure), _percent)


_ROWS = (
    _Row("knows output lengths", ("output_lengths",), str),
    _Row("admits when", ("admission",), str),
    _Row("early tokens banked", ("deposit",), _yes_no),
    _Row("completed", ("completed",), format_count),
    _Row("failed", ("failed",), format_count),
    _Row("timely share", ("timely_share",), _percent, max),
    _of_bound("timely_share"),
    _Row("SLO attainment", ("slo_attainment",), _percent, max),
    _of_bound("slo_attainment"),
    _Row("  TTFT attainment", ("ttft_attainment",), _percent, max),
    _Row("  TPOT attainment", ("tpot_attainment",), _percent, max),
    _Row("TBT attainment, paper's", ("tbt_attainment",), _percent, max),
    _Row("goodput, requests/s", ("goodput_rps",), lambda v: f"{v:.4g}", max),
    _of_bound("goodput_rps"),
    _Row("throughput, tokens/s", ("throughput_tokens_per_s",), lambda v: f"{v:.4g}", max),
    _Row("TTFT p50", ("ttft_s", "p50"), format_seconds, min),
    _Row("TTFT p95", ("ttft_s", "p95"), format_seconds, min),
    _Row("TPOT p50", ("tpot_s", "p50"), format_seconds, min),
    _Row("TPOT p95", ("tpot_s", "p95"), format_seconds, min),
    _Row("TBT p50", ("tbt_s", "p50"), format_seconds, min),
    _Row("TBT p99", ("tbt_s", "p99"), format_seconds, min),
    _Row("TBT max", ("tbt_s", "max"), format_seconds, min),
    _Row("makespan", ("makespan_s",), format_seconds, min),
    _Row("paused, sum", ("paused_s",), format_seconds),
    _Row("KV on the GPU", ("link", "resident_share"), _percent),
    _Row("host to GPU", ("link", "h2d_bytes"), format_bytes),
    _Row("GPU to host", ("link", "d2h_bytes"), format_bytes),
    _Row("link busy", ("link", "busy_share"), _percent),
    _Row("link time hidden", ("link", "hidden_share"), _percent),
    _Row("stalled on the link", ("link", "stall_s"), format_seconds),
)


def labels() -> dict[str, str]:
    """What the comparison calls each figure, by its key in `summary.json`."""
    return {".".join(row.path): row.label.strip() for row in _ROWS}


def print_results(
    scenario: Scenario,
    reports: Mapping[str, PolicyReport],
    folder: Path,
    bound: Bound | None = None,
) -> None:
    """Print the comparison, in as many tables as the width asks for, and where the results are.
    The upper bound, if there is one, is the last column.
    """
    out = console()
    title = Text(f"{scenario.trace.name} on {scenario.profile.name}")
    names = [name + _mark(report) for name, report in reports.items()]
    names += [] if bound is None else ["bound"]
    columns = max(1, (out.width - _LABEL_WIDTH) // _COLUMN_WIDTH)
    rows = []
    for row in _ROWS if bound is not None else [r for r in _ROWS if r.path[0] != _SHARES]:
        cells = _cells(row, [_at(report.figures, row.path) for report in reports.values()])
        rows.append((row.label, cells if bound is None else [*cells, _bound_cell(row, bound)]))
    for first in range(0, len(names), columns):
        table = Table(title=title, title_justify="left")
        table.add_column("", no_wrap=True)
        for name in names[first : first + columns]:
            table.add_column(Text(name), justify="right")
        for label, cells in rows:
            table.add_row(label, *cells[first : first + columns])
        out.print(table)
    for name, report in reports.items():
        _print_refusals(out, name, report)
        for notice in report.notices:
            out.print(Text(f"note: {notice}", style="yellow"))
    if without := [n for n, report in reports.items() if not report.figures.get(_SHARES, True)]:
        out.print(Text(f"no share of the bound for {', '.join(without)}: {NOT_COVERED}"))
    out.print(Text(f"results in {folder}"))


def _mark(report: PolicyReport) -> str:
    """What must be seen beside a name: answers of a lossy policy are not those of the others."""
    return " (lossy)" if report.figures.get("lossy") else ""


def _cells(row: _Row, values: list[Any]) -> list[Text]:
    known = [float(v) for v in values if isinstance(v, int | float)]
    best = best_as_written(known, row.write, row.best) if row.best else None
    texts = ["n/a" if v is None else row.write(v) for v in values]
    return [Text(text, style="bold green" if text == best else "") for text in texts]


def _bound_cell(row: _Row, bound: Bound) -> Text:
    """The limit of a row that has one."""
    value = bound_figures(bound).get(row.path[0])
    return Text("" if value is None else row.write(value), style="italic")


def _print_refusals(out: Console, name: str, report: PolicyReport) -> None:
    if not report.refusals:
        return
    shown, (first, reason) = report.refusals[:_SHOWN_REFUSALS], report.refusals[0]
    ids = ", ".join(str(refusal.request_id) for refusal in shown)
    more = ", ... (all in requests.jsonl)" if len(report.refusals) > len(shown) else ""
    head = f"{name}: {len(report.refusals)} failed, requests {ids}{more}"
    out.print(Text(f"{head}; request {first} {reason}", style="red"))


def _at(figures: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = figures
    for key in path:
        value = None if value is None else value[key]
    return value
