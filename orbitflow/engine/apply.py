"""Carrying a decision out: membership, moves and reservations, in that order.

Everything that a policy can get wrong about the server is refused here or by the account's check.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from orbitflow.engine.moves import Relocations
from orbitflow.engine.policy import Decision, Policy
from orbitflow.engine.queues import Queues
from orbitflow.errors import PolicyError
from orbitflow.memory import KvAccount
from orbitflow.placement import RESIDENT, HostLayers, stride
from orbitflow.request import RequestState
from orbitflow.step import MoveKind

NEVER = sys.maxsize  # the window of a server whose requests are reserved to their ends


class News(NamedTuple):
    """Whom decisions have admitted, paused and resumed since somebody last asked."""

    admitted: tuple[int, ...] = ()
    paused: tuple[int, ...] = ()
    resumed: tuple[int, ...] = ()


_NO_NEWS = News()


class Enactor:
    """Applies decisions to one server. `window_end` is the pass that ends the current one."""

    def __init__(self, roster: Queues, account: KvAccount, policy: Policy, tau_s: float) -> None:
        self._roster = roster
        self._policy = policy
        self._tau_s = tau_s
        self._layers = account.limits.layers
        self._reservation = Reservation(account, policy.data_plane)
        self._uniform: HostLayers | None = RESIDENT  # what all active want on the host, if the same
        self._news = _NO_NEWS
        self.relocations = Relocations(
            account.limits, write_through=policy.data_plane.write_through
        )
        self.window_end = NEVER

    def enact(self, decision: Decision, now_s: float, passes: int) -> bool:
        """Do what a decision says, before pass number `passes`; whether it changes anything.

        Raise a PolicyError if the decision names a stranger or contradicts itself.
        """
        for request_id in decision.park:
            sequence = self._roster.park(request_id, passes, now_s)
            stays = decision.placement.exceptions.get(request_id)
            self.relocations.park(sequence, passes, stays)
        for request_id in decision.drop:
            sequence = self._roster.park(request_id, passes, now_s)
            sequence.drop()
            self.relocations.park(sequence, passes)
        for request_id in decision.resume:
            sequence = self._roster.resume(request_id, passes, now_s)
            self.relocations.resume(sequence, passes)
            self._reservation.resume(sequence)
        for request_id in decision.admit:
            host = decision.placement.host_layers(request_id)
            request = self._roster.waiting.get(request_id)
            own = None if request is None else request.slo_tbt_s
            sequence = self._roster.admit(request_id, host, own or self._tau_s, now_s)
            self._reservation.admit(sequence, to_the_end=decision.window is None)
        if decision.resume:
            self._roster.batch.touch()  # a resumed request may have come back whole
        changed = bool(decision.park or decision.drop or decision.resume or decision.admit)
        if changed:
            self._news = News(
                self._news.admitted + decision.admit,
                self._news.paused + decision.park + decision.drop,
                self._news.resumed + decision.resume,
            )
        if decision.window is None:
            if decision.park or decision.drop or decision.resume:
                raise PolicyError(f"{self._policy.name} parks, drops or resumes without a window")
            self.window_end = NEVER
            return changed
        return self._place(decision, decision.window, passes) or changed

    def _place(self, decision: Decision, window: int, passes: int) -> bool:
        if window < 1:
            raise PolicyError(f"{self._policy.name} gives a window of {window} passes; at least 1")
        placement = decision.placement
        self.window_end = passes + window
        mixed = placement.exceptions or self.relocations.has_arriving
        uniform = None if mixed else placement.default
        changed = False
        if uniform is None or uniform != self._uniform or decision.resume:
            for sequence in self._roster.active.values():
                target = placement.host_layers(sequence.id)
                changed |= self.relocations.place(sequence, target, passes)
        self._uniform = uniform
        for sequence in self._roster.parked.values():
            target = placement.exceptions.get(sequence.id, stride(self._layers, 0))
            self.relocations.place(sequence, target, passes)
            self._reservation.park(sequence, passes)
        if changed:
            self._roster.batch.touch()
        active = self._roster.active.values()
        contexts = (
            self._roster.contexts(passes)
            if uniform is not None
            else np.array([s.context_tokens(passes) for s in active], dtype=np.int64)
        )
        self._reservation.for_window(window, contexts, active, uniform)
        return changed

    def settle(self, moves_done: tuple[int, ...]) -> None:
        """Let residency follow the moves that are done."""
        roster = self._roster
        for move in self.relocations.done(moves_done):
            sequence = roster.active.get(move.request_id) or roster.parked.get(move.request_id)
            if sequence is None:
                continue  # it finished while the move was under way
            if move.kind is MoveKind.DEMOTE:
                sequence.host = tuple(sorted({*sequence.host, *move.layers}))
            elif move.kind in (MoveKind.PROMOTE, MoveKind.LOAD):
                sequence.host = tuple(x for x in sequence.host if x not in move.layers)
        roster.batch.touch()

    def forget(self, sequence: RequestState) -> None:
        """Free what a finished request held."""
        self.relocations.forget(sequence.id)
        self._reservation.end(sequence, is_last=not self._roster.active)

    def take_news(self) -> News:
        """What decisions did since the last call."""
        news, self._news = self._news, _NO_NEWS
        return news
