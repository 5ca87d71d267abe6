"""What `orbitflow study run` does once its options are read: announce, run, follow, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import typer

from orbitflow.study.folder import Row, StudyFolder, row_id
from orbitflow.study.plan import Study
from orbitflow.study.runner import run_study, unfinished
from orbitflow.study.summary import results, summary

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


def run(study: Study, out: Path | None, *, workers: int, as_json: bool, quiet: bool) -> None:
    """Run what is missing of a study and print what all of it came to. Exit 1 if a cell failed."""
    talks = not (quiet or as_json)
    folder = StudyFolder.numbered(study) if out is None else StudyFolder(out, study)
    with folder:
        missing = len(unfinished(study, folder.rows))
        if talks:
            _announce(study, folder, missing)
        try:
            with CellProgress(missing, _jobs_of(study), shown=talks) as progress:
                run_study(study, folder, workers=workers, on_row=progress.advance)
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
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        from orbitflow.cli.study_table import print_results

        print_results(study, found, folder.path)
    if failed := sum(result.failed for result in found):
        runs = sum(result.failed + result.ok for result in found)
        print(
            f"orbitflow: {failed} of {runs} simulations failed, see {folder.path}/cells.jsonl; "
            "the same command tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _announce(study: Study, folder: StudyFolder, missing: int) -> None:
    from orbitflow.cli.study_table import print_notices

    jobs = len(study.jobs())
    seeds = f" x {study.seeds} seeds" if study.seeds > 1 else ""
    bounds = f" and {len(study.bounds())} bounds" if study.bounded else ""
    lines = [f"{len(study.grid.cells())} cells{seeds}{bounds} in {folder.path}"]
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
