"""One page of measured points against their fits, for a profile that was measured.

Each panel is a curve: measured time across, fitted time up, both logarithmic unless they span
little; on the diagonal the fit is right. Points held out are hollow. Drawn by
matplotlib, which is an extra.
"""

from __future__ import annotations

import importlib.util
from itertools import groupby
from pathlib import Path

from orbitflow.errors import UserError, how_to_install
from orbitflow.machine.profile import MeasuredPoint, Profile

_SUFFIXES = (".svg", ".pdf", ".png")
_WIDE = 5.0  # longest time / shortest
_COLUMNS = 3
_PANEL_INCHES = 3.4
_TWIN = 1.1  # the band of 10 % around the diagonal


def check_plot(path: Path) -> None:
    """Raise a UserError if that cannot be drawn here."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"--plot {path}: end it in {', '.join(_SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(f"--plot needs matplotlib: {how_to_install('plot')}")


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw all curves of a profile into a file."""
    from matplotlib.axes import Axes
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
