"""A calibration for people: its curves as a table, and points against fits as a drawing.

Drawings are matplotlib's, which is an extra.
"""

from __future__ import annotations

import importlib.util
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orbitflow.calibrate.calibration import Calibration
from orbitflow.calibrate.fitting import POOR
from orbitflow.cli.profile_curves import coefficients
from orbitflow.errors import UserError, how_to_install
from orbitflow.machine.profile import FitError, MeasuredPoint, Profile
from orbitflow.units import format_count, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 110
_SUFFIXES = (".svg", ".pdf", ".png")
_WIDE = 5.0  # longest time / shortest
_COLUMNS = 3
_PANEL_INCHES = 3.4
_TWIN = 1.1  # the band of 10 % around the diagonal


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


def check_plot(path: Path) -> None:
    """Raise a UserError if that cannot be drawn here."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"--plot {path}: end it in {', '.join(_SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(f"--plot needs matplotlib: {how_to_install('plot')}")


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw all curves of a profile into a file.

    Each panel is a curve: measured time across, fitted time up, both logarithmic unless they span
    little; on the diagonal the fit is right. Points held out are hollow.
    """
    from matplotlib.figure import Figure

    curves = [(name, list(points)) for name, points in groupby(profile.points, lambda p: p.curve)]
    rows = -(-len(curves) // _COLUMNS)
    figure = Figure((_COLUMNS * _PANEL_INCHES, rows * _PANEL_INCHES), layout="constrained")
    figure.suptitle(f"{profile.name}: {profile.provenance.device}", fontsize=9)

    def draw(axes: Axes, name: str, points: list[MeasuredPoint]) -> None:
        seconds = [s for p in points for s in (p.measured_s, p.fitted_s) if s > 0]
        ends = [min(seconds) / _TWIN, max(seconds) * _TWIN]
        axes.plot(ends, ends, color="0.6", linewidth=1)
        low, high = [end / _TWIN for end in ends], [end * _TWIN for end in ends]
        axes.fill_between(ends, low, high, color="0.92", linewidth=0)
        for held_out, face in ((False, "tab:blue"), (True, "none")):
            some = [p for p in points if p.held_out is held_out]
            axes.scatter(
                [p.measured_s for p in some],
                [p.fitted_s for p in some],
                s=18,
                facecolors=face,
                edgecolors="tab:blue",
                label="held out" if held_out else "fitted",
            )
        times = [time for point in points for time in (point.measured_s, point.fitted_s)]
        wide = max(times) > _WIDE * min(times)  # else a logarithmic axis has only crowded ticks
        axes.set(title=name, **({"xscale": "log", "yscale": "log"} if wide else {}))
        axes.set_xlabel("measured, s")
        axes.set_ylabel("fitted, s")

    for number, (name, points) in enumerate(curves):
        draw(figure.add_subplot(rows, _COLUMNS, number + 1), name, points)
    if curves:
        figure.axes[0].legend(fontsize=8)
    figure.savefig(path)
