"""What `orbitflow study run` does once its options are read: announce, run, follow, report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import typer

from orbitflow.cli.progress import CellProgress, usable_cpus
from orbitflow.errors import UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.keys import ExecutorName
from orbitflow.study.parquet import check_parquet, write_parquet
from orbitflow.study.runner import run_on, unfinished
from orbitflow.study.search_run import run_search
from orbitflow.study.study import Study
from orbitflow.study.summary import CellResult, results, summary
from orbitflow.study.worker import StudyExecutor, WorkerPool

OpenExecutor: TypeAlias = Callable[[], StudyExecutor]


class Output(NamedTuple):
    """Where the results go, and in which forms."""

    out: Path | None
    as_json: bool
    quiet: bool
    parquet: bool


def executor_of(name: ExecutorName, ray_address: str | None, workers: int | None) -> OpenExecutor:
    """What opens the executor. Raise a UserError at once if it needs what is not installed."""
    if name is ExecutorName.LOCAL:
        if ray_address is not None:
            raise UserError("--ray-address is for --executor ray: add it, or leave the address out")
        return partial(WorkerPool, workers or usable_cpus())
    from orbitflow.study.ray_cluster import AUTO, check_ray
    from orbitflow.study.ray_executor import RayExecutor

    check_ray()
    return partial(RayExecutor, ray_address or os.environ.get("RAY_ADDRESS") or AUTO, workers)


def run(study: Study, output: Output, open_executor: OpenExecutor) -> None:
    """Run what is missing of a study and print what all of it came to. Exit 1 if a cell failed."""
    talks = not (output.quiet or output.as_json)
    if output.parquet:
        check_parquet()
    with open_executor() as executor, _open(study, output.out) as folder:
        missing = _missing(study, folder)
        if talks:
            _announce(study, folder, missing)
        try:
            with CellProgress(missing, _jobs_of(study), shown=talks) as progress:
                study = _run_on(executor, study, folder, progress)
        except BaseException:
            print(
                f"orbitflow: finished cells are in {folder.path}; the same command with "
                f"--out {folder.path} goes on",
                file=sys.stderr,
            )
            raise
        found = results(study, folder.rows)
        content = summary(study, found)
        folder.write_summary(content)
        if output.parquet:
            write_parquet(study, folder)
    if output.as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        _print(study, found, folder.path)
    if failed := sum(result.failed for result in found):
        runs = sum(result.failed + result.ok for result in found)
        print(
            f"orbitflow: {failed} of {runs} simulations failed, see {folder.path}/cells.jsonl; "
            "the same command tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _open(study: Study, out: Path | None) -> StudyFolder:
    return StudyFolder.numbered(study) if out is None else StudyFolder(out, study)


def _run_on(
    executor: StudyExecutor, study: Study, folder: StudyFolder, progress: CellProgress
) -> Study:
    """Run what is missing. Give the study with every cell that it came to."""
    if study.search is not None:
        return run_search(executor, study, folder, on_row=progress.advance)
    run_on(executor, study, folder, on_row=progress.advance)
    return study


def _missing(study: Study, folder: StudyFolder) -> int:
    """Jobs to do; of proposed trials, as many as there can be."""
    if study.search is None or study.trials:
        return len(unfinished(study, folder.rows))
    good: int = sum(row["status"] == "ok" for row in folder.rows.values())
    return max(0, _most_jobs(study) - good)


def _most_jobs(study: Study) -> int:
    if study.search is None or study.trials:
        return len(study.jobs())
    return study.search.most * study.seeds


def _print(study: Study, found: Sequence[CellResult], path: Path) -> None:
    if study.search is None:
        from orbitflow.cli.study_tables import print_results

        print_results(study, found, path)
    else:
        from orbitflow.cli.study_tables import print_search

        print_search(study, found, path)


def _announce(study: Study, folder: StudyFolder, missing: int) -> None:
    from orbitflow.cli.study_tables import print_notices

    jobs = _most_jobs(study)
    seeds = f" x {study.seeds} seeds" if study.seeds > 1 else ""
    bounds = f" and {len(study.bounds())} bounds" if study.bounded else ""
    cells = f"{len(study.cells)} cells"
    if study.search is not None:
        cells = f"{study.search.most} trials by {study.search.sampler}"
    lines = [f"{cells}{seeds}{bounds} in {folder.path}"]
    if missing < jobs:
        lines.append(f"{jobs - missing} of {jobs} {_jobs_of(study)} are there already")
    print_notices(study, lines)


def _jobs_of(study: Study) -> str:
    return "simulations and bounds" if study.bounded else "simulations"
