"""What `orbitflow report` does once its options are read: check, make the page, write it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orbitflow.errors import UserError
from orbitflow.files import write_whole
from orbitflow.report.report import make_report
from orbitflow.units import format_bytes


def run_report(folders: Sequence[Path], out: Path, *, quiet: bool) -> None:
    """Write the page. Raise a UserError if it cannot be made or written; nothing is left then."""
    _check_out(out)
    report = make_report(folders)
    try:
        write_whole(out, report.html, errors="backslashreplace")
    except OSError as error:
        raise _cannot(out, error.strerror) from None
    for notice in report.notices:
        print(f"note: {notice}", file=sys.stderr)
    if not quiet:
        print(f"report in {out} ({format_bytes(out.stat().st_size)})")


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
