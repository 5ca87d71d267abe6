"""`orbitflow doctor`: what is here, what is missing, what is broken, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Check the installation: versions, traces, profiles, GPU, and a small simulation.

    Exit 1 if something that is needed is broken; what is missing but optional is only said.
    """

    findings = examine()
    print_report(findings, as_json=as_json)
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)
