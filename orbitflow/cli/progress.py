"""RequestProgress on stderr: a bar on a terminal, else a line now and then of what takes long."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from orbitflow.study.stored import Row

_QUIET_FOR_S = 2.0
_REFRESH_S = 0.1


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _OnTerminal:
    """Shows a bar for as long as it is open, if it is to be shown and stderr is a terminal."""

    def __init__(self, unit: str, *, shown: bool, shows_remaining: bool = False) -> None:
        self._shown = shown
        self._unit = unit
        self._shows_remaining = shows_remaining
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._shown and sys.stderr.isatty():
            self._bar = _make_bar(self._unit, shows_remaining=self._shows_remaining)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._draw()
            self._bar.stop()

    def _draw(self) -> None:
        """Bring the bar up to date."""


class RequestProgress(_OnTerminal):
    """Counts requests that are over, policy by policy."""

    def __init__(self, total: int, *, shown: bool) -> None:
        super().__init__("requests", shown=shown)
        self._total = total
        self._done: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}
        self._next_s = time.monotonic() + _QUIET_FOR_S

    def at(self, name: str, done: int) -> None:
        """So many requests of a policy are over."""
        if name not in self._done:
            self._told[name] = 0
            if self._bar is not None:
                self._tasks[name] = self._bar.add_task(name, total=self._total, note="")
        self._done[name] = done
        if not self._shown or time.monotonic() < self._next_s:
            return
        if self._bar is not None:
            self._draw()
            self._next_s = time.monotonic() + _REFRESH_S
            return
        tenth = done * 10 // self._total
        if tenth > self._told[name]:
            self._told[name] = tenth
            print(f"{name}: {tenth * 10} % of {self._total} requests", file=sys.stderr)

    def counter(self, name: str) -> Callable[[int], None]:
        """Count requests of a policy as they end, beginning with none."""
        self.at(name, 0)
        return lambda requests: self.at(name, self._done[name] + requests)

    def _draw(self) -> None:
        for name, task in self._tasks.items():
            assert self._bar is not None, "tasks are of a bar"
            self._bar.update(task, completed=self._done[name])


class CellProgress(_OnTerminal):
    """Counts a study's simulations that are over."""

    def __init__(self, total: int, jobs: str, *, shown: bool) -> None:
        super().__init__("", shown=shown, shows_remaining=True)
        self._total = total
        self._jobs = jobs
        self._seen: set[tuple[str, int]] = set()
        self._failed: set[tuple[str, int]] = set()
        self._told = 0

    def advance(self, row: Row) -> None:
        """Count a job that is over; one that is tried again counts once."""
        from orbitflow.study.stored import row_id

        self._seen.add(row_id(row))
        (self._failed.discard if row["status"] == "ok" else self._failed.add)(row_id(row))
        if self._bar is not None:
            self._draw()
            return
        tenth = len(self._seen) * 10 // self._total
        if self._shown and tenth > self._told:
            self._told = tenth
            more = f", {self._note}" if self._note else ""
            print(f"{tenth * 10} % of {self._total} {self._jobs}{more}", file=sys.stderr)

    @property
    def _note(self) -> str:
        return f"{len(self._failed)} failed" if self._failed else ""

    def _draw(self) -> None:
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("cells", total=self._total, note="")
            self._bar.update(self._task, completed=len(self._seen), note=self._note)


class Measuring(_OnTerminal):
    """Shows what is measured; without a terminal a line for every quarter of the work."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__("", shown=shown)
        self._quarter = 0

    def told(self, label: str, done: int, total: int) -> None:
        """Show what is measured, how much is done, and of how much."""
        quarter = done * 4 // total
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(label, total=total, note="")
            self._bar.update(self._task, description=label, completed=done)
        elif self._shown and quarter > self._quarter:
            print(f"{done} of {total} measurements", file=sys.stderr)
        self._quarter = quarter


def _make_bar(unit: str, *, shows_remaining: bool) -> RichProgress:
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
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        *((TimeRemainingColumn(),) if shows_remaining else ()),
        console=Console(stderr=True),
    )
