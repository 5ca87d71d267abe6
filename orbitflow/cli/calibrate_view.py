"""A calibration on the terminal: progress on stderr while it measures, then its curves."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from orbitflow.calibrate.calibration import Calibration
from orbitflow.calibrate.fitting import POOR
from orbitflow.cli.profile_tables import coefficients
from orbitflow.machine.profile import FitError
from orbitflow.units import format_count, format_seconds

_WIDTH = 110


class Measuring:
    """A bar on a terminal, else a line for every quarter of the work."""

    def __init__(self) -> None:
        self._quarter = 0
        self._bar = Progress(
            TextColumn("{task.description:<48}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Measuring:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def told(self, label: str, done: int, total: int) -> None:
        """Show what is measured, how much is done, and of how much."""
        self._bar.update(self._task, description=label, completed=done, total=total)
        quarter = done * 4 // total
        if self._bar.disable and quarter > self._quarter:
            print(f"{done} of {total} measurements", file=sys.stderr)
        self._quarter = quarter


def print_calibration(made: Calibration, path: Path) -> None:
    """Print the curves of a new profile and how good they are."""
    profile = made.profile
    table = Table(title=f"{profile.name}: curves", box=SIMPLE_HEAD, title_justify="left")
    table.add_column("curve", style="cyan", no_wrap=True)
    table.add_column("fit", overflow="fold")
    for title in ("points", "held\nout", "R²", "median\nerror", "worst\nerror"):
        table.add_column(title, justify="right", no_wrap=True)
    fitted = dict(coefficients(profile))
    for error in profile.errors:
        table.add_row(error.curve, fitted.get(error.curve, ""), *_cells(error))
    console = Console()
    console.width = max(_WIDTH, console.width)
    console.print(table)
    console.print(
        f"KV capacity {format_count(profile.kv_capacity_tokens())} tokens; a plan takes "
        f"{format_seconds(profile.planner_latency_s)}; single passes lie within "
        f"±{profile.pass_noise:.0%} of what they should take",
        highlight=False,
    )
    for notice in made.notices:
        console.print(
            f"note: {notice}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
    console.print(
        f"profile written to {path}; use it: orbitflow sim --profile {path} --trace azure_conv",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _cells(error: FitError) -> tuple[str, ...]:
    worst = error.worst_relative_error
    shown = "" if worst is None else f"{worst:.1%}"
    if worst is not None and worst > POOR:
        shown = f"[yellow]{shown}[/yellow]"
    median = error.median_relative_error
    return (
        str(error.points),
        str(error.held_out_points),
        "" if error.r2 is None else f"{error.r2:.3f}",
        "" if median is None else f"{median:.1%}",
        shown,
    )
