"""Applying a decision: membership, moves and reservations, in that order.

Reservations hold KV for every token that the decision's window can bring, so no pass runs short.
Windowed: a request of context c holds pages for c + window - 1 tokens in its resident layers and a
tail page in each host layer. Unwindowed (None): it holds its final length from admission on.
Written-through requests reserve host pages for their final length, which a client's cap bounds, so
that the host cannot fill up in mid-flight.

Everything that a policy can get wrong about the server is refused here or by the account's check.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.moves import Relocations
from orbitflow.engine.policy import DataPlane, Decision, Policy
from orbitflow.engine.queues import Queues
from orbitflow.errors import PolicyError
from orbitflow.memory import BatchPages, KvAccount
from orbitflow.placement import RESIDENT, HostLayers, stride
from orbitflow.request import RequestState
from orbitflow.step import MoveKind


class Reservation:
    """Keeps the account in step with the decisions."""

    def __init__(self, account: KvAccount, data_plane: DataPlane) -> None:
        self._account = account
        self._limits = account.limits
        self._plane = data_plane

    def admit(self, state: RequestState, *, to_the_end: bool) -> None:
        """Reserve host pages, and GPU pages too where there is no window to do it."""
        pages = self._limits.whole_pages(state.request.final_tokens)
        host = pages if self._plane.write_through else 0
        self._account.charge(state.id, pages if to_the_end else 0, host)

    def for_window(
        self,
        window: int,
        contexts: IntArray,
        active: Collection[RequestState],
        uniform: HostLayers | None,
    ) -> None:
        """Reserve the next `window` passes of all active requests, and the staging ring.

        `contexts` has one entry per active request, in any order, if all want `uniform` on the
        host; in the order of `active` if `uniform` is None.
        """
        if uniform is not None:
            groups = {uniform: contexts}
        else:
            rows: defaultdict[HostLayers, list[int]] = defaultdict(list)
            for index, state in enumerate(active):
                rows[state.target].append(index)
            groups = {target: contexts[np.array(at)] for target, at in rows.items()}
        gpu, kept = 0, self._plane.host_read.kept_share
        staged: Counter[int] = Counter()
        for target, members in groups.items():
            batch = BatchPages.of(self._limits, members, window - 1)
            gpu += batch.gpu_pages(self._limits.layers, len(target), kept_share=kept)
            staged.update(dict.fromkeys(target, batch.full_pages))
        ring = self._plane.ring_groups * max(staged.values(), default=0)
        self._account.set_window(gpu, ring)

    def pause(self, state: RequestState, passes: int) -> None:
        """Keep the host pages, and on the GPU only the full pages of layers that stay or come."""
        ahead = self._limits.layers - len(state.target)
        gpu = ahead * self._limits.full_pages(state.context_tokens(passes))
        keeps = self._plane.write_through or state.prefilled_tokens
        host = self._limits.whole_pages(state.request.final_tokens) if keeps else 0
        self._account.charge(state.id, gpu, host)

    def resume(self, state: RequestState) -> None:
        """Let the window pay for what is on the GPU again."""
        self.admit(state, to_the_end=False)

    def end(self, state: RequestState, *, is_last: bool) -> None:
        """Free what a request holds; the window's share of it ends with the next decision."""
        self._account.release(state.id)
        if is_last:
            self._account.set_window(0, 0)


NEVER = sys.maxsize  # the window of a server whose requests are reserved to their ends


class News(NamedTuple):
    """Ids that decisions have admitted, paused and resumed since the last `take_news`."""

    admitted: tuple[int, ...] = ()
    paused: tuple[int, ...] = ()
    resumed: tuple[int, ...] = ()


_NO_NEWS = News()


class DecisionApplier:
    """Applies decisions to one server. `window_end` is the pass that ends the current one."""

    def __init__(
        self, queues: Queues, account: KvAccount, policy: Policy, tbt_limit_s: float
    ) -> None:
        self._queues = queues
        self._policy = policy
        self._tbt_limit_s = tbt_limit_s
        self._layers = account.limits.layers
        self._reservation = Reservation(account, policy.data_plane)
        self._uniform: HostLayers | None = RESIDENT  # what all active want on the host, if the same
        self._news = _NO_NEWS
        self.relocations = Relocations(
            account.limits, write_through=policy.data_plane.write_through
        )
        self.window_end = NEVER

    def apply(self, decision: Decision, now_s: float, passes: int) -> bool:
        """Apply a decision before pass number `passes`. Return whether it changes anything.

        Raise a PolicyError if the decision names an unknown request or contradicts itself.
        """
        for request_id in decision.pause:
            state = self._queues.pause(request_id, passes, now_s)
            stays = decision.placement.exceptions.get(request_id)
            self.relocations.pause(state, passes, stays)
        for request_id in decision.drop:
            state = self._queues.pause(request_id, passes, now_s)
            state.drop()
            self.relocations.pause(state, passes)
        for request_id in decision.resume:
            state = self._queues.resume(request_id, passes, now_s)
            self.relocations.resume(state, passes)
            self._reservation.resume(state)
        for request_id in decision.admit:
            host = decision.placement.host_layers(request_id)
            request = self._queues.waiting.get(request_id)
            own = None if request is None else request.slo_tbt_s
            state = self._queues.admit(request_id, host, own or self._tbt_limit_s, now_s)
            self._reservation.admit(state, to_the_end=decision.window is None)
        if decision.resume:
            self._queues.batch.touch()  # a resumed request may have come back whole
        changed = bool(decision.pause or decision.drop or decision.resume or decision.admit)
        if changed:
            self._news = News(
                self._news.admitted + decision.admit,
                self._news.paused + decision.pause + decision.drop,
                self._news.resumed + decision.resume,
            )
        if decision.window is None:
            if decision.pause or decision.drop or decision.resume:
                raise PolicyError(f"{self._policy.name} pauses, drops or resumes without a window")
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
            for state in self._queues.active.values():
                target = placement.host_layers(state.id)
                changed |= self.relocations.place(state, target, passes)
        self._uniform = uniform
        for state in self._queues.paused.values():
            target = placement.exceptions.get(state.id, stride(self._layers, 0))
            self.relocations.place(state, target, passes)
            self._reservation.pause(state, passes)
        if changed:
            self._queues.batch.touch()
        active = self._queues.active.values()
        contexts = (
            self._queues.contexts(passes)
            if uniform is not None
            else np.array([s.context_tokens(passes) for s in active], dtype=np.int64)
        )
        self._reservation.for_window(window, contexts, active, uniform)
        return changed

    def settle(self, moves_done: tuple[int, ...]) -> None:
        """Update residency by the moves that are done."""
        queues = self._queues
        for move in self.relocations.done(moves_done):
            state = queues.active.get(move.request_id) or queues.paused.get(move.request_id)
            if state is None:
                continue  # it finished while the move was under way
            if move.kind is MoveKind.DEMOTE:
                state.host = tuple(sorted({*state.host, *move.layers}))
            elif move.kind in (MoveKind.PROMOTE, MoveKind.LOAD):
                state.host = tuple(x for x in state.host if x not in move.layers)
        queues.batch.touch()

    def forget(self, state: RequestState) -> None:
        """Free what a finished request held."""
        self.relocations.forget(state.id)
        self._reservation.end(state, is_last=not self._queues.active)

    def take_news(self) -> News:
        """What decisions did since the last call."""
        news, self._news = self._news, _NO_NEWS
        return news
