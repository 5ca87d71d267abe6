"""The options of policies that plan, as types: what each one does is said here, its default in
`RunConfig`. `Without...` takes one mechanism out, for ablations.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from orbitflow.config import LengthsKnown, SolverName, Victim

_PANEL = "Planning"

WithoutRefiner: TypeAlias = Annotated[
    bool,
    typer.Option("--no-refine", help="No feedback from measured passes.", rich_help_panel=_PANEL),
]
WithoutDeposit: TypeAlias = Annotated[
    bool,
    typer.Option("--no-deposit", help="No planning on banked tokens.", rich_help_panel=_PANEL),
]
WithoutPause: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-pause",
        help="No parking, nor rotation, but where memory runs out.",
        rich_help_panel=_PANEL,
    ),
]
WithoutGate: TypeAlias = Annotated[
    bool,
    typer.Option("--no-gate", help="Admit whoever fits.", rich_help_panel=_PANEL),
]
WithoutSpread: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-spread", help="orbit: host layers of all requests in phase.", rich_help_panel=_PANEL
    ),
]
WithoutPreload: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-preload", help="orbit: nothing is loaded for those at rest.", rich_help_panel=_PANEL
    ),
]
VictimChosen: TypeAlias = Annotated[
    Victim,
    typer.Option(help="Whom orbitflow may park first.", rich_help_panel=_PANEL),
]
LengthsUsed: TypeAlias = Annotated[
    LengthsKnown,
    typer.Option(help="Where orbit takes output lengths from.", rich_help_panel=_PANEL),
]
TokenValue: TypeAlias = Annotated[
    float,
    typer.Option(
        help="orbit: late tokens that a token not made counts for; above 0, more favours speed.",
        rich_help_panel=_PANEL,
    ),
]
LostWeight: TypeAlias = Annotated[
    float,
    typer.Option(
        help="orbit: what a late token counts for a request that has missed its TTFT limit; "
        "below 1 favours those that can still meet both.",
        rich_help_panel=_PANEL,
    ),
]
LateLoad: TypeAlias = Annotated[
    float,
    typer.Option(
        help="orbit: share of what can be fed, and of the batch's places, up to which requests "
        "are let in that have missed their TTFT limit; more shortens the longest waits and costs "
        "attainment.",
        rich_help_panel=_PANEL,
    ),
]
SolverUsed: TypeAlias = Annotated[
    SolverName,
    typer.Option(
        help="orbitflow: what closes plans that the fast search cannot prove. orbit: `ilp` takes "
        "every plan from the integer program, slowly, for reference.",
        rich_help_panel=_PANEL,
    ),
]
