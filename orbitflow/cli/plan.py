"""`orbitflow plan`: one decision, taken apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from orbitflow.cli.options import RUN_FIELDS, AsJson, Given, configured, split_policies
from orbitflow.errors import UserError
from orbitflow.options import RUN_OPTIONS, SERVING, option_name
from orbitflow.units import parse_moment, parse_option

if TYPE_CHECKING:
    from orbitflow.config import RunConfig
    from orbitflow.explain.batch import Batch
    from orbitflow.explain.decision import DecisionShown, NotShown
    from orbitflow.scenario import Scenario

PlanQuestion: TypeAlias = "Batch | float"  # running requests, or a moment of the trace in seconds

T = TypeVar("T")

SCHEMA_VERSION = 1
_QUESTION = "Question"
_NOT_TAKEN = ("fidelity", "timeline", "slo_ttft_s", "slo_ttft_scale", "deposit", "pace")
_OF_TRACES = (
    "rate_scale", "context_scale", "output_scale", "num_requests", "arrival_jitter", "time_unit",
    "columns",
)  # fmt: skip


@configured([name for name in RUN_FIELDS if name not in _NOT_TAKEN], own_first=True)
def plan_command(
    given: Given,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="Running requests, by their contexts in tokens, such as 2000,8000,16000,4000.",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    balances: Annotated[
        str | None,
        typer.Option(
            help="How far each of --contexts is ahead of its deadline, such as 0s,2s,500ms: time "
            "until its next token is due. Default: 0 for all.",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    waiting: Annotated[
        str | None,
        typer.Option(
            help="Requests that wait for admission, by their prompts in tokens.",
            rich_help_panel=_QUESTION,
        ),
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
            help="Policies to ask, such as orbit,dynamic, or `all`; may be repeated. Default: "
            "orbit.",
            rich_help_panel=SERVING,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one decision: whose KV lies where, layer by layer, what a pass takes, and why.

    Requests of --contexts run, their KV on the GPU until the policy moves it.

    Planners are waited for. Times are those of a pass in steady state.

    Example: orbitflow plan --contexts 2000,8000,16000,4000 --kv-capacity-tokens 20000

    Example: orbitflow plan --trace azure_conv --at 120s --policy dynamic,orbitflow
    """
    if trace is not None and "output_tokens" in given.explicit:
        raise UserError("--output-tokens is of --contexts: a --trace has its own; leave it out")
    question = _read_question(contexts, balances, waiting, output_tokens, trace, at)
    policies = split_policies(policy or ["orbit"])
    config = given.config(trace=trace or "contexts", policies=policies)
    scenario = scenario_for(config, question)
    _run_plan(scenario, question, as_json=as_json)


def _read_question(
    contexts: str | None,
    balances: str | None,
    waiting: str | None,
    output_tokens: int,
    trace: str | None,
    at: str | None,
) -> PlanQuestion:
    """What is asked. Raise a UserError for two questions, or none."""
    from orbitflow.explain.batch import Batch

    if trace is None:
        if contexts is None and waiting is None:
            raise UserError("nothing to plan: give --contexts 2000,8000, or --trace and --at")
        if at is not None:
            raise UserError("--at is a moment of a --trace: leave it out with --contexts")
        return Batch(
            _tokens("--contexts", contexts),
            () if balances is None else _each("--balances", balances, parse_moment),
            _tokens("--waiting", waiting),
            output_tokens,
        )
    given = {"--contexts": contexts, "--balances": balances, "--waiting": waiting}
    if extra := [option for option, value in given.items() if value is not None]:
        raise UserError(f"{extra[0]} and --trace are two questions: leave one of them out")
    if at is None:
        raise UserError("--trace needs --at: say which moment to look at, such as --at 120s")
    return parse_option("--at", at, parse_moment)


def _run_plan(scenario: Scenario, question: PlanQuestion, *, as_json: bool) -> None:
    """Ask every policy and print. Raise a UserError if none of them has anything to show."""
    from orbitflow.explain.decision import DecisionShown, NotShown

    answers = [_answer(scenario, name, question) for name in scenario.policies]
    shown = [answer for answer in answers if isinstance(answer, DecisionShown)]
    not_shown = [answer for answer in answers if isinstance(answer, NotShown)]
    if not shown:
        first = not_shown[0]
        raise UserError(f"{first.policy} has nothing to show: {first.reason}")
    if as_json:
        print(json.dumps(_document(scenario, shown, not_shown), indent=2, allow_nan=False))
        return
    from orbitflow.cli.plan_table import print_answers

    print_answers(scenario, answers)


def _answer(scenario: Scenario, name: str, question: PlanQuestion) -> DecisionShown | NotShown:
    from orbitflow.explain.batch import explain_batch
    from orbitflow.explain.moment import explain_moment

    if not isinstance(question, float):
        return explain_batch(scenario, name, question)
    return explain_moment(scenario, name, question)


def scenario_for(config: RunConfig, question: PlanQuestion) -> Scenario:
    """The machine and its SLO; running requests count as the trace that the limit is taken from."""
    import numpy as np

    from orbitflow.config import RunConfig
    from orbitflow.scenario import build_scenario
    from orbitflow.traces.trace import Trace

    if isinstance(question, float):
        return build_scenario(config)
    for name in _OF_TRACES:
        if getattr(config, name) != getattr(RunConfig, name):
            option = option_name(name, RUN_OPTIONS[name])
            raise UserError(f"{option} changes a --trace: leave it out with --contexts")
    question.check_numbers()
    lengths = [c - 1 for c in question.contexts] or list(question.waiting)
    raw = Trace(
        name="contexts",
        source="given on the command line",
        format="contexts",
        arrival=np.zeros(len(lengths)),
        arrival_unit="s",
        prompt_tokens=np.array(lengths, dtype=np.int64),
        output_tokens=np.ones(len(lengths), dtype=np.int64),
    )
    scenario = build_scenario(config, raw=raw)
    question.check_batch(scenario.max_batch)
    return scenario


def _document(
    scenario: Scenario, shown: Sequence[DecisionShown], not_shown: Sequence[NotShown]
) -> dict[str, object]:
    from orbitflow.codec import encode

    return {
        "schema_version": SCHEMA_VERSION,
        "profile": scenario.profile.name,
        "model": scenario.profile.model.name,
        "slo": {"tau_s": scenario.slo.tbt_limit_s, "origin": scenario.slo.origin},
        "notices": list(scenario.notices),
        "decisions": [encode(answer) for answer in shown],
        "not_shown": [encode(answer) for answer in not_shown],
    }


def _tokens(option: str, text: str | None) -> tuple[int, ...]:
    return () if text is None else _each(option, text, _whole)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"cannot read {text!r}: write whole numbers, such as 2000,8000") from None


def _each(option: str, text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """Read a list. Raise a UserError that names the option, also for a gap."""
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise UserError(f"{option} is empty: give a list such as 2000,8000")
    if not all(parts):
        raise UserError(f"{option} {text!r} has an empty place: write a,b,c without gaps")
    return tuple(parse_option(option, part, read) for part in parts)
