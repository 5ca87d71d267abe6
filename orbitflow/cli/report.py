"""`orbitflow report`: one page over runs and studies, for a browser without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders that `sim`, `run`, `study run` or `study capacity` have written.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The HTML file to write; one that is there is replaced."),
    ] = Path("report.html"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Make one HTML file of runs and studies: tables, distributions, stories over time, heat maps.

    The file needs nothing but a browser: no network, no server. It is light or dark as the system
    is, and can be printed; #dark, #light and #open behind its address choose a theme and unfold
    everything. Runs that were judged by different SLOs are kept apart.

    Example: orbitflow report runs/azure_conv-1 studies/azure_conv-1 -o report.html
    """

    run_report(folders, out, quiet=quiet)
