"""What `orbitflow study paper` does once its options are read: announce, run, compare, write."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer
from benchmarks.paper.compare import compare
from benchmarks.paper.experiments import FULL, Scope, all_points, figures
from benchmarks.paper.measured import Measured
from benchmarks.paper.plan import PaperStudy, plan_paper
from benchmarks.paper.report import markdown, summary
from benchmarks.paper.work import do_paper_task

from orbitflow.cli.progress import CellProgress
from orbitflow.study.folder import StudyFolder
from orbitflow.study.runner import run_study, unfinished


def run(scope: Scope, out: Path | None, *, workers: int, as_json: bool, quiet: bool) -> None:
    """Run what is missing and print what all of it came to. Exit 1 if a run failed."""
    talks = not (quiet or as_json)
    wanted = figures(scope)
    study = plan_paper(all_points(wanted), scope.seeds)
    remarks = _reductions(scope)
    folder = StudyFolder.numbered(study) if out is None else StudyFolder(out, study)
    with folder:
        missing = len(unfinished(study, folder.rows))
        if talks:
            _announce(study, folder, missing, remarks)
        try:
            with CellProgress(missing, "simulations", shown=talks) as progress:
                run_study(
                    study, folder, workers=workers, on_row=progress.advance, work=do_paper_task
                )
        except BaseException:
            print(
                f"orbitflow: finished runs are in {folder.path}; the same command with "
                f"--out {folder.path} goes on",
                file=sys.stderr,
            )
            raise
        failed = len(unfinished(study, folder.rows))
        measured = Measured(folder.rows)
        rows = compare(measured, scope)
        content = summary(scope, wanted, measured, rows, failed)
        folder.write_summary(content)
        folder.write_text("paper.md", markdown(scope, wanted, measured, rows, remarks))
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        from benchmarks.paper.table import print_study

        print_study(wanted, measured, rows, folder.path)
    if failed:
        print(
            f"orbitflow: {failed} of {len(study.jobs())} simulations failed, see "
            f"{folder.path}/cells.jsonl; the same command tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _reductions(scope: Scope) -> list[str]:
    """Say what is less than in the paper, and than in a full run."""
    said = [f"{scope.requests} requests to a workload, the paper's have 52."]
    if scope is not FULL:
        said.append(
            f"--quick: {scope.seeds} seeds instead of {FULL.seeds}, {scope.requests} requests "
            f"instead of {FULL.requests}, SLO scales {_list(scope.scales)}, rates "
            f"{_list(scope.rates)}, CVs {_list(scope.cvs)}, batches {_list(scope.batches)}, "
            f"contexts x {_list(scope.contexts)}, no tensor parallelism; intervals are wide."
        )
    return said


def _list(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _announce(study: PaperStudy, folder: StudyFolder, missing: int, remarks: list[str]) -> None:
    jobs = len(study.jobs())
    lines = [f"{len(study.points)} points x {study.seeds} seeds in {folder.path}", *remarks]
    if missing < jobs:
        lines.append(f"{jobs - missing} of {jobs} simulations are there already")
    for line in lines:
        print(line, file=sys.stderr)
