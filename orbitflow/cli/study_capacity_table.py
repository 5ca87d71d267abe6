"""The table of `orbitflow study capacity`: a policy per row, the answer between two tested values.

A star marks the best answer where policies differ in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from orbitflow.cli.study_table import print_notices
from orbitflow.policy.registry import make_policy
from orbitflow.study.capacity import Answer, Question, Rows
from orbitflow.study.capacity_summary import Point, offered_rps, outcome, point
from orbitflow.study.folder import StudyFolder
from orbitflow.study.varied import Number
from orbitflow.study.written import key_text, number
from orbitflow.tables import console
from orbitflow.units import format_count

_FEW_REQUESTS = 200
_NARROW = 100
_SHOWN_FAILING = 4
_POLICY_WIDTH = 10


def announce(question: Question, folder: StudyFolder) -> None:
    """Say on stderr what is asked, and on which assumptions."""
    varied, ends = question.varied, question.ends
    sought = f"{'highest' if varied.grows else 'smallest'} {varied.key} with "
    sought += " and ".join(map(str, question.targets))
    between = f"from {key_text(varied.key, varied.start)} by doubling and halving"
    if ends is not None:
        low, high = sorted(ends)
        between = f"in {key_text(varied.key, low)} .. {key_text(varied.key, high)}"
    lines = [f"{sought}, {between}", f"in {folder.path}"]
    if folder.rows:
        lines.append(f"{len(folder.rows)} simulations are there already")
    print_notices(question.study, lines)
    if few := _few(question):
        console(stderr=True).print(Text(f"note: {few}", style="yellow"))


def said_of(question: Question, policy: str, found: Point) -> str:
    """One decided point as a line of progress."""
    verdict = "met" if found.is_met else "missed"
    why = [f"{t.figure} {_figure(t.figure, found)}" for t in question.targets]
    shown = "cannot be served" if found.error is not None else ", ".join(why)
    key = question.varied.key
    return f"{policy}: {key} {key_text(key, found.value)}: {shown}, {verdict}"


def print_answers(question: Question, rows: Rows, answers: Sequence[Answer], path: Path) -> None:
    """Print a row per policy, then what a person must know about the answers."""
    varied, scenario = question.varied, question.study.scenario
    out = console()
    wanted = "highest" if varied.grows else "smallest"
    beyond = "lowest" if varied.grows else "largest"
    title = f"{wanted} {varied.key} with {' and '.join(map(str, question.targets))}: "
    title += f"{scenario.trace.name} on {scenario.profile.name}"
    table = Table(title=Text(title), title_justify="left", pad_edge=out.width >= _NARROW)
    table.add_column("policy", min_width=_POLICY_WIDTH)
    table.add_column(f"{wanted}\nmet", justify="right", no_wrap=True)
    for target in question.targets:
        table.add_column(_broken(target.figure), justify="right", no_wrap=True)
    table.add_column(f"{beyond}\nmissed", justify="right", no_wrap=True)
    if len(question.seeds) > 1:
        table.add_column("seeds\nmet", justify="right", no_wrap=True)
        table.add_column("crossing\n(95 %)", justify="right", no_wrap=True)
    best = _best(question, answers)
    for answer in answers:
        cells = _row(question, rows, answer, best)
        if out.width < _NARROW:
            cells = [_on_two_lines(cell) for cell in cells]
        table.add_row(*cells)
    out.print(table)
    for answer in answers:
        for line in _remarks(question, rows, answer):
            out.print(Text(line, style="yellow"))
    for line in _footer(question, starred=best is not None):
        out.print(Text(line))
    out.print(Text(f"{len(rows)} simulations, answers in {path}/capacity.json"))


def _row(question: Question, rows: Rows, answer: Answer, best: Number | None) -> list[Text]:
    crossing, varied = answer.crossing, question.varied
    lossy = " (lossy)" if make_policy(answer.policy).is_lossy else ""
    cells = [Text(answer.policy + lossy)]
    met = None if crossing is None else crossing.met
    missed = None if crossing is None else crossing.missed
    if met is None:
        cells += [Text("failed" if outcome(answer) == "failed" else "none", style="dim")]
        cells += [Text()] * len(question.targets)
    else:
        found = point(question, rows, answer.policy, met)
        star = " *" if met == best else ""
        cells.append(Text(_with_rate(question, met) + star, style="bold green" if star else ""))
        cells += [Text(_figure(t.figure, found)) for t in question.targets]
    cells.append(Text("none") if missed is None else Text(key_text(varied.key, missed)))
    if len(question.seeds) > 1:
        count = "" if met is None else f"{found.seeds_met}/{len(question.seeds)}"
        cells += [Text(count), Text(_interval(question, answer))]
    return cells


def _interval(question: Question, answer: Answer) -> str:
    if answer.spread is None:
        return ""
    _, mean, low, high = answer.spread
    if mean is None or low is None or high is None:
        crossing = sum(value is not None for value in answer.spread.crossings)
        return f"{crossing} of {len(question.seeds)} seeds cross"
    middle, *ends = (key_text(question.varied.key, float(f"{v:.4g}")) for v in (mean, low, high))
    return f"{middle} ({'..'.join(ends)})"


def _best(question: Question, answers: Sequence[Answer]) -> Number | None:
    """The hardest value met, where policies differ."""
    met = [a.crossing.met if a.crossing is not None else None for a in answers]
    known = [value for value in met if value is not None]
    return max(known, key=question.varied.hardness) if known and len(set(met)) > 1 else None


def _remarks(question: Question, rows: Rows, answer: Answer) -> list[str]:
    key, crossing = question.varied.key, answer.crossing
    if answer.error is not None or crossing is None:
        return [f"{answer.policy}: a simulation failed: {answer.error}"]
    lines = []
    first, last = crossing.tested[0].value, crossing.tested[-1].value
    tested = f"from {key_text(key, first)} to {key_text(key, last)}"
    if crossing.met is None:
        found = point(question, rows, answer.policy, first)
        figures = [f"{t.figure} {_figure(t.figure, found)}" for t in question.targets]
        why = found.error or f"{', '.join(figures)} at {key_text(key, first)}"
        lines.append(
            f"{answer.policy}: the target is met nowhere, tested {tested} ({why}): loosen "
            "--target, or change more than this option"
        )
    elif crossing.missed is None:
        lines.append(
            f"{answer.policy}: the target is met everywhere, tested {tested}: the limit is not in "
            "there; give a harder bracket with --vary, or a stricter --target"
        )
    if failing := crossing.failing_easier:
        where = ", ".join(key_text(key, value) for value in failing[-_SHOWN_FAILING:])
        if (more := len(failing) - _SHOWN_FAILING) > 0:
            where += f" and at {more} easier values"
        lines.append(f"{answer.policy}: not monotone: fails again at {where}")
    if crossing.met is not None:
        failed = point(question, rows, answer.policy, crossing.met).figures.get("failed")
        if failed is not None and failed.mean:
            lines.append(
                f"{answer.policy}: {failed.mean:g} requests could not be served at the answer; "
                "times are those of the others"
            )
    return lines


def _footer(question: Question, *, starred: bool) -> list[str]:
    lines = ["* the best policy"] if starred else []
    if len(question.seeds) > 1:
        lines.append(
            f"met: the mean over {len(question.seeds)} seeds meets the target; crossing: where "
            "each seed alone stops meeting it, geometric mean and 95 % t-interval of the "
            "logarithms, widened by what the bisection leaves open"
        )
    return lines + [few for few in [_few(question)] if few]


def _on_two_lines(cell: Text) -> Text:
    return Text(cell.plain.replace(" (", "\n(").replace(" ±", "\n±"), cell.style)


def _broken(figure: str) -> str:
    """The name on two lines, if it is long."""
    mark = "." if "." in figure else "_"
    head, _, tail = figure.rpartition(mark)
    return f"{head}{mark}\n{tail}" if head and len(figure) > _POLICY_WIDTH - 1 else figure


def _few(question: Question) -> str:
    requests = len(question.study.scenario.trace)
    if requests >= _FEW_REQUESTS:
        return ""
    shorter = ", and a higher rate makes the run shorter" if question.varies_rate else ""
    count = f"{format_count(requests)} request{'s' if requests > 1 else ''}"
    return f"{count}: one is {100 / requests:.3g} % of a share{shorter}"


def _with_rate(question: Question, value: Number) -> str:
    text = key_text(question.varied.key, value)
    rate = offered_rps(question, value) if question.varies_rate else None
    return text if rate is None else f"{text} ({rate:.3g} req/s)"


def _figure(name: str, found: Point) -> str:
    value = found.figures.get(name)
    return "undefined" if value is None else number(value, ".4g")
