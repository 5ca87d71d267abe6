"""The table of `orbitflow study capacity`: a policy per row, the answer between two tested values.

A star marks the best answer where policies differ in it.
"""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from orbitflow.cli.study_tables import print_notices
from orbitflow.cli.tables import console
from orbitflow.study.capacity import CapacityQuestion
from orbitflow.study.capacity_result import (
    CapacityAnswer,
    CapacityPoint,
    CapacityResult,
    cells,
    few,
    figure,
    footer,
    heads,
    remarks,
    title,
)
from orbitflow.study.folder import StudyFolder
from orbitflow.study.keys import key_text

_NARROW = 100
_POLICY_WIDTH = 10


def announce(question: CapacityQuestion, folder: StudyFolder) -> None:
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
    if said := few(len(question.study.scenario.trace), varies_rate=question.varies_rate):
        console(stderr=True).print(Text(f"note: {said}", style="yellow"))


def said_of(question: CapacityQuestion, policy: str, found: CapacityPoint) -> str:
    """One decided point as a line of progress."""
    verdict = "met" if found.is_met else "missed"
    why = [f"{t.figure} {figure(found, t.figure)}" for t in question.targets]
    shown = "cannot be served" if found.error is not None else ", ".join(why)
    key = question.varied.key
    return f"{policy}: {key} {key_text(key, found.value)}: {shown}, {verdict}"


def print_answers(found: CapacityResult, simulations: int, path: Path) -> None:
    """Print a row per policy, then what a person must know about the answers."""
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
    row = [Text(cell) for cell in cells(found, answer)]
    if answer.met is None:
        row[1].stylize("dim")
    elif answer.met.value == found.best:
        row[1] = Text(f"{row[1]} *", style="bold green")
    return row


def _on_two_lines(cell: Text) -> Text:
    return Text(cell.plain.replace(" (", "\n(").replace(" ±", "\n±"), cell.style)


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
