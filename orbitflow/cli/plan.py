"""`orbitflow plan`: one decision, taken apart."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orbitflow.cli.options import read_config, with_options_of_sim

_QUESTION = "Question"
_NOT_TAKEN = ("fidelity", "slo_ttft", "slo_ttft_scale", "deposit", "pace")


@with_options_of_sim(lambda name: name not in _NOT_TAKEN, own_first=True)
def plan_command(
    contexts: Annotated[
        str | None,
        typer.Option(
            help="Requests that run, by their contexts in tokens, such as 2000,8000,16000,4000.",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    balances: Annotated[
        str | None,
        typer.Option(
            help="How far each of --contexts is ahead of its reader, such as 0s,2s,500ms,0s: time "
            "until its next token is due. Default: 0 for all.",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    waiting: Annotated[
        str | None,
        typer.Option(help="Prompts that wait to be let in, in tokens.", rich_help_panel=_QUESTION),
    ] = None,
    output_tokens: Annotated[
        int,
        typer.Option(
            help="Tokens that each of them has still to generate.", rich_help_panel=_QUESTION
        ),
    ] = 256,
    trace: Annotated[
        str | None,
        typer.Option(
            help="Instead of --contexts: a trace, served until --at.", rich_help_panel=_QUESTION
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="The moment of the trace to look at, such as 120s.", rich_help_panel=_QUESTION
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A policy to ask; repeat for several, or `all`. Default: orbit.",
            rich_help_panel="Serving",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the decisions as JSON.", rich_help_panel="Output"),
    ] = False,
    **machine: Any,
) -> None:
    """Show one decision: whose KV lies where, layer by layer, what a pass takes, and why.

    Requests of --contexts run, their KV on the GPU until the policy moves it.

    Planners are waited for. Times are those of a pass in steady state.

    Example: orbitflow plan --contexts 2000,8000,16000,4000 --kv-capacity-tokens 20000

    Example: orbitflow plan --trace azure_conv --at 120s --policy dynamic --policy orbitflow
    """

    question = read_question(contexts, balances, waiting, output_tokens, trace, at)
    options = {**machine, "trace": trace or "contexts", "policy": policy or ["orbit"]}
    run_plan(read_config(options), question, as_json=as_json)
