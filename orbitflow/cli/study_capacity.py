"""`orbitflow study capacity`: how much a machine takes, or how little it needs, for a target.

The table has a row for each policy, its answer between two tested values. A star marks the best
answer where policies differ in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import (
    STUDY_FIELDS,
    STUDY_SHOWN,
    AsJson,
    Given,
    Quiet,
    StudyJitter,
    StudyOut,
    Workers,
    check_workers,
    configured,
    refuse_contradictions,
)
from orbitflow.cli.progress import usable_cpus
from orbitflow.units import parse_option, parse_share

if TYPE_CHECKING:
    from rich.text import Text

    from orbitflow.study.capacity import CapacityQuestion
    from orbitflow.study.capacity_result import CapacityAnswer, CapacityPoint, CapacityResult
    from orbitflow.study.folder import StudyFolder

_QUESTION = "Question"
_NARROW = 100
_POLICY_WIDTH = 10


@configured(STUDY_FIELDS, shown=STUDY_SHOWN)
def capacity_command(
    given: Given,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What must hold: figure=value, a figure of summary.json by its dotted name, such "
            "as slo_attainment=0.95 or ttft_s.p95=2s. Shares have to reach it, times must not "
            "exceed it ('>=' and '<=' say otherwise). Repeat for several: all must hold.",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    vary: Annotated[
        str,
        typer.Option(
            help="rate-scale, gpu-memory, kv-capacity-tokens, host-memory, link-scale, "
            "compute-scale, context-scale, output-scale or slo-*. A bracket may follow: "
            "gpu-memory=16GiB..80GiB. Default: found by doubling and halving from the "
            "configuration's own value.",
            rich_help_panel=_QUESTION,
        ),
    ] = "rate-scale",
    tolerance: Annotated[
        str,
        typer.Option(
            help="How close the last value that met and the first that did not must come.",
            rich_help_panel=_QUESTION,
        ),
    ] = "2%",
    seeds: Annotated[
        int,
        typer.Option(
            help="Simulate every point with so many seeds, from --seed on. The mean decides; the "
            "seeds' own crossings give a 95 % interval.",
            rich_help_panel=_QUESTION,
        ),
    ] = 3,
    workers: Workers = None,
    arrival_jitter: StudyJitter = None,
    out: StudyOut = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the highest rate (smallest memory, slowest link) at which a target is still met.

    Brackets, then bisects, each policy for itself. SLOs stay those of the options as given. A study
    that is there goes on with --out, also with another target or bracket.

    Example: orbitflow study capacity --trace demo --policy dynamic --target slo_attainment=0.95
    """
    from orbitflow.study.capacity import plan_capacity
    from orbitflow.study.figures import read_targets

    check_workers(workers)
    question = plan_capacity(
        given.config(),
        read_targets(target or ()),
        vary,
        seeds=seeds,
        arrival_jitter=arrival_jitter,
        tolerance=parse_option("--tolerance", tolerance, parse_share),
    )
    refuse_contradictions(given.explicit, [question.varied.key])
    _run(question, out, workers=workers or usable_cpus(), as_json=as_json, quiet=quiet)


def _run(
    question: CapacityQuestion, out: Path | None, *, workers: int, as_json: bool, quiet: bool
) -> None:
    """Find the answers and print them. Exit 1 if some search met a simulation that failed."""
    from orbitflow.study.capacity_result import capacity_document
    from orbitflow.study.capacity_run import answer_capacity, capacity_summary
    from orbitflow.study.folder import StudyFolder

    talks = not (quiet or as_json)
    study = question.study
    folder = StudyFolder.numbered(study) if out is None else StudyFolder(out, study)
    with folder:
        if talks:
            _announce(question, folder)

        def tell(policy: str, found: CapacityPoint) -> None:
            if talks:
                print(_said_of(question, policy, found), file=sys.stderr)

        try:
            result = answer_capacity(question, folder, workers=workers, on_point=tell)
        except BaseException:
            print(
                f"orbitflow: finished simulations are in {folder.path}; the same command with "
                f"--out {folder.path} goes on",
                file=sys.stderr,
            )
            raise
        rows = folder.rows
        content = capacity_document(question, result)
        folder.write_summary(capacity_summary(question, rows, result))
        folder.write_document("capacity.json", content)
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        _print_answers(result, len(rows), folder.path)
    if failed := [a.policy for a in result.answers if a.outcome == "failed"]:
        print(
            f"orbitflow: simulations of {', '.join(failed)} failed, see "
            f"{folder.path}/cells.jsonl; the same command with that --out tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _announce(question: CapacityQuestion, folder: StudyFolder) -> None:
    """Say on stderr what is given, and on which assumptions."""
    from rich.text import Text

    from orbitflow.cli.study_tables import print_notices
    from orbitflow.cli.tables import console
    from orbitflow.study.capacity_result import few
    from orbitflow.study.keys import key_text

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
    if said := few(len(question.study.scenario.trace), varies_rate=question.varies_rate):
        console(stderr=True).print(Text(f"note: {said}", style="yellow"))


def _said_of(question: CapacityQuestion, policy: str, found: CapacityPoint) -> str:
    """One decided point as a line of progress."""
    from orbitflow.study.capacity_result import figure
    from orbitflow.study.keys import key_text
    from orbitflow.study.policy_names import short_names

    verdict = "met" if found.is_met else "missed"
    why = [f"{t.figure} {figure(found, t.figure)}" for t in question.targets]
    shown = "cannot be served" if found.error is not None else ", ".join(why)
    key = question.varied.key
    name = short_names(question.policies)[policy]
    return f"{name}: {key} {key_text(key, found.value)}: {shown}, {verdict}"


def _print_answers(found: CapacityResult, simulations: int, path: Path) -> None:
    """Print a row per policy, then what a person must know about the answers."""
    from rich.table import Table
    from rich.text import Text

    from orbitflow.cli.tables import console
    from orbitflow.study.capacity_result import footer, heads, remarks, title

    out = console()
    is_narrow = out.width < _NARROW
    table = Table(title=Text(title(found)), title_justify="left", pad_edge=not is_narrow)
    policy, *others = heads(found)
    table.add_column(policy, min_width=_POLICY_WIDTH)
    for head in others:
        table.add_column(_broken(head), justify="right", no_wrap=True)
    for answer in found.answers:
        row = _row(found, answer)
        table.add_row(*(_on_two_lines(cell) if is_narrow else cell for cell in row))
    out.print(table)
    for answer in found.answers:
        for line in remarks(found, answer):
            out.print(Text(line, style="yellow"))
    if found.best is not None:
        out.print(Text("* the best policy"))
    for line in footer(found):
        out.print(Text(line))
    out.print(Text(f"{simulations} simulations, answers in {path}/capacity.json"))


def _row(found: CapacityResult, answer: CapacityAnswer) -> list[Text]:
    from rich.text import Text

    from orbitflow.study.capacity_result import cells

    row = [Text(cell) for cell in cells(found, answer)]
    if answer.met is None:
        row[1].stylize("dim")
    elif answer.met.value == found.best:
        row[1] = Text(f"{row[1]} *", style="bold green")
    return row


def _on_two_lines(cell: Text) -> Text:
    return type(cell)(cell.plain.replace(" (", "\n(").replace(" ±", "\n±"), cell.style)


def _broken(head: str) -> str:
    """A head on two lines, if it is long or of two words."""
    if " " in head:
        return head.replace(" ", "\n", 1)
    if len(head) < _POLICY_WIDTH:
        return head
    mark = "." if "." in head else "_"
    ends = [place + 1 for place, letter in enumerate(head) if letter == mark]
    middle = min(ends, key=lambda end: abs(2 * end - len(head)), default=len(head))
    return f"{head[:middle]}\n{head[middle:]}" if ends else head
