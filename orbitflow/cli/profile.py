"""`orbitflow profile list|show|diff|roofline`: known machines, all about one, two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.errors import UserError

if TYPE_CHECKING:
    from orbitflow.machine.profile import Profile

profile_app = typer.Typer(
    help="List and show machine profiles: how fast a GPU and its link serve a model.",
    no_args_is_help=True,
)


@profile_app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the built-in profiles, rooflines for llama-3-8b."""
    from orbitflow.cli.profile_tables import print_rows, rows_as_json, summarise
    from orbitflow.machine.catalog import profile_names, resolve_profile

    rows = [summarise(resolve_profile(name)) for name in profile_names()]
    if as_json:
        typer.echo(rows_as_json(rows))
    else:
        print_rows(rows)


@profile_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A built-in profile, a profile file, or a GPU.")],
    model: Annotated[
        str | None,
        typer.Option(help="A model preset or config.json, for roofline profiles."),
    ] = None,
    tp: Annotated[
        int | None, typer.Option(help="GPUs that share the model, for roofline profiles.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the file format: save it, edit it, load it.")
    ] = False,
) -> None:
    """Show a profile: memory, times, link, where they come from and what was only assumed."""
    from orbitflow.machine.catalog import resolve_profile

    _print(resolve_profile(name, model, tp), as_json=as_json)


@profile_app.command("diff")
def diff_command(
    first: Annotated[str, typer.Argument(help="A built-in profile, a profile file, or a GPU.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare the coefficients of two profiles."""
    from orbitflow.cli.profile_tables import diff_as_json, print_diff
    from orbitflow.machine.catalog import resolve_profile

    pair = resolve_profile(first), resolve_profile(second)
    if as_json:
        typer.echo(diff_as_json(*pair))
    else:
        print_diff(*pair)


@profile_app.command("roofline")
def roofline_command(
    gpu: Annotated[str, typer.Option(help="A GPU of the hardware table, such as h100 or a5000.")],
    model: Annotated[
        str, typer.Option(help="A model preset, a Hugging Face config.json or its folder.")
    ],
    tp: Annotated[int, typer.Option(help="GPUs that share the model (tensor parallel).")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write the profile to this new file; edit it at will.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file format.")] = False,
) -> None:
    """Compute a profile from a data sheet and a model's shape: an estimate, not measured."""
    from orbitflow.machine.catalog import resolve_profile
    from orbitflow.machine.hardware import find_gpu
    from orbitflow.machine.profile import save

    if tp < 1:
        raise UserError(f"--tp {tp} must be at least 1")
    profile = resolve_profile(find_gpu(gpu.removesuffix("-roofline")).name + "-roofline", model, tp)
    if out is not None:
        if out.exists():
            raise UserError(f"--out {out} exists: name a new file, or remove it")
        save(profile, out)
        typer.echo(f"{out} written: use it with --profile {out}", err=True)
    if as_json or out is None:
        _print(profile, as_json=as_json)


def _print(profile: Profile, *, as_json: bool) -> None:
    from orbitflow.cli.profile_tables import print_profile
    from orbitflow.machine.profile import to_json

    if as_json:
        typer.echo(to_json(profile), nl=False)
    else:
        print_profile(profile)
