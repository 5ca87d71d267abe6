"""What `orbitflow study capacity` does once its options are read: announce, search, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from orbitflow.cli.study_capacity_table import announce, print_answers, said_of
from orbitflow.study.capacity import CapacityQuestion
from orbitflow.study.capacity_result import CapacityPoint, capacity_document
from orbitflow.study.capacity_run import answer_capacity, capacity_summary
from orbitflow.study.folder import StudyFolder


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

        def tell(policy: str, found: CapacityPoint) -> None:
            if talks:
                print(said_of(question, policy, found), file=sys.stderr)

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
        print_answers(result, len(rows), folder.path)
    if failed := [a.policy for a in result.answers if a.outcome == "failed"]:
        print(
            f"orbitflow: simulations of {', '.join(failed)} failed, see "
            f"{folder.path}/cells.jsonl; the same command with that --out tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)
