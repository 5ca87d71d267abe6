"""Progress on stderr: a bar per policy on a terminal, else a line per tenth of a run that takes
long.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_QUIET_FOR_S = 2.0
_REFRESH_S = 0.1


class Progress:
    """Counts requests that are over, policy by policy."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total = total
        self._shown = shown
        self._name = ""
        self._done = 0
        self._told = 0
        self._next_s = 0.0
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if self._shown and sys.stderr.isatty():
            self._bar = _make_bar()
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._update()
            self._bar.stop()

    def begin(self, name: str) -> None:
        """Start counting for another policy."""
        if self._bar is not None:
            self._update()
            self._task = self._bar.add_task(name, total=self._total)
        self._name, self._done, self._told = name, 0, 0
        self._next_s = time.monotonic() + (_QUIET_FOR_S if self._bar is None else 0.0)

    def advance(self, requests: int) -> None:
        """Count requests that are over."""
        self._done += requests
        if not self._shown or time.monotonic() < self._next_s:
            return
        if self._bar is not None:
            self._update()
            self._next_s = time.monotonic() + _REFRESH_S
            return
        tenth = self._done * 10 // self._total
        if tenth > self._told:
            self._told = tenth
            print(f"{self._name}: {tenth * 10} % of {self._total} requests", file=sys.stderr)

    def _update(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)


def _make_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("requests"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
