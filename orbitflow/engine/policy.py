"""The contract of a policy: it sees the server between two passes and decides what happens next.

`decide` is called when something changed: an arrival that could be admitted, a first token, a
finished request, the end of the window, an adopted plan. It returns a `Decision`: whom to admit,
pause and resume, which layers of each request lie on the host, and for how many passes. The KV of
everybody must fit at the end of that window. `View.fits` says beforehand whether it does; the
engine checks it and raises a PolicyError where it does not.

A policy that streams and admits needs a few declarations and `decide`. A policy that needs a slow
solver returns a `plan_request` with an immutable snapshot: `solve` answers it beside the passes,
and `adopt` takes the answer. Design sections 2.1 and 4; docs/howto/add-a-policy.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Reversible
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.config import Tuning
from orbitflow.engine.queues import Queues
from orbitflow.errors import ProfileError
from orbitflow.machine.pipeline import STREAM, HostRead, Overlap
from orbitflow.memory import BatchPages, KvAccount, KvLimits, pages_at_end
from orbitflow.placement import ALL_RESIDENT, HostLayers, Placement, stride
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, PlanAnswer, PlanRequest, Step, StepOutcome

if TYPE_CHECKING:
    from orbitflow.machine.cost import CostModel


class Lengths(StrEnum):
    """What a policy knows of output lengths; shown in every table, because an oracle is an
    advantage.
    """

    NONE = "none"  # only what has been generated so far
    CAP = "cap"  # the request's own limit, as a client would send it
    QUANTILE = "quantile"  # statistics of finished requests
    ORACLE = "oracle"  # the true length


@dataclass(frozen=True, slots=True)
class DataPlane:
    """What the policy asks of the machinery that moves KV."""

    overlap: Overlap
    write_through: bool  # full pages are copied to the host as they fill
    ring_groups: int  # size of the staging ring, in groups
    host_read: HostRead = STREAM


class View:
    """What a policy may look at: the live server, between two passes. Read, never change.

    `passes` counts decode passes; a sequence's context is ``sequence.context_tokens(view.passes)``.
    """

    def __init__(
        self,
        queues: Queues,
        account: KvAccount,
        token_times_s: Callable[[RequestState], FloatArray],
        tbt_limit_s: float,
        ttft_of: Callable[[Request], float] | None = None,
        arriving: Callable[[int], set[int]] | None = None,
        data_plane: DataPlane | None = None,
    ) -> None:
        self._queues = queues
        self.account = account
        self.limits = account.limits
        self.token_times_s = token_times_s
        self._tbt_limit_s = tbt_limit_s
        self._ttft_of = ttft_of
        self._arriving = arriving
        self._plane = data_plane
        self.now_s = 0.0
        self.passes = 0
        self.is_planning = False  # a plan was asked for and has not come yet

    @property
    def active(self) -> tuple[RequestState, ...]:
        """Prefilling and running sequences, in order of admission."""
        return tuple(self._queues.active.values())

    @property
    def contexts(self) -> IntArray:
        """Contexts of all active sequences in the next pass, in no particular order, in tokens."""
        return self._queues.contexts(self.passes)

    @property
    def paused(self) -> tuple[RequestState, ...]:
        """Paused sequences, in order of arrival."""
        paused = self._queues.paused
        return tuple(sorted(paused.values(), key=lambda s: s.order)) if paused else ()

    @property
    def waiting(self) -> Reversible[Request]:
        """Requests not yet admitted, in order of arrival."""
        return self._queues.waiting.values()

    def tbt_limit_of(self, request: Request) -> float:
        """Limit on the time between two tokens of a request, in seconds."""
        return self._tbt_limit_s if request.slo_tbt_s is None else request.slo_tbt_s

    def ttft_of(self, request: Request) -> float:
        """Limit on the time from a request's arrival to its first token, in seconds."""
        return inf if self._ttft_of is None else self._ttft_of(request)

    def arriving(self, state: RequestState) -> set[int]:
        """Layers of a sequence on their way to the GPU, which cannot be called back."""
        if state.host is state.target or self._arriving is None:
            return set()
        return self._arriving(state.id)

    @property
    def batch_room(self) -> int:
        """How many more requests may be admitted."""
        return self._queues.room

    def fits(
        self,
        placement: Placement,
        window: int,
        *,
        admit: Collection[int] = (),
        pause: Collection[int] = (),
        resume: Collection[int] = (),
    ) -> bool:
        """Whether the engine would accept a decision of these: everybody active, with these ids
        admitted, paused and resumed, under `placement` for `window` passes.

        Counted are GPU pages, the staging ring included, host pages and places in the batch. For
        policies that give windows; one that reserves to the end (window None) compares with
        `account.gpu_free` instead. Raise a KeyError for an id that is not where it should be.
        """
        plane, limits, queues = self._plane, self.limits, self._queues
        assert plane is not None, "a view of no server has no data plane to count with"
        new = [queues.waiting[i] for i in admit]
        stored = [(r.final_tokens, 1) for r in new]
        if not plane.write_through:  # only what is paused lies on the host
            swaps = [(s, 1) for i, s in queues.active.items() if i in pause]
            swaps += [(s, -1) for i, s in queues.paused.items() if i in resume]
            stored = [(s.request.final_tokens, n) for s, n in swaps if s.prefilled_tokens]
        host_pages = sum(n * limits.whole_pages(tokens) for tokens, n in stored)
        if len(new) > self.batch_room or host_pages > self.account.host_free:
            return False
        active = [s for s in queues.active.values() if s.id not in pause]
        active += [queues.paused[i] for i in resume]
        paused = [s for s in queues.paused.values() if s.id not in resume]
        paused += [queues.active[i] for i in pause]
        contexts = [s.context_tokens(self.passes) for s in active]
        contexts += [r.prompt_tokens + 1 for r in new]
        placed = [self._placed(s, placement.host_layers(s.id)) for s in active]
        placed += [placement.host_layers(r.id) for r in new]
        stays = sum(self._staying(s, placement) for s in paused)
        if not placed:
            return stays <= limits.gpu_pages
        tokens, groups = np.array(contexts), plane.ring_groups
        needs = stays + pages_at_end(limits, tokens, placed, groups, window)
        if kept_share := plane.host_read.kept_share:
            for host in set(placed):
                mine = tokens[[other == host for other in placed]]
                full = BatchPages.of(limits, mine, window - 1).full_pages
                needs += ceil(kept_share * len(host) * full)
        return needs <= limits.gpu_pages

    def _placed(self, state: RequestState, host: HostLayers) -> HostLayers:
        """Host layers that count: what is on its way to the GPU cannot be called back."""
        coming = self.arriving(state)
        return tuple(x for x in host if x not in coming) if coming else host

    def _staying(self, state: RequestState, placement: Placement) -> int:
        """GPU pages that a paused request keeps: none, save for layers that a placement names."""
        host = placement.exceptions.get(state.id, stride(self.limits.layers, 0))
        layers = self.limits.layers - len(self._placed(state, host))
        return layers * self.limits.full_pages(state.context_tokens(self.passes))


class Decision(NamedTuple):
    """What to do until the window ends. Requests are named by id.

    `window` is the number of decode passes that the memory is reserved for; None reserves every
    admitted request to its end. An active request that is named nowhere runs on. Requests in
    `pause` are paused and keep their KV on the host; those in `drop` are paused and lose it, and
    prefill everything once resumed.
    """

    admit: tuple[int, ...] = ()
    pause: tuple[int, ...] = ()
    resume: tuple[int, ...] = ()
    placement: Placement = ALL_RESIDENT
    window: int | None = None
    plan_request: PlanRequest | None = None
    drop: tuple[int, ...] = ()


class Policy(ABC):
    """Base of all policies. Attributes are declarations that tables show and drivers obey."""

    name: str
    lengths: Lengths
    data_plane: DataPlane
    admission: str  # one phrase for the table
    has_deposit: bool = False  # whether the published system delivers at the SLO's pace
    is_lossy: bool = False
    recomputes: bool = False  # whether it may prefill the same tokens twice
    admits_out_of_turn: bool = False  # not first come first served, or while a request is paused
    places_at_admission: bool = False  # whether it decides where KV lies only then, once
    planning: PlanningFigures | None = None  # of a policy that plans, from `bind` on

    def configure(self, tuning: Tuning) -> None:
        """Take switches into account, before `bind`. Policies without any ignore them."""
        del tuning

    def bind(self, limits: KvLimits, cost: CostModel) -> None:
        """Learn the machine, once, before the first decision. `cost` is the believed one.

        Raise a ProfileError if the CPU has to work on KV and its speed is not known.
        """
        if self.data_plane.host_read.needs_host and cost.host is None:
            raise ProfileError(
                f"{self.name} works on KV with the CPU, whose speed the profile does not say: "
                "add its `host` rates, or leave the policy out"
            )
        self.limits = limits
        self.cost = cost

    @property
    def believes(self) -> CostModel:
        """The machine as the policy believes it to be by now."""
        return self.cost

    @abstractmethod
    def decide(self, view: View) -> Decision:
        """Say what to do next."""

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """GPU and host pages that the request needs at its end in an empty machine, ring included.

        A request that needs more than there is can never be served and is refused on arrival. By
        default the smaller of all layers resident and, if full pages are copied to the host, all
        layers there. Override it if `decide` cannot give a request either of these placements.
        """
        limits, plane = self.limits, self.data_plane
        tokens = max(request.final_tokens, request.prompt_tokens + 1)  # its first decision's window
        alone = BatchPages(1, limits.pages(tokens), limits.full_pages(tokens))
        if not plane.write_through:
            return limits.layers * alone.pages, 0
        ring, kept = 0 if limits.ring_is_extra else plane.ring_groups, plane.host_read.kept_share
        least = min(alone.gpu_pages(limits.layers, h, ring, kept) for h in (0, limits.layers))
        return least, limits.whole_pages(request.final_tokens)

    def observe(self, step: Step, outcome: StepOutcome, events: Events) -> bool:
        """Learn from a finished step; whether to be asked again before the next pass."""
        return False

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """Answer a plan request; runs beside the passes, so it must not touch state."""
        raise PlanningNotSupported(self.name)

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """Take a plan; the next decision may use it."""
        raise PlanningNotSupported(self.name)


class PlanningNotSupported(Exception):
    """A plan was asked of, or given to, a policy that never asks for one."""


@dataclass(slots=True)
class PlanningFigures:
    """Counts over a run. `troubles`: what went wrong with a solver, each time."""

    searches: int = 0  # questions that the fast search answered
    proven: int = 0  # of them, answers that it proved; `orbit`: of up to ten requests
    kept: int = 0  # times that what ran was as good as any new plan
    improved: int = 0  # answers of the ILP that were better than the search's
    drifts: int = 0  # times that the refiner asked for new plans
    troubles: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The figures in the summary's `planner` object."""
        return {
            "searches": self.searches,
            "proven": self.proven,
            "kept": self.kept,
            "improved": self.improved,
            "drifts": self.drifts,
            "solver_troubles": len(self.troubles),
        }
