"""`orbitflow trace paper`: a workload drawn by the paper's recipe, in the paper's file format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def paper_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, such as p.json.")],
    rate: Annotated[
        float, typer.Option(help="Arrival rate, as a multiple of the base rate.")
    ] = 2.0,
    cv: Annotated[float, typer.Option(help="Coefficient of variation of the gaps.")] = 1.0,
    batch: Annotated[int, typer.Option(help="Batch size; the KV capacity follows from it.")] = 4,
    context: Annotated[float, typer.Option(help="Multiply all lengths.")] = 1.0,
    num_requests: Annotated[int, typer.Option(help="How many requests.")] = 52,
    mix: Annotated[
        str,
        typer.Option(
            help="Weights of the classes input x output of short, medium and long, such as "
            "SS:1+ML:3; main: as in the authors' main trace."
        ),
    ] = "main",
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
) -> None:
    """Draw a workload by the OrbitFlow paper's recipe, arrivals in engine steps.

    Example: orbitflow trace paper p.json --rate 5 --cv 4

    The same as a name, without a file: orbitflow sim --trace paper:rate=5,cv=4
    """
    from orbitflow.errors import UserError
    from orbitflow.traces.paper_workload import Recipe, draw, paper_name, read_mix
    from orbitflow.traces.write import write_paper

    try:
        weights = read_mix(mix)
    except ValueError:
        raise UserError(f"--mix {mix}: write weights of classes, such as SS:1+ML:3") from None
    recipe = Recipe(num_requests, rate, cv, batch, context, weights)
    trace = draw(recipe, seed)
    write_paper(trace, out, overwrite=force)
    typer.echo(f"{out}: {len(trace):,} requests written, {trace.source}", err=True)
    typer.echo(
        f"{paper_name(recipe, seed)}: batch {trace.max_batch}, "
        f"KV capacity {trace.kv_capacity_tokens:,} tokens",
        err=True,
    )
