"""What a run came to: figures with types, and frames of policies, requests and steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from orbitflow.api.frames import Kind, columns_of, frame_of
from orbitflow.errors import nearest
from orbitflow.results.kept import RunTables
from orbitflow.results.summary import flat
from orbitflow.results.typed_summary import PolicySummary, Summary, from_json
from orbitflow.units import format_seconds


@dataclass(frozen=True, slots=True, repr=False)
class PolicyResult:
    """One policy's part of a result."""

    name: str
    summary: PolicySummary
    figures: Mapping[str, object]
    _kept: RunTables

    def requests(self, kind: Kind | None = None) -> Any:
        """One row per request, in the order in which they ended; see `Result.requests`."""
        return frame_of(self._kept.requests(self.name), kind)

    def steps(self, kind: Kind | None = None) -> Any:
        """One row per step; see `Result.steps`."""
        return frame_of(self._kept.steps(self.name), kind)

    def __repr__(self) -> str:
        return table([("", self.name), *_rows([self.summary])])


class Result:
    """A run of some policies over one scenario.

    `summary` has the figures with types, `content` is the document of `summary.json`, `path` the
    run folder if there is one, `notices` what a person should be told. `kind` of a frame is
    "pandas", "polars" or "numpy"; by default the first of them that is installed.
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        kept: RunTables,
        *,
        notices: Sequence[str] = (),
        path: Path | None = None,
    ) -> None:
        self.content = content
        self.summary: Summary = from_json(content)
        self.notices = tuple(notices)
        self.path = path
        self._kept = kept

    @property
    def policies(self) -> tuple[str, ...]:
        """The names of the policies, in the order in which they ran."""
        return tuple(self.summary.policies)

    def __getitem__(self, policy: str) -> PolicyResult:
        """One policy's part. Raise a KeyError that suggests the nearest names."""
        if policy not in self.summary.policies:
            raise KeyError(f"{policy!r} did not run: {nearest(policy, self.policies)}")
        figures = dict(flat(self.content["policies"][policy]))
        return PolicyResult(policy, self.summary.policies[policy], figures, self._kept)

    def __iter__(self) -> Iterator[PolicyResult]:
        return (self[policy] for policy in self.policies)

    def __len__(self) -> int:
        return len(self.policies)

    def frame(self, kind: Kind | None = None) -> Any:
        """One row per policy: its name, then the figures of `summary.json` by dotted name, such as
        `ttft_s.p95`, without those by prompt length.
        """
        return frame_of(columns_of([{"policy": p.name, **p.figures} for p in self]), kind)

    def requests(self, policy: str, kind: Kind | None = None) -> Any:
        """One row per request, in the order in which they ended: the keys of `requests.jsonl`,
        times in seconds, NaN where a request that could not be served has none.
        """
        return self[policy].requests(kind)

    def steps(self, policy: str, kind: Kind | None = None) -> Any:
        """One row per step: the columns of `steps.npz`."""
        return self[policy].steps(kind)

    def __repr__(self) -> str:
        return f"{self._title()}\n{table(self._cells())}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self._title())}</p>{html_table(self._cells())}"

    def _title(self) -> str:
        trace, machine = self.summary.trace, self.summary.profile
        limit = format_seconds(self.summary.slo.tbt_limit_s)
        return f"{trace.requests:,} requests of {trace.name} on {machine.name}, TBT limit {limit}"

    def _cells(self) -> list[tuple[str, ...]]:
        return [("", *self.policies), *_rows(list(self.summary.policies.values()))]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for label, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join((label.ljust(widths[0]), *right)).rstrip())
    return "\n".join(lines)


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as an HTML table, the first one its head."""
    head, *body = [[escape(cell) for cell in row] for row in rows]
    cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in body]
    names = "".join(f"<th>{cell}</th>" for cell in head)
    return f"<table><tr>{names}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _rows(policies: Sequence[PolicySummary]) -> list[tuple[str, ...]]:
    shown: list[tuple[str, list[float | None], bool]] = [
        ("SLO attainment", [p.slo_attainment for p in policies], True),
        ("  TTFT attainment", [p.ttft_attainment for p in policies], True),
        ("  TPOT attainment", [p.tpot_attainment for p in policies], True),
        ("timely share", [p.timely_share for p in policies], True),
        ("TTFT p50", [p.ttft_s.p50 for p in policies], False),
        ("TTFT p95", [p.ttft_s.p95 for p in policies], False),
        ("TPOT p50", [p.tpot_s.p50 for p in policies], False),
        ("TBT p99", [p.tbt_s.p99 for p in policies], False),
        ("makespan", [p.makespan_s for p in policies], False),
    ]
    return [(label, *(_cell(v, share) for v in values)) for label, values, share in shown]


def _cell(value: float | None, is_share: bool) -> str:
    if value is None:
        return "n/a"
    return f"{100 * value:.1f} %" if is_share else format_seconds(value)
