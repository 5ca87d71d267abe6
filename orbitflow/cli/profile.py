"""`orbitflow profile list|show|diff|roofline`: known machines, all about one, two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

profile_app = typer.Typer(
    help="List and show machine profiles: how fast a GPU and its link serve a model.",
    no_args_is_help=True,
)


@profile_app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the built-in profiles, rooflines for llama-3-8b."""
    from orbitflow.cli import profile_tables as profile_view
    from orbitflow.machine.catalog import profile_names, resolve_profile

    rows = [profile_view.summarise(resolve_profile(name)) for name in profile_names()]
    if as_json:
        typer.echo(profile_view.rows_as_json(rows))
    else:
        profile_view.print_rows(rows)


@profile_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A built-in profile or a profile file.")],
    model: Annotated[
        str | None,
        typer.Option(help="A model preset or config.json, for roofline profiles."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the file format: save it, edit it, load it.")
    ] = False,
) -> None:
    """Show a profile: memory, times, link, where they come from and what was only assumed."""
    from orbitflow.machine.catalog import resolve_profile
    from orbitflow.machine.profile import to_json

    profile = resolve_profile(name, model)
    if as_json:
        typer.echo(to_json(profile), nl=False)
        return
    from orbitflow.cli.profile_tables import print_profile

    print_profile(profile)


@profile_app.command("diff")
def diff_command(
    first: Annotated[str, typer.Argument(help="A built-in profile or a profile file.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
) -> None:
    """Compare the coefficients of two profiles."""
    from orbitflow.cli.profile_tables import print_diff
    from orbitflow.machine.catalog import resolve_profile

    print_diff(resolve_profile(first), resolve_profile(second))


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
    from orbitflow.errors import UserError
    from orbitflow.machine.catalog import resolve_profile
    from orbitflow.machine.hardware import find_gpu
    from orbitflow.machine.profile import save, to_json

    if tp < 1:
        raise UserError(f"--tp {tp} must be at least 1")
    name = find_gpu(gpu.removesuffix("-roofline")).name
    profile = resolve_profile(f"{name}{f'x{tp}' if tp > 1 else ''}-roofline", model)
    if out is not None:
        if out.exists():
            raise UserError(f"--out {out} exists: name a new file, or remove it")
        save(profile, out)
        typer.echo(f"{out} written: use it with --profile {out}", err=True)
    if as_json:
        typer.echo(to_json(profile), nl=False)
    elif out is None:
        from orbitflow.cli.profile_tables import print_profile

        print_profile(profile)
