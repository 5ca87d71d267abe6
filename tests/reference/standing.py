"""A server between two passes, with whom a test puts there: what would a policy decide?

Eight layers unless said otherwise, pages of 16 tokens of 1 KiB a layer.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.apply import DecisionApplier
from orbitflow.engine.policy import Decision, Policy, View
from orbitflow.engine.queues import Queues
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import HostFit, LinkFit
from orbitflow.memory import KvAccount, KvLimits
from orbitflow.placement import RESIDENT
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request, RequestState

LINK = LinkFit(0.0, (1.0,), (1e9,))
TAU_S = 0.1


class Server:
    """A server between two passes, with whom a test puts there."""

    def __init__(
        self,
        name: str,
        gpu_pages: int,
        *,
        host_pages: int | None = None,
        layers: int = 8,
        batch: int | None = None,
        page_tokens: int = 16,
    ) -> None:
        self.limits = KvLimits(layers, page_tokens, gpu_pages, host_pages)
        self.policy: Policy = make_policy(name)
        decode, prefill = DecodeFit(0.02, 0.0, 1e-6, 0.0), PrefillFit(0.0, 1e-4, 0.0)
        passes, host = LinePasses(decode, prefill), HostFit(2e9, 1e9)
        cost = CostModel(layers, page_tokens, 1024, passes, LINK, LINK, 0.0, host)
        self.policy.bind(self.limits, cost)
        self.account = KvAccount(self.limits)
        self.queues = Queues(batch, 0)
        self.applier = DecisionApplier(self.queues, self.account, self.policy, TAU_S)
        self.view = View(self.queues, self.account, self._times, TAU_S)
        self._next = 0

    def wait(self, prompt: int, output: int = 10) -> int:
        """Queue a request."""
        number, self._next = self._next, self._next + 1
        self.queues.submit(Request(number, 0.0, prompt, output))
        return number

    def run(self, context: int, output: int = 10_000) -> RequestState:
        """Let a request run whose next pass has this context."""
        number = self.wait(context - 1, output)
        one = self.queues.admit(number, RESIDENT, TAU_S, 0.0)
        one.prefilled_tokens = context - 1
        self.queues.first_token(one, 0, 0.0)
        return one

    def pause(self, context: int) -> RequestState:
        one = self.run(context)
        self.applier.relocations.pause(one, 0)
        return self.queues.pause(one.id, 0, 0.0)

    def decide(self) -> Decision:
        return self.policy.decide(self.view)

    def apply(self) -> Decision:
        """Decide and do it; the account refuses what does not fit."""
        decision = self.decide()
        self.applier.apply(decision, 0.0, 0)
        self.account.check()
        return decision

    @staticmethod
    def _times(state: RequestState) -> FloatArray:
        return np.empty(0)
