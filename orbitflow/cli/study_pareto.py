"""`orbitflow study pareto`: the cells of a study that no other beats in everything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FIGURES = "Figures"


def pareto_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a study, finished or not.")],
    x: Annotated[
        str | None,
        typer.Option(
            help="A figure, better in its known sense: shares and rates up, times down.",
            rich_help_panel=_FIGURES,
        ),
    ] = None,
    y: Annotated[str | None, typer.Option(help="Another one.", rich_help_panel=_FIGURES)] = None,
    minimize: Annotated[
        list[str] | None,
        typer.Option(
            help="A figure of summary.json, or a number of the grid such as gpu_memory_bytes, of "
            "which less is better; repeat for several.",
            rich_help_panel=_FIGURES,
        ),
    ] = None,
    maximize: Annotated[
        list[str] | None,
        typer.Option(help="One of which more is better.", rich_help_panel=_FIGURES),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A key of the grid: a front for each of its values, such as rate_scale.",
            rich_help_panel=_FIGURES,
        ),
    ] = None,
    all_cells: Annotated[
        bool,
        typer.Option("--all", help="Show dominated cells too, and who dominates them."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only the fronts, as JSON.")
    ] = False,
) -> None:
    """Show which cells of a study are not dominated in two or more figures. Simulates nothing.

    Example: orbitflow study pareto studies/demo-1 --minimize ttft_s.p95 --maximize slo_attainment
    """

    named = [name for name in (x, y) if name is not None]
    show_fronts(
        folder,
        named,
        minimize or [],
        maximize or [],
        by or [],
        all_cells=all_cells,
        as_json=as_json,
    )
