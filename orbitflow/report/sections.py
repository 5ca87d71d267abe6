"""The sections of a page: one for every SLO that runs were judged by, one for every study.

Histories and placement maps are drawn only up to `HISTORY_BYTES`, so that a page over many runs
stays small; a sentence says what was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orbitflow.report.attainment import MOST_BARS, attainment, by_length
from orbitflow.report.chart import Chart
from orbitflow.report.distributions import MOST_SERIES, distributions, pass_times
from orbitflow.report.history import history_chart
from orbitflow.report.placement_map import PlacementHistory, placement_map
from orbitflow.report.read_runs import ReportInputs, ReportRun, SloKey
from orbitflow.report.read_studies import BOUND, ReportStudy
from orbitflow.report.study_charts import study_charts
from orbitflow.report.tables import (
    capacity_table,
    key_name,
    machine_table,
    service_table,
    study_table,
    validation_table,
)
from orbitflow.report.theme import Look, Series, looks, series_of
from orbitflow.results.bound_share import NOT_COVERED
from orbitflow.study.capacity_result import CapacityResult, footer, remarks, title
from orbitflow.study.keys import Direction, key_text
from orbitflow.units import format_seconds

HISTORY_BYTES = 2_500_000
MOST_HISTORIES = 24
OPEN_HISTORIES = 4  # more are folded
_Looks = Mapping[str, Look]


class Block(NamedTuple):
    """A heading and its content. `table` is HTML that is safe; the rest is plain text."""

    title: str
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    table: str = ""
    charts: tuple[Chart, ...] = ()
    folds: bool = False
    is_open: bool = True


class Section(NamedTuple):
    """A part of a page."""

    title: str
    blocks: tuple[Block, ...]


class Budget:
    """How much more a page may show of single policies."""

    def __init__(self) -> None:
        self._bytes = HISTORY_BYTES
        self._histories = MOST_HISTORIES
        self.shown = 0

    @property
    def is_spent(self) -> bool:
        """Whether no more fits."""
        return self._bytes <= 0 or self._histories <= 0

    def spend(self, charts: Sequence[Chart]) -> None:
        """Count one policy's charts."""
        self._bytes -= sum(len(chart.to_json()) for chart in charts)
        self._histories -= 1
        self.shown += 1


def sections(inputs: ReportInputs) -> Iterator[Section]:
    """All sections, runs before studies."""
    every = looks(
        [
            *(policy.name for run in inputs.runs for policy in run.policies),
            *(c.policy for study in inputs.studies for c in study.cells if c.policy != BOUND),
        ]
    )
    groups: dict[SloKey, list[ReportRun]] = {}
    for run in inputs.runs:
        groups.setdefault(run.slo, []).append(run)
    budget = Budget()
    for slo, runs in groups.items():
        yield _runs_section(slo, runs, every, budget)
    for study in inputs.studies:
        yield _study_section(study, every)


def slo_text(slo: SloKey) -> str:
    """The limits in words."""
    ttft = f"{format_seconds(slo.ttft_s)} + {slo.ttft_scale:g} x isolated prefill"
    return f"TBT {format_seconds(slo.tbt_limit_s)}, TTFT {ttft}"


def _runs_section(slo: SloKey, runs: Sequence[ReportRun], every: _Looks, budget: Budget) -> Section:
    series = series_of(runs, every)
    blocks = [_about(runs), _comparison(series), _machine(series), *_shapes(series, slo)]
    if (passes := pass_times(series[:MOST_SERIES])) is not None:
        blocks.append(Block("Predicted and measured passes", charts=(passes,)))
    blocks += [
        Block(
            f"Validation of {run.label}",
            ("Measured on the backend, and simulated from its profile.",),
            table=validation_table(run.validation),
            folds=True,
            is_open=False,
        )
        for run in runs
        if run.validation is not None
    ]
    blocks += _histories(series, budget)
    return Section(f"Runs under SLO: {slo_text(slo)}", tuple(blocks))


def _about(runs: Sequence[ReportRun]) -> Block:
    alike: dict[str, list[str]] = {}
    for run in runs:
        alike.setdefault(run.description, []).append(run.label)
    sentences = tuple(f"{_some(labels)}: {text}" for text, labels in alike.items())
    warnings = tuple(
        f"{run.label} is INCOMPLETE, its figures may be of a part: {run.unfinished}"
        for run in runs
        if run.unfinished is not None
    )
    folds = len(sentences) > 3
    return Block("What was run", sentences, warnings, folds=folds, is_open=not folds)


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _comparison(series: Sequence[Series]) -> Block:
    sentence = "★ marks the best of a column"
    if len({one.run.label for one in series}) > 1:
        sentence += " among rows of equal trace, rate and machine"
    if any("bound" in one.run.summary for one in series):
        sentence += f"; no policy can exceed the upper bound, but {NOT_COVERED}"
    charts = [attainment(series)]
    if (lengths := by_length(series)) is not None:
        charts.append(lengths)
    return Block("Policies", (f"{sentence}.",), table=service_table(series), charts=tuple(charts))


def _machine(series: Sequence[Series]) -> Block:
    return Block(
        "Machine use",
        table=machine_table(series),
        folds=True,
        is_open=len(series) <= MOST_BARS,
    )


def _shapes(series: Sequence[Series], slo: SloKey) -> Iterator[Block]:
    some = series[:MOST_SERIES]
    left: tuple[str, ...] = ()
    if len(series) > len(some):
        left = (
            f"Of the first {len(some)} of {len(series)} lines of the table; report fewer runs to "
            "see the others.",
        )
    charts = tuple(distributions(some, slo.tbt_limit_s))
    left = left if charts else ("No token was generated.",)
    yield Block("Distributions", left, charts=charts)


def _histories(series: Sequence[Series], budget: Budget) -> Iterator[Block]:
    for number, one in enumerate(series):
        if budget.is_spent:
            left = len(series) - number
            shown = _some(list(dict.fromkeys(s.run.label for s in series[number:])))
            yield Block(
                "Histories left out",
                (
                    f"{left} histories and placement maps are left out to keep this page small, of "
                    f"{shown}. To see one: orbitflow report FOLDER, with that run alone.",
                ),
            )
            return
        files = one.policy.files
        requests, decisions = files.requests, files.decisions()
        layers = one.run.summary["profile"]["layers"]
        placements = PlacementHistory(decisions, requests, layers)
        found = (
            history_chart(one, files.steps(), requests, decisions, placements.replans_s),
            placement_map(one, placements, len(decisions), requests),
        )
        charts = tuple(chart for chart in found if chart is not None)
        is_open = budget.shown < OPEN_HISTORIES
        budget.spend(charts)
        idle = () if charts else ("No request was served.",)
        yield Block(f"History of {one.name}", idle, charts=charts, folds=True, is_open=is_open)


def _study_section(study: ReportStudy, every: _Looks) -> Section:
    grid = "; ".join(
        f"{key_name(key)} {_some([key_text(key, value) for value in values])}"
        for key, values in study.grid.items()
    )
    seeds = "one seed" if study.seeds == 1 else f"{study.seeds} seeds"
    sentences = [f"Trace {study.trace}; {grid}; {seeds}."]
    if (search := study.search) is not None:
        way = "large" if search.objective.direction is Direction.MAX else "small"
        sentences.append(
            f"A search for {search.objective.figure} as {way} as possible: {search.trials} trials "
            f"by {search.sampler}, the best first."
        )
    keys = {"slo_scale", "slo_tbt_s", "slo_ttft_s", "slo_ttft_scale"} & set(study.keys)
    if keys and study.search is None:
        names = " and ".join(sorted(key_name(key) for key in keys))
        sentences.append(f"Cells of different {names} have different SLOs and are not ranked.")
    warnings = []
    if study.missing is not None:
        warnings.append(f"The study has not finished: {study.missing} are there.")
    counts = sorted({cell.ok for cell in study.cells if cell.policy != BOUND})
    if len(counts) > 1:
        warnings.append(f"Cells have from {counts[0]} to {counts[-1]} good simulations each.")
    failed = [cell for cell in study.cells if cell.failed]
    if failed:
        count = sum(cell.failed for cell in failed)
        warnings.append(f"{count} simulations failed, the first with: {failed[0].error}")
    table = Block(
        "Cells",
        (
            "★ marks the best trial of a column."
            if study.search
            else "★ marks the best policy, all else equal.",
        ),
        table=study_table(study),
        folds=len(study.cells) > 40,
        is_open=len(study.cells) <= 40,
    )
    charts = tuple(study_charts(study, every))
    blocks = [] if study.answers is None else [_answers(study.answers)]
    blocks.append(Block("What was varied", tuple(sentences), tuple(warnings)))
    if charts:
        about = "Figures sought" if study.sought else "Attainment"
        blocks.append(Block(about, charts=charts))
    return Section(f"Study: {study.label}", (*blocks, table))


def _answers(found: CapacityResult) -> Block:
    """The answers of a capacity question, in the words of the command."""
    star = ["★ marks the best policy."] if found.best is not None else []
    return Block(
        "Answers",
        (_sentence(f"The {title(found)}"), *star, *(_sentence(line) for line in footer(found))),
        tuple(line for answer in found.answers for line in remarks(found, answer)),
        table=capacity_table(found),
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
