"""Admission of `orbitflow`: first come first served, while every SLO holds.

A request is admitted only if, h tokens further on for everybody, all of them together still have a
pass in less than a share of the tightest TBT limit, and if its prompt makes few tokens late:

    max(C, X) <= share tau,   sum over running r of (now + prefill - due_r) / tau_r <= late_tokens

C is the compute and X the link time of a pass that streams what does not fit, due_r the time at
which r's next token is due. h is half the mean output of finished requests: what a request in
mid-life has still to generate. The share is `close_share` while requests are being admitted. Once
one was refused, admission starts again at `open_share`, so that it does not flutter. An empty
server admits anybody that fits; nobody is admitted while a request is paused. Without the gate
(`--no-gate`) a request is admitted as soon as the smallest placement of everybody fits.

Rate-aware admission is ours (design section 4.4); arXiv 2601.10729 admits whenever blocks are free.
"""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import NamedTuple

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.memory import BatchPages, KvLimits
from orbitflow.placement import HostLayers
from orbitflow.policy.orbitflow.options import DEFAULT, OrbitFlowOptions
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request


@dataclass(slots=True)
class Gate:
    """Remembers whether the last request was admitted, and how long outputs have been."""

    options: OrbitFlowOptions = DEFAULT
    is_open: bool = True
    _finished: int = 0
    _output_tokens: int = 0

    def finished(self, output_tokens: int) -> None:
        """A request has finished."""
        self._finished += 1
        self._output_tokens += output_tokens

    @property
    def horizon_tokens(self) -> int:
        """Growth of every request that admission allows for."""
        if not self._finished:
            return self.options.first_horizon_tokens
        return max(1, self._output_tokens // (2 * self._finished))

    def admits(self, pass_s: float | None, tbt_limit_s: float) -> bool:
        """Whether passes may become this long; None says that memory does not allow the batch."""
        share = self.options.close_share if self.is_open else self.options.open_share
        self.is_open = pass_s is not None and pass_s <= share * tbt_limit_s
        return self.is_open


class SloAdmission:
    """Looks at the queue before every decision. `gate` None admits whatever fits."""

    def __init__(
        self,
        limits: KvLimits,
        placements: tuple[HostLayers, ...],
        ring_groups: int,
        lookahead_tokens: int,
        gate: Gate | None,
        options: OrbitFlowOptions = DEFAULT,
    ) -> None:
        self._limits = limits
        self._host_layers = tuple(len(host) for host in placements)
        self._ring_groups = 0 if limits.ring_is_extra else ring_groups
        self._lookahead = lookahead_tokens
        self._gate = gate
        self._late_tokens = options.late_tokens
        self.waits_for_balances = False  # the last look refused a request only because of them

    def newcomers(
        self,
        view: View,
        contexts: IntArray,
        tbt_limit_s: float,
        deposit: TokenDeposit,
        cost: CostModel,
    ) -> list[Request]:
        """Requests to admit now, from the head of the queue. `contexts`: of everybody active;
        `tbt_limit_s`: the tightest of those in the server, infinite if nobody is.
        """
        found: list[Request] = []
        self.waits_for_balances = False
        if view.paused:
            return found
        host_free, room = view.account.host_free, view.batch_room
        batch: Grown | None = None
        ends_s = view.now_s
        for request in view.waiting:
            host_free -= self._limits.whole_pages(request.final_tokens)
            if len(found) >= room or host_free < 0:
                break
            if batch is None:
                batch = Grown.of(self._limits, contexts, self._growth_tokens)
            batch = batch.plus(self._limits, request.prompt_tokens + 1, self._growth_tokens)
            ends_s += cost.prefill_s(request.prompt_tokens)
            tbt_limit_s = min(tbt_limit_s, view.tbt_limit_of(request))
            is_alone = batch.pages.requests == 1
            if not (is_alone or self._admits(batch, tbt_limit_s, deposit, ends_s, cost)):
                break
            found.append(request)
        return found

    @property
    def _growth_tokens(self) -> int:
        return self._lookahead - 1 if self._gate is None else self._gate.horizon_tokens

    def _admits(
        self,
        batch: Grown,
        tbt_limit_s: float,
        deposit: TokenDeposit,
        ends_s: float,
        cost: CostModel,
    ) -> bool:
        """Whether these may be served together, if the prompts are done at `ends_s`."""
        limits, ring = self._limits, self._ring_groups
        if self._gate is None:
            needs = (batch.pages.gpu_pages(limits.layers, h, ring) for h in self._host_layers)
            return any(pages <= limits.gpu_pages for pages in needs)
        pass_s = expected_pass_s(cost, limits, batch, self._host_layers, ring)
        admits = self._gate.admits(pass_s, tbt_limit_s)
        self.waits_for_balances = admits and deposit.late_tokens(ends_s) > self._late_tokens
        return admits and not self.waits_for_balances


class Grown(NamedTuple):
    """A batch some tokens further on."""

    pages: BatchPages
    context_tokens: int

    @classmethod
    def of(cls, limits: KvLimits, contexts: IntArray, growth_tokens: int) -> Grown:
        """Requests that have these contexts now."""
        tokens = int(contexts.sum()) + growth_tokens * len(contexts)
        return cls(BatchPages.of(limits, contexts, growth_tokens), tokens)

    def plus(self, limits: KvLimits, context_tokens: int, growth_tokens: int) -> Grown:
        """The batch with one more request, which has this context now."""
        grown = context_tokens + growth_tokens
        return Grown(self.pages.plus(limits, grown), self.context_tokens + grown)


def expected_pass_s(
    cost: CostModel, limits: KvLimits, batch: Grown, host_layers: Several[int], ring_groups: int
) -> float | None:
    """Time of a pass that streams what does not fit; None if it cannot fit. `host_layers`: of each
    placement; `ring_groups`: of the staging ring, 0 where it comes on top.
    """
    requests, pages, groups = batch.pages
    compute_s = cost.decode_pass_s(requests, batch.context_tokens)
    over = limits.layers * pages - limits.gpu_pages
    if over <= 0:
        return compute_s
    freed = [(hosted - ring_groups, hosted) for hosted in host_layers if hosted > ring_groups]
    if not freed or over > max(freed)[0] * groups:
        return None
    streamed = over * min(hosted / layers for layers, hosted in freed)
    return max(compute_s, streamed * cost.page_s)
