"""`orbitflow profile list|show`: which machines are known, and all that is known of one."""

from __future__ import annotations

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
    from orbitflow.catalog import profile_names, resolve_profile
    from orbitflow.cli import profile_view

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
    from orbitflow.catalog import resolve_profile
    from orbitflow.profile import to_json

    profile = resolve_profile(name, model)
    if as_json:
        typer.echo(to_json(profile), nl=False)
        return
    from orbitflow.cli.profile_view import print_profile

    print_profile(profile)
