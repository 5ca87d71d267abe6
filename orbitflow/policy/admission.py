"""Whom to let in: first come first served, nobody while somebody is parked, and through the gate.

Without the gate a request starts as soon as the smallest placement of everybody fits.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits, pages_at_end
from orbitflow.placement import HostLayers
from orbitflow.policy.orbitflow.admission import Gate, expected_pass_s
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request, RequestState

HURT_TOKENS = 8.0  # that a prompt may make late, over all who are being read to


class Admission:
    """Looks at the queue. `gate` None admits whoever fits."""

    def __init__(
        self,
        limits: KvLimits,
        options: tuple[HostLayers, ...],
        ring_groups: int,
        lookahead_tokens: int,
        gate: Gate | None,
    ) -> None:
        self._limits = limits
        self._options = options
        self._ring_groups = ring_groups
        self._lookahead = lookahead_tokens
        self._gate = gate
        self.waits_for_balances = False  # the last look refused somebody only because of them

    def newcomers(
        self, view: View, members: list[RequestState], bank: TokenDeposit, cost: CostModel
    ) -> list[Request]:
        """Whom to admit now."""
        found: list[Request] = []
        self.waits_for_balances = False
        if view.parked:
            return found
        host_free, room = view.account.host_free, view.batch_room
        contexts: list[int] | None = None
        prompts_s = 0.0
        for request in view.waiting:
            host_free -= self._limits.whole_pages(request.final_tokens)
            if len(found) >= room or host_free < 0:
                break
            if contexts is None:
                contexts = [s.context_tokens(view.passes) for s in members]
            contexts.append(request.prompt_tokens + 1)
            prompts_s += cost.prefill_s(request.prompt_tokens)
            if len(contexts) > 1:
                tau_s = min(view.tau_of(request), *(s.tau_s for s in members), 1e9)
                hurt = self._late_tokens(view, members, bank, prompts_s)
                if not self._fits(np.array(contexts), tau_s, hurt, cost):
                    break
            found.append(request)
        return found

    def _fits(self, contexts: IntArray, tau_s: float, hurt: float, cost: CostModel) -> bool:
        """Whether these may be served together, if the prompts make `hurt` tokens late."""
        if self._gate is None:
            return any(
                pages_at_end(
                    self._limits, contexts, [o] * len(contexts), self._ring_groups, self._lookahead
                )
                <= self._limits.gpu_pages
                for o in self._options
            )
        pass_s = expected_pass_s(
            cost,
            self._limits,
            contexts + self._gate.horizon_tokens,
            self._options,
            self._ring_groups,
        )
        admits = self._gate.admits(pass_s, tau_s)
        self.waits_for_balances = admits and hurt > HURT_TOKENS
        return admits and not self.waits_for_balances

    def _late_tokens(
        self, view: View, members: list[RequestState], bank: TokenDeposit, prompts_s: float
    ) -> float:
        """Tokens that come late to those being read to because prompts take so long."""
        ends_s = view.now_s + prompts_s
        dues = ((bank.due_s(s.id), s.tau_s) for s in members)
        return sum(max(0.0, ends_s - due) / tau_s for due, tau_s in dues if due is not None)
