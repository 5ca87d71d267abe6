"""How a plan is carried out: which layers, for how long, and what loads for whoever is next.

Layers: `placement.lay_out`, then fewer on the host where counting them had been too careful. The
window lasts as `policy.windows` says. Memory and link time that are left keep, or load, layers of
paused requests, those first that are due first. When their turn comes their KV is there already.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.config import Tuning
from orbitflow.engine.policy import View
from orbitflow.memory import KvLimits, longest_window, pages_at_end
from orbitflow.placement import HostLayers, Wish, lay_out, stride
from orbitflow.planner.planner import Plan
from orbitflow.planner.problem import REST, Candidate, Problem
from orbitflow.policy.windows import LONGEST_WINDOW, RING_GROUPS, until_due
from orbitflow.request import RequestState


class Staged(NamedTuple):
    """`placed`: host layers of who runs, by id; `loaded`: of who rests and has, or gets, layers on
    the GPU; `window` in passes.
    """

    placed: dict[int, HostLayers]
    loaded: dict[int, HostLayers]
    window: int


class Stager:
    """Gives plans their layers, windows and loads."""

    def __init__(self, limits: KvLimits, tuning: Tuning, loading_share: float) -> None:
        self._limits = limits
        self._tuning = tuning
        self._loading_share = loading_share  # of idle link time that loads may count on
        self._all_layers = stride(limits.layers, 0)

    def limits_beside(self, view: View, resting: list[RequestState]) -> KvLimits:
        """What is left beside the layers on their way to the GPU for those at rest."""
        pages = 0
        for s in resting:
            if coming := view.arriving(s):
                pages += len(coming) * self._limits.full_pages(s.context_tokens(view.passes))
        return replace(self._limits, gpu_pages=self._limits.gpu_pages - pages)

    def stage(
        self, view: View, members: list[RequestState], problem: Problem, plan: Plan
    ) -> Staged | None:
        """A plan with its layers; None if they need more than there is."""
        standing = {s.id: s for s in members}
        pairs = list(zip(problem.candidates, plan.options, strict=True))
        runners = [(asked, h) for asked, h in pairs if h != REST]
        limits = self.limits_beside(view, [standing[a.id] for a, h in pairs if h == REST])
        wishes = [_wish(view, asked, h, standing.get(asked.id), problem) for asked, h in runners]
        contexts = np.array([asked.context_tokens for asked, _ in runners], dtype=np.int64)
        layers, window = self._layers(limits, wishes, contexts, problem.passes)
        if not window:
            return None
        placed = {asked.id: layers[row] for row, (asked, _) in enumerate(runners)}
        window = until_due(problem, placed, plan.score.pass_s, window, problem.passes)
        free = limits.gpu_pages - pages_at_end(limits, contexts, layers, RING_GROUPS, window)
        free -= limits.layers * len(runners)  # a load cannot be called back: leave room to grow on
        loaded = self._loads(view, standing, problem, placed, plan.score.link_s, free, window)
        return Staged(placed, loaded, window)

    # -- inside ------------------------------------------------------------------------------------

    def _layers(
        self, limits: KvLimits, wishes: list[Wish], contexts: IntArray, passes: int
    ) -> tuple[list[HostLayers], int]:
        """Host layers of those who run, and for how many passes they fit."""
        if not any(wish.host_layers for wish in wishes):
            layers: list[HostLayers] = [()] * len(wishes)
            return layers, longest_window(limits, contexts, layers, RING_GROUPS, LONGEST_WINDOW)
        for keeps in (True, False):
            layers = self._lay_out(wishes, keeps=keeps)
            spare = limits.gpu_pages - pages_at_end(limits, contexts, layers, RING_GROUPS, passes)
            if spare >= 0:
                fewer = self._lay_out(_fewer(wishes, spare), keeps=keeps)
                if pages_at_end(limits, contexts, fewer, RING_GROUPS, passes) <= limits.gpu_pages:
                    layers = fewer
                break
        return layers, longest_window(limits, contexts, layers, RING_GROUPS, LONGEST_WINDOW)

    def _lay_out(self, wishes: list[Wish], *, keeps: bool) -> list[HostLayers]:
        if self._tuning.spread:
            return lay_out(self._limits.layers, wishes, keeps=keeps)
        return [lay_out(self._limits.layers, [wish], keeps=keeps)[0] for wish in wishes]

    def _loads(
        self,
        view: View,
        standing: dict[int, RequestState],
        problem: Problem,
        placed: dict[int, HostLayers],
        link_s: float,
        free: int,
        window: int,
    ) -> dict[int, HostLayers]:
        """Host layers of those at rest that keep or get some of their KV on the GPU, where `free`
        pages are.
        """
        found: dict[int, HostLayers] = {}
        if not self._tuning.preload:
            free = 0
        limits = problem.limits
        idle_s = self._loading_share * window * max(0.0, _pass_s(problem, placed) - link_s)
        rows = {asked.id: row for row, asked in enumerate(problem.candidates)}
        resting = [asked for asked in problem.candidates if asked.id not in placed]
        for asked in sorted(resting, key=lambda a: a.due_s):
            s = standing[asked.id]
            pages = max(1, limits.full_pages(asked.context_tokens))
            coming = view.arriving(s)
            here = _without(self._all_layers, s.host)
            kept = min(len(here), max(0, free) // pages)
            free -= kept * pages
            layer_s = float(problem.terms.link_s[rows[asked.id]])
            wanted = _without(s.host, coming)
            more = min(len(wanted), max(0, free) // pages, int(idle_s / layer_s) if layer_s else 0)
            free -= more * pages
            idle_s -= more * layer_s
            if kept or coming or more:
                gpu = {*here[len(here) - kept :], *coming, *wanted[len(wanted) - more :]}
                found[asked.id] = _without(self._all_layers, gpu)
        return found


def _without(layers: HostLayers, others: Collection[int]) -> HostLayers:
    """These layers, in their order, without the others, which may be the same tuple."""
    if layers is others or not others:
        return () if others else layers
    left_out = set(others)
    return tuple([layer for layer in layers if layer not in left_out])


def _pass_s(problem: Problem, placed: dict[int, HostLayers]) -> float:
    """Compute of a pass, which may be less than it is counted for."""
    contexts = [
        m.context_tokens + problem.passes // 2 for m in problem.candidates if m.id in placed
    ]
    return problem.cost.decode_pass_s(len(contexts), sum(contexts))


def _wish(
    view: View, asked: Candidate, hosted: int, s: RequestState | None, problem: Problem
) -> Wish:
    limits = problem.limits
    full = limits.full_pages(asked.context_tokens + problem.passes - 1)
    if s is None or not s.prefilled_tokens:
        return Wish(hosted, full)
    fixed = tuple(sorted(view.arriving(s)))
    now = tuple(x for x in s.host if x not in fixed)
    return Wish(min(hosted, limits.layers - len(fixed)), full, now, fixed)


def _fewer(wishes: list[Wish], spare: int) -> list[Wish]:
    """With as many layers fewer on the host as spare pages allow: who has the most there first."""
    found = list(wishes)
    for row in sorted(range(len(wishes)), key=lambda row: -wishes[row].host_layers):
        wish = wishes[row]
        less = min(wish.host_layers, spare // max(1, wish.group_pages))
        spare -= less * wish.group_pages
        found[row] = wish._replace(host_layers=wish.host_layers - less)
    return found
