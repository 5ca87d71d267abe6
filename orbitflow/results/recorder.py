"""From the events of a run to its results, the same for simulator and backend."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from orbitflow.config import DeliveryPace
from orbitflow.engine.engine import DecisionRecord, ServingCore
from orbitflow.engine.policy import Policy
from orbitflow.machine.cost import CostModel
from orbitflow.request import Request
from orbitflow.results.request_result import compact_json, failed, judge
from orbitflow.results.summary import PolicyReport, Refusal, Totals
from orbitflow.slo import Slo
from orbitflow.step import Events, Step, StepOutcome

_STEP_COLUMNS = {
    "start_s": "d",
    "end_s": "d",
    "passes": "q",
    "decoding": "q",
    "context_tokens": "q",
    "prefill_tokens": "q",
    "stall_s": "d",
    "link_busy_s": "d",
    "h2d_bytes": "q",
    "d2h_bytes": "q",
    "gpu_pages": "q",
    "host_pages": "q",
    "waiting": "q",
    "parked": "q",
}
_BLOCK = 8192  # rows
_EVEN, _TAIL = np.linspace(0, 0.99, 199), 1 - np.logspace(-2, -5, 31)
_SHARES = np.concatenate([_EVEN, _TAIL, [1.0]])  # of `tbt.npz`, denser towards the tail


class LineSink(Protocol):
    """Takes text, such as an open file."""

    def write(self, text: str, /) -> object:
        """Take text."""
        ...


class ColumnSink(Protocol):
    """Takes blocks of rows, such as the file of `steps.npz`."""

    def write(self, block: Mapping[str, array[Any]], /) -> object:
        """Take rows by column; they are forgotten afterwards."""
        ...


class StepColumns:
    """Columns of `steps.npz`: one row per step, handed on block by block."""

    def __init__(self, out: ColumnSink | None) -> None:
        self._out = out
        self._columns: dict[str, array[Any]] = {
            name: array(code) for name, code in _STEP_COLUMNS.items()
        }
        self._append = tuple(column.append for column in self._columns.values())
        self._rows = 0

    def add(self, step: Step, outcome: StepOutcome, core: ServingCore) -> None:
        """Add one step's row."""
        queues, account = core.queues, core.account
        row = (
            outcome.start_s,
            outcome.end_s,
            len(outcome.pass_end_s),
            len(step.decode_ids),
            step.context_tokens,
            sum([c.tokens for c in step.chunks]) if step.chunks else 0,
            outcome.stall_s,
            outcome.link_busy_s,
            outcome.h2d_bytes,
            outcome.d2h_bytes,
            account.gpu_used,
            account.host_used,
            len(queues.waiting),
            len(queues.paused),
        )
        for append, value in zip(self._append, row, strict=True):
            append(value)
        self._rows += 1
        if self._rows == _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand on the rows that are held."""
        if self._out is not None:
            self._out.write(self._columns)
        for column in self._columns.values():
            del column[:]
        self._rows = 0


class Recorder:
    """Observes one policy's run: writes its files and counts its totals."""

    def __init__(
        self,
        core: ServingCore,
        cost: CostModel,
        slo: Slo,
        *,
        deposit: bool,
        delivery: DeliveryPace,
        requests_out: LineSink,
        steps_out: ColumnSink | None = None,
        progress: Callable[[int], None],
    ) -> None:
        self.totals = Totals(cost.layers)
        self.steps = StepColumns(steps_out)
        self._core = core
        self._cost = cost
        self._slo = slo
        self._deposit = deposit
        self._delivery = delivery
        self._requests_out = requests_out
        self._progress = progress
        self._refusals: list[Refusal] = []

    def refused(self, request: Request, reason: str) -> None:
        """Count a request that can never be served."""
        slo = self._slo
        result = failed(
            request,
            reason,
            tbt_limit_s=slo.tbt_limit_of(request),
            ttft_limit_s=slo.ttft_of(request, self._cost),
        )
        self.totals.add(result)
        self._refusals.append(Refusal(request.id, reason))
        self._requests_out.write(result.to_json_line() + "\n")
        self._progress(1)

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Count a step and the requests that it finished."""
        self.steps.add(step, outcome, self._core)
        self.totals.link.add(step, outcome, self._cost.layers)
        slo = self._slo
        for finished in events.finished:
            request = finished.request
            judged = judge(
                finished,
                tbt_limit_s=slo.tbt_limit_of(request),
                ttft_limit_s=slo.ttft_of(request, self._cost),
                deposit=self._deposit,
                delivery=self._delivery,
            )
            self.totals.add_completed(judged.result, judged.pace, judged.gaps_s)
            self._requests_out.write(judged.result.to_json_line() + "\n")
        if events.finished:
            self._progress(len(events.finished))

    def write_gaps(self, out: ColumnSink) -> None:
        """Write the distribution of all gaps between tokens: the content of `tbt.npz`."""
        gaps_s = self.totals.tbt.at(_SHARES)
        shares = _SHARES[: len(gaps_s)]  # none, where there are no gaps
        out.write({"share": array("d", shares), "tbt_s": array("d", gaps_s)})

    def report(self, policy: Policy, *, deposit: bool) -> PolicyReport:
        """The figures of the run, with what the policy declares of itself."""
        declared: dict[str, object] = {
            "admission": policy.admission,
            "output_lengths": str(policy.lengths),
            "deposit": deposit,
            "lossy": policy.is_lossy,
            "recomputes": policy.recomputes,
            "cpu_attends": policy.data_plane.host_read.attends,
        }
        figures = self.totals.to_json(declared)
        notices: tuple[str, ...] = ()
        if policy.planning is not None:
            planner = figures["planner"]
            assert isinstance(planner, dict)
            figures["planner"] = planner | policy.planning.to_json()
            if troubles := policy.planning.troubles:
                notices = (
                    f"{policy.name}: the solver gave no usable plan {len(troubles)} times "
                    f"({troubles[0]}); the fast search's plans stood",
                )
        return PolicyReport(figures, tuple(self._refusals), notices)

    def decided(self, record: DecisionRecord) -> None:
        """Count what a decision drops."""
        self.totals.dropped += len(record.decision.drop)

    def planned(self, latency_s: float) -> None:
        """Count a call of the planner."""
        self.totals.planner.calls += 1
        self.totals.planner.latency.add(latency_s)


def decision_line(record: DecisionRecord) -> str:
    """One line of `decisions.jsonl`. A window of None means: reserved to the end."""
    decision = record.decision
    exceptions: Mapping[int, tuple[int, ...]] = decision.placement.exceptions
    line = {
        "t_s": record.now_s,
        "pass": record.passes,
        "admit": decision.admit,
        "park": decision.pause,
        "drop": decision.drop,
        "resume": decision.resume,
        "host_layers": decision.placement.default,
        "exceptions": {str(k): v for k, v in exceptions.items()},
        "window": decision.window,
        "gpu_pages": record.gpu_pages,
        "host_pages": record.host_pages,
    }
    return compact_json(line) + "\n"
