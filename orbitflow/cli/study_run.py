"""What `orbitflow study run` does once its options are read: announce, run, follow, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import typer

from orbitflow.study.folder import StudyFolder
from orbitflow.study.parquet import check_parquet, write_parquet
from orbitflow.study.runner import run_on, unfinished
from orbitflow.study.search_run import run_search
from orbitflow.study.stored import Row, row_id
from orbitflow.study.study import Job, Study
from orbitflow.study.summary import CellResult, results, summary
from orbitflow.study.worker import StudyExecutor

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Output(NamedTuple):
    """Where the results go, and in which forms."""

    out: Path | None
    as_json: bool
    quiet: bool
    parquet: bool


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
    executor: StudyExecutor[Job], study: Study, folder: StudyFolder, progress: CellProgress
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


class CellProgress:
    """Progress on stderr: a bar on a terminal, else a line per tenth."""

    def __init__(self, total: int, jobs: str, *, shown: bool) -> None:
        self._total = total
        self._jobs = jobs
        self._shown = shown
        self._seen: set[tuple[str, int]] = set()
        self._failed: set[tuple[str, int]] = set()
        self._told = 0
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> CellProgress:
        if self._shown and sys.stderr.isatty():
            self._bar = _make_bar()
            self._task = self._bar.add_task("cells", total=self._total, failed="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, row: Row) -> None:
        """Count a job that is over; one that is tried again counts once."""
        self._seen.add(row_id(row))
        (self._failed.discard if row["status"] == "ok" else self._failed.add)(row_id(row))
        failed = f"{len(self._failed)} failed" if self._failed else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=len(self._seen), failed=failed)
            return
        tenth = len(self._seen) * 10 // self._total
        if self._shown and tenth > self._told:
            self._told = tenth
            more = f", {failed}" if failed else ""
            print(f"{tenth * 10} % of {self._total} {self._jobs}{more}", file=sys.stderr)


def _make_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
