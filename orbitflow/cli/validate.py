"""`orbitflow validate`: hold the simulator to what a run of the backend measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def validate_command(
    run: Annotated[Path, typer.Argument(help="The folder that `orbitflow run` has written.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print validation.json instead of tables.")
    ] = False,
) -> None:
    """Compare a run with its simulation, figure by figure and pass by pass.

    First the run is lived through again from its journal: every decision must be the same, bit for
    bit. Then the simulator runs the same requests from the same profile. The results are also left
    in the folder: validation.json, each policy's passes.npz, and simulated/.

    Example: orbitflow validate runs/demo-1
    """

    run_validation(run, as_json=as_json)
