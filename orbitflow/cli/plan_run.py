"""What `orbitflow plan` does once its options are read: ask every policy, print the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np

from orbitflow.codec import encode
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.explain.batch import Batch, explain_batch
from orbitflow.explain.decision import DecisionShown, NotShown
from orbitflow.explain.moment import explain_moment
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.traces.trace import Trace
from orbitflow.units import parse_seconds

Question: TypeAlias = Batch | float  # who stands there, or a moment of the trace, in seconds

T = TypeVar("T")

SCHEMA_VERSION = 1
_OF_TRACES = ("rate_scale", "context_scale", "output_scale", "num_requests", "arrival_jitter")
_ZERO = re.compile(r"\s*[-+]?0+(\.0*)?\s*([a-z]*)\s*")


def read_question(
    contexts: str | None,
    balances: str | None,
    waiting: str | None,
    output_tokens: int,
    trace: str | None,
    at: str | None,
) -> Question:
    """What is asked. Raise a UserError for two questions, or none."""
    if trace is None:
        if contexts is None and waiting is None:
            raise UserError("nothing to plan: give --contexts 2000,8000, or --trace and --at")
        if at is not None:
            raise UserError("--at is a moment of a --trace: leave it out with --contexts")
        return Batch(
            _tokens("--contexts", contexts),
            () if balances is None else _each("--balances", balances, read_time),
            _tokens("--waiting", waiting),
            output_tokens,
        )
    given = {"--contexts": contexts, "--balances": balances, "--waiting": waiting}
    if extra := [option for option, value in given.items() if value is not None]:
        raise UserError(f"{extra[0]} and --trace are two questions: leave one of them out")
    if at is None:
        raise UserError("--trace needs --at: say which moment to look at, such as --at 120s")
    return _named("--at", at, read_time)


def read_time(text: str) -> float:
    """Read a time that may be zero, in seconds."""
    return 0.0 if _ZERO.fullmatch(text.lower()) else parse_seconds(text)


def run_plan(config: RunConfig, question: Question, *, as_json: bool) -> None:
    """Ask every policy and print. Raise a UserError if none of them has anything to show."""
    scenario = scenario_for(config, question)
    answers = [_answer(scenario, name, question) for name in scenario.policies]
    if all(isinstance(answer, NotShown) for answer in answers):
        first = answers[0]
        assert isinstance(first, NotShown)
        raise UserError(f"{first.policy} has nothing to show: {first.reason}")
    if as_json:
        print(json.dumps(_document(scenario, answers), indent=2, allow_nan=False))
        return
    from orbitflow.cli.plan_table import print_answers

    print_answers(scenario, answers)


def _answer(scenario: Scenario, name: str, question: Question) -> DecisionShown | NotShown:
    if isinstance(question, Batch):
        return explain_batch(scenario, name, question)
    return explain_moment(scenario, name, question)


def scenario_for(config: RunConfig, question: Question) -> Scenario:
    """The machine and its SLO; who stands there counts as the trace that tau is taken from."""
    if not isinstance(question, Batch):
        return build_scenario(config)
    for name in _OF_TRACES:
        if getattr(config, name) != getattr(RunConfig, name):
            option = f"--{name.replace('_', '-')}"
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


def _document(scenario: Scenario, answers: list[DecisionShown | NotShown]) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "profile": scenario.profile.name,
        "model": scenario.profile.model.name,
        "slo": {"tau_s": scenario.slo.tau_s, "origin": scenario.slo.origin},
        "notices": list(scenario.notices),
        "decisions": [encode(a) for a in answers if isinstance(a, DecisionShown)],
        "not_shown": [encode(a) for a in answers if isinstance(a, NotShown)],
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
    return tuple(_named(option, part, read) for part in parts)


def _named(option: str, text: str, read: Callable[[str], T]) -> T:
    try:
        return read(text)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
