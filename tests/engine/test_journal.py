"""A journal fed to a fresh core gives the same steps; one that was tampered with does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import (
    AdoptCall,
    Divergence,
    FinishCall,
    Journal,
    StepCall,
    SubmitCall,
    describe,
    replay,
)
from orbitflow.engine.journal_lines import read_journal
from orbitflow.errors import UserError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.sim.server import Simulation
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Events, Idle, Step, StepOutcome

PROFILE = resolve_profile("a5000-llama3-8b-paper")
COST = CostModel.from_profile(PROFILE)
REQUESTS = [Request(i, 3.0 * i, 400 + 700 * (i % 3), 150 + 90 * (i % 4)) for i in range(10)]


class Silent:
    def refused(self, request: Request, reason: str) -> None: ...

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None: ...

    def planned(self, latency_s: float) -> None: ...


def fresh_core(policy_name: str, capacity_tokens: int = 3200) -> ServingCore:
    limits = KvLimits.from_tokens(COST.layers, COST.page_tokens, capacity_tokens)
    policy = make_policy(policy_name)
    policy.bind(limits, COST)
    return ServingCore(policy, limits, tbt_limit_s=0.1, prefill_chunk=256)


def recorded(policy_name: str) -> Journal:
    core = fresh_core(policy_name)
    journal = Journal(core)
    executor = SimExecutor(COST, core.policy.data_plane)
    Simulation(journal, executor, REQUESTS, Silent()).run()
    return journal


@pytest.mark.parametrize("policy_name", ["no-offload", "static-2", "dynamic", "deepspeed"])
def test_a_replay_repeats_every_decision(policy_name: str) -> None:
    journal = recorded(policy_name)
    assert sum(isinstance(e, SubmitCall) for e in journal.entries) == len(REQUESTS)
    core = fresh_core(policy_name)
    assert replay(journal.entries, core) is None
    assert core.is_drained


def test_a_replay_on_another_machine_names_the_first_difference() -> None:
    journal = recorded("dynamic")
    divergence = replay(journal.entries, fresh_core("dynamic", capacity_tokens=2800))
    assert isinstance(divergence, Divergence)
    assert divergence.recorded != divergence.replayed


def test_a_changed_outcome_is_noticed() -> None:
    entries = list(recorded("no-offload").entries)
    at = next(
        i
        for i, e in enumerate(entries)
        if isinstance(e, FinishCall) and len(e.outcome.pass_end_s) > 2
    )
    entry = entries[at]
    assert isinstance(entry, FinishCall)
    shorter = entry.outcome._replace(pass_end_s=entry.outcome.pass_end_s[:-1])
    entries[at] = FinishCall(shorter, entry.answer)
    divergence = replay(entries, fresh_core("no-offload"))
    assert divergence is not None
    assert divergence.entry == at


def test_descriptions_are_exact() -> None:
    assert describe(Idle(0.1)) != describe(Idle(0.1 + 1e-17 + 2e-17))
    assert describe(Idle(None)) == describe(Idle(None))


HEAD = '{"schema_version":1}'
SUBMIT = '{"submit":[0,0.5,40,3,null,2.5],"now_s":0.75,"refusal":null}'
STEP = '{"step":"f08a","now_s":0.75}'
ADOPT = '{"adopt":4,"now_s":1.5}'
FINISH = (
    '{"finish":{"start_s":0.75,"pass_end_s":[1.0,1.25],"stall_s":0.0,"link_busy_s":0.5,'
    '"h2d_bytes":7,"d2h_bytes":0,"moves_done":[3],"end_s":1.25,"pass_stall_s":null},"events":"5e"}'
)


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("\n".join((HEAD, SUBMIT, STEP, ADOPT, FINISH, "")))
    *calls, finish = read_journal(path)
    assert calls == [
        SubmitCall(0.75, Request(0, 0.5, 40, 3, None, 2.5), None),
        StepCall(0.75, "f08a"),
        AdoptCall(1.5, 4),
    ]
    assert isinstance(finish, FinishCall)
    outcome = finish.outcome
    assert outcome.pass_end_s.tolist() == [1.0, 1.25]
    assert (outcome.h2d_bytes, outcome.moves_done, outcome.pass_stall_s) == (7, (3,), None)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (SUBMIT.replace("40", '"40"'), "Expected `int`, got `str`"),
        (STEP.replace("now_s", "nows"), "missing required field `now_s`"),
        (ADOPT.replace("4", "null"), "Expected `int`, got `null`"),
        (FINISH.replace("1.25]", "null]"), "Expected `float`, got `null`"),
        ('{"other":1}', "other"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{HEAD}\n{STEP}\n{line}\n")
    with pytest.raises(UserError, match=r"journal\.jsonl:3 is no line of a journal") as refusal:
        list(read_journal(path))
    assert what in str(refusal.value)


def test_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"schema_version":2}\n')
    with pytest.raises(UserError, match=r"schema_version 2, this .* reads 1: run again"):
        list(read_journal(path))
