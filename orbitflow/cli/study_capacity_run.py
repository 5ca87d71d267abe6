"""What `orbitflow study capacity` does once its options are read: announce, search, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from orbitflow.cli.study_capacity import announce, print_answers, said_of
from orbitflow.study.capacity import Ask, CapacityQuestion
from orbitflow.study.capacity_result import (
    capacity_document,
    cells_tested,
    outcome,
    read_capacity,
    study_of,
)
from orbitflow.study.capacity_run import answer_capacity, point
from orbitflow.study.folder import StudyFolder
from orbitflow.study.summary import summary


def run_capacity(
    question: CapacityQuestion, out: Path | None, *, workers: int, as_json: bool, quiet: bool
) -> None:
    """Find the answers and print them. Exit 1 if some search met a simulation that failed."""
    talks = not (quiet or as_json)
    study = question.study
    folder = StudyFolder.numbered(study) if out is None else StudyFolder(out, study)
    with folder:
        if talks:
            announce(question, folder)

        def tell(ask: Ask, is_met: bool) -> None:
            if talks:
                found = point(question, folder.rows, ask.policy, ask.value)
                print(said_of(question, ask.policy, found), file=sys.stderr)

        try:
            answers = answer_capacity(question, folder, workers=workers, on_point=tell)
        except BaseException:
            print(
                f"orbitflow: finished simulations are in {folder.path}; the same command with "
                f"--out {folder.path} goes on",
                file=sys.stderr,
            )
            raise
        rows = folder.rows
        content = capacity_document(question, rows, answers)
        folder.write_summary(
            summary(study_of(question, answers), cells_tested(question, rows, answers))
        )
        folder.write_document("capacity.json", content)
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        print_answers(read_capacity(content), len(rows), folder.path)
    if failed := [answer.policy for answer in answers if outcome(answer) == "failed"]:
        print(
            f"orbitflow: simulations of {', '.join(failed)} failed, see "
            f"{folder.path}/cells.jsonl; the same command with that --out tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)
