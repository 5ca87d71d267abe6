"""`orbitflow report`: one page over runs and studies, for a browser without a network."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from orbitflow.errors import UserError


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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where the page is and its notices, as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Make one HTML file of runs and studies: tables, distributions, stories over time, heat maps.

    The file needs nothing but a browser: no network, no server. It is light or dark as the system
    is, and can be printed; #dark, #light and #open behind its address choose a theme and unfold
    everything. Runs that were judged by different SLOs are kept apart.

    Example: orbitflow report runs/azure_conv-1 studies/azure_conv-1 -o report.html
    """
    from orbitflow.files import write_whole
    from orbitflow.report.report import make_report
    from orbitflow.units import format_bytes

    _check_out(out)
    report = make_report(folders)
    try:
        write_whole(out, report.html, errors="backslashreplace")
    except OSError as error:
        raise _cannot(out, error.strerror) from None
    size_bytes = out.stat().st_size
    if as_json:
        about = {"path": str(out), "size_bytes": size_bytes, "notices": list(report.notices)}
        print(json.dumps(about, indent=2))
        return
    for notice in report.notices:
        print(f"note: {notice}", file=sys.stderr)
    if not quiet:
        print(f"report in {out} ({format_bytes(size_bytes)})")


def _check_out(out: Path) -> None:
    """Refuse early what could only fail after the work."""
    if out.is_dir():
        raise _cannot(out, "it is a folder")
    if not out.parent.is_dir():
        raise _cannot(out, f"there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise _cannot(out, f"{out.parent} may not be written to")


def _cannot(out: Path, reason: str | None) -> UserError:
    return UserError(f"-o {out} cannot be written ({reason}): name a file that you may write")
