"""One policy over one scenario, up to the point where the worlds part: policy, core, recorder and
the policy's files. The simulator and the backend open the same session and only drive it
differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TextIO

from orbitflow.config import DepositRule, PipelineForm
from orbitflow.engine.engine import DecisionRecord, ServingCore
from orbitflow.engine.guard import ask
from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.machine.pipeline import Overlap
from orbitflow.results.recorder import ColumnSink, Recorder, decision_line
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario


class Outputs(Protocol):
    """Where the files of a run go, such as a run folder."""

    def lines(self, name: str) -> AbstractContextManager[TextIO]:
        """Open a file of lines."""
        ...

    def columns(self, name: str) -> AbstractContextManager[ColumnSink]:
        """Open a file of columns."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A policy that is ready to serve, and who watches it."""

    policy: Policy
    core: ServingCore
    recorder: Recorder
    deposit: bool

    def report(self) -> PolicyReport:
        """What the run came to."""
        return self.recorder.report(self.policy, deposit=self.deposit)


def outfit(scenario: Scenario, name: str) -> Policy:
    """A fresh policy of that name, bound to the scenario's machine as the run asks for."""
    policy, config = scenario.make_policy(name), scenario.config
    ask(policy.configure, config.tuning)
    policy.data_plane = _data_plane(policy, config.pipeline)
    ask(policy.bind, scenario.limits, scenario.believed)
    return policy


def make_core(
    scenario: Scenario,
    policy: Policy,
    on_decision: Callable[[DecisionRecord], object] | None = None,
) -> ServingCore:
    """A serving core for a policy as the run asks for it; a replay must have the very same one."""
    return ServingCore(
        policy,
        scenario.limits,
        tbt_limit_s=scenario.slo.tbt_limit_s,
        max_batch=scenario.max_batch,
        prefill_chunk=scenario.config.prefill_chunk,
        ttft_of=lambda request: scenario.slo.ttft_of(request, scenario.believed),
        on_decision=on_decision,
    )


@contextmanager
def open_session(
    scenario: Scenario, name: str, folder: Outputs, progress: Callable[[int], None]
) -> Iterator[Session]:
    """Open a session and its files, `name`/requests.jsonl, decisions.jsonl and steps.npz;
    tbt.npz is added when it ends.

    `progress` is told as requests end.
    """
    config = scenario.config
    policy = outfit(scenario, name)
    deposit = _banks(policy, config.deposit)
    with (
        folder.lines(f"{name}/requests.jsonl") as requests_out,
        folder.lines(f"{name}/decisions.jsonl") as decisions_out,
        folder.columns(f"{name}/steps.npz") as steps_out,
    ):

        def decided(record: DecisionRecord) -> None:
            decisions_out.write(decision_line(record))
            recorder.decided(record)

        core = make_core(scenario, policy, decided)
        recorder = Recorder(
            core,
            scenario.believed,
            scenario.slo,
            deposit=deposit,
            delivery=config.pace,
            requests_out=requests_out,
            steps_out=steps_out,
            progress=progress,
        )
        yield Session(policy, core, recorder, deposit)
        recorder.steps.flush()
    with folder.columns(f"{name}/tbt.npz") as gaps_out:
        recorder.write_gaps(gaps_out)


def _banks(policy: Policy, rule: DepositRule) -> bool:
    """Whether this policy's early tokens are banked when lateness is judged."""
    return rule is DepositRule.ALL or (rule is DepositRule.POLICY and policy.has_deposit)


def _data_plane(policy: Policy, form: PipelineForm) -> DataPlane:
    """The policy's data plane, streaming in the form that the run asks for."""
    plane = policy.data_plane
    if plane.overlap is Overlap.RING and form is PipelineForm.PAPER:
        return replace(plane, overlap=Overlap.PAPER)
    return plane
