"""Nothing is lost and nothing is made up: tokens, pages, moves and bytes, counted at every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Listing

import pytest
from hypothesis import given, settings
from reference.harness import Run, serve
from strategies import (
    OFFLOADING,
    POLICIES,
    Machine,
    batch_limits,
    chunk_sizes,
    machines,
    small_machine,
    workloads,
)

from orbitflow.engine.engine import ServingCore
from orbitflow.machine.pipeline import HostRead
from orbitflow.policy.registry import make_policy
from orbitflow.request import Phase, Request
from orbitflow.step import Events, MoveKind, Step, StepOutcome

EXAMPLES = settings(max_examples=40, derandomize=True)


class Auditor:
    """Recounts everything after every step."""

    def __init__(self, machine: Machine, read: HostRead) -> None:
        self.machine = machine
        self.read = read
        self.tokens: dict[int, list[float]] = {}
        self.asked: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.h2d_bytes = 0
        self.expected_h2d_bytes = 0
        self.loads_bytes = 0
        self.now_s = 0.0

    def __call__(self, core: ServingCore, step: Step, outcome: StepOutcome, events: Events) -> None:
        self.time_goes_on(step, outcome)
        self.deliver(step, outcome, events)
        self.count_moves(step, outcome)
        self.count_bytes(step, outcome)
        self.recount_pages(core, events)

    def time_goes_on(self, step: Step, outcome: StepOutcome) -> None:
        assert outcome.start_s >= self.now_s - 1e-9
        ends = outcome.pass_end_s.tolist()
        assert len(ends) <= step.passes
        assert ends == sorted(ends)
        assert len(set(ends)) == len(ends), "a pass took no time"
        assert all(end > outcome.start_s for end in ends)
        assert outcome.end_s >= outcome.start_s
        assert not ends or outcome.end_s == ends[-1]
        assert -1e-9 <= outcome.stall_s <= outcome.end_s - outcome.start_s + 1e-9
        self.now_s = outcome.end_s

    def deliver(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        assert events.tokens.request_ids == step.decode_ids
        assert events.tokens.times_s is outcome.pass_end_s
        assert len(set(step.decode_ids)) == len(step.decode_ids), "one request twice in a pass"
        for request_id in step.decode_ids:
            self.tokens[request_id] += outcome.pass_end_s.tolist()
        for request_id in events.first_tokens:
            assert request_id not in self.tokens, "two first tokens"
            self.tokens[request_id] = [outcome.end_s]
        for finished in events.finished:
            times = self.tokens[finished.request.id]
            assert finished.token_times_s.tolist() == times
            assert len(times) == finished.request.output_tokens
            assert times == sorted(times)

    def count_moves(self, step: Step, outcome: StepOutcome) -> None:
        self.asked.update(move.id for move in step.moves)
        self.done.update(outcome.moves_done)
        assert not self.done - self.asked, "a move done that nobody asked for, or done twice"

    def count_bytes(self, step: Step, outcome: StepOutcome) -> None:
        cost = self.machine.cost
        page, size = cost.page_tokens, cost.page_bytes
        pages = selected = 0
        for j in range(len(outcome.pass_end_s)):
            for stream in step.streams:
                behind = [(context - 1 + j) // page for context in stream.contexts.tolist()]
                for layer in stream.layers:
                    if layer in stream.staged and self.read.attends:
                        continue
                    if layer in stream.staged and self.read.selects and layer >= 2:
                        selected += sum(behind) * size // 5
                    else:
                        pages += sum(behind)
            for chunk in step.chunks:
                if chunk.start:
                    pages += len(chunk.streamed_layers) * (chunk.start // page)
        for move in step.moves:
            if move.kind is MoveKind.RESUME:
                pages += move.pages
            if move.kind is MoveKind.LOAD:
                self.loads_bytes += move.pages * size
        self.h2d_bytes += outcome.h2d_bytes
        self.expected_h2d_bytes += pages * size + selected
        # Loads cross when the link has time, and not at all if their request ends before.
        ahead = self.h2d_bytes - self.expected_h2d_bytes
        assert 0 <= ahead <= self.loads_bytes

    def recount_pages(self, core: ServingCore, events: Events) -> None:
        limits, account, queues = core.limits, core.account, core.queues
        page, layers = limits.page_tokens, limits.layers
        gpu = host = kept = 0
        staged: Counter[int] = Counter()
        for state in (*queues.active.values(), *queues.paused.values()):
            tokens = state.context_tokens(core.passes) - 1
            if state.phase is Phase.PREFILL:
                tokens = state.prefilled_tokens
            resident = layers - len(state.host)
            pages = -(-tokens // page)
            if state.phase is Phase.PAUSED:
                gpu += resident * (tokens // page)  # its tails are on the host
            else:
                tail = 1 if tokens % page else 0
                gpu += resident * pages + len(state.host) * tail
                staged.update(dict.fromkeys(state.host, tokens // page))
                kept += len(state.host) * (tokens // page)
            if core.policy.data_plane.write_through:
                host += layers * (tokens // page)
        if core.policy.data_plane.ring_groups:
            gpu += max(staged.values(), default=0)  # the largest group has to fit at the least
        gpu += kept // 10 if self.read.selects else 0
        assert gpu <= account.gpu_used <= limits.gpu_pages
        assert host <= account.host_used
        assert limits.host_pages is None or account.host_used <= limits.host_pages
        assert account.gpu_used <= account.gpu_peak <= limits.gpu_pages


def audit(
    policy: str,
    machine: Machine,
    requests: Listing[Request],
    max_batch: int | None = None,
    chunk: int = 0,
) -> Run:
    """Serve a workload under the auditor's eyes, and check what is left at the end."""
    auditor = Auditor(machine, make_policy(policy).data_plane.host_read)
    run = serve(policy, machine, requests, max_batch=max_batch, prefill_chunk=chunk, watch=auditor)
    core = run.core
    assert core.is_drained
    assert (core.account.gpu_used, core.account.host_used, core.account.ring_pages) == (0, 0, 0)
    assert auditor.asked == auditor.done, "a move was never done"
    served = {request.id for request in requests} - run.refusals.keys()
    assert run.finished.keys() == auditor.tokens.keys() == served
    admitted = Counter(i for _, _, events in run.steps for i in events.admitted)
    assert admitted == Counter(served)
    paused = Counter(i for _, _, events in run.steps for i in events.paused)
    resumed = Counter(i for _, _, events in run.steps for i in events.resumed)
    assert paused == resumed
    assert all((f.paused_s > 0) == (i in paused) for i, f in run.finished.items())
    for request in requests:
        if request.id in served:
            finished = run.finished[request.id]
            assert request.arrival_s <= finished.admitted_s + 1e-9
            assert finished.admitted_s < finished.token_times_s[0]
    return run


@pytest.mark.parametrize("policy", POLICIES)
@EXAMPLES
@given(machines(), workloads(), batch_limits, chunk_sizes)
def test_nothing_is_lost(
    policy: str,
    machine: Machine,
    requests: tuple[Request, ...],
    max_batch: int | None,
    chunk: int,
) -> None:
    audit(policy, machine, requests, max_batch, chunk)


CROWD = [Request(i, 0.3 * i, 20 + 3 * i, 50) for i in range(10)]


@pytest.mark.parametrize("chunk", [0, 8])
@pytest.mark.parametrize("policy", ["static-1", "static-3", "dynamic"])
def test_growth_parks_somebody_and_nothing_is_lost(policy: str, chunk: int) -> None:
    run = audit(policy, small_machine(200), CROWD, chunk=chunk)
    assert run.parks > 0
    assert any(m.kind is MoveKind.PAUSE for step, _, _ in run.steps for m in step.moves)
    assert any(m.kind is MoveKind.RESUME for step, _, _ in run.steps for m in step.moves)


def test_dynamic_changes_its_placement_in_both_directions() -> None:
    run = audit("dynamic", small_machine(200), CROWD)
    kinds = {move.kind for step, _, _ in run.steps for move in step.moves}
    assert {MoveKind.DEMOTE, MoveKind.PROMOTE} <= kinds


@pytest.mark.parametrize("policy", ["no-offload", *OFFLOADING])
def test_a_host_that_is_too_small_refuses_or_queues(policy: str) -> None:
    requests = [Request(i, 0.1 * i, 30 + 20 * i, 20) for i in range(6)]
    run = audit(policy, small_machine(600, 100), requests)
    refused = {r.id for r in requests if -(-r.final_tokens // 4) > 25}
    assert run.refusals.keys() == (set() if policy == "no-offload" else refused)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_workload_and_one_of_refusals_only_end_at_once(policy: str) -> None:
    assert not audit(policy, small_machine(), []).steps
    run = audit(policy, small_machine(60, 100), [Request(i, float(i), 4000, 10) for i in range(3)])
    assert (len(run.refusals), run.steps) == (3, [])


def test_a_step_longer_than_the_longest_one_goes_on() -> None:
    run = audit("no-offload", small_machine(100_000), [Request(0, 0.0, 10, 9001)])
    assert [len(o.pass_end_s) for _, o, _ in run.steps] == [1, 4096, 4096, 808]
