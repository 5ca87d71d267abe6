"""The best that any schedule can do, by trying them all: for a handful of tokens on a toy machine.

Between two passes a schedule may idle until the next arrival, or choose who decodes, how many
pieces of which prompts the pass takes, and how many layers of each request are on the GPU after
it. It is let off what the bound leaves out as well: stores, the flushing and fetching of tail
pages, groups too large for a smooth pipeline. So a pass takes max(compute, link), where the link
carries every layer that a decoding request has not got on the GPU, and all loads for later.

States are met in order of progress; of labels of one state only those survive that no other beats
in time and in the slack of every running request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import inf
from typing import NamedTuple

from strategies import Machine

from orbitflow.bound.bound import Bound
from orbitflow.request import Request
from orbitflow.slo import LATE_TOLERANCE_S, Slo
from orbitflow.step import PrefillChunk


class Case(NamedTuple):
    machine: Machine
    requests: tuple[Request, ...]
    max_batch: int | None
    slo: Slo
    piece_tokens: int  # prompts are cut into such pieces, of which a pass takes any number


class At(NamedTuple):
    """Progress by request: prompt tokens, tokens out, layers on the GPU."""

    prefilled: tuple[int, ...]
    tokens: tuple[int, ...]
    layers: tuple[int, ...]

    @property
    def progress(self) -> int:
        return sum(self.prefilled) + sum(self.tokens)


class Pass(NamedTuple):
    """One possible pass. `prompts`, `first` and `last` name requests: whose prompt it works on,
    whose first and whose last token it brings.
    """

    seconds: float
    after: At
    prompts: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]


class Label(NamedTuple):
    """When a state is reached, and until when each request must be over (inf: whenever)."""

    now_s: float
    until_s: tuple[float, ...]

    def beats(self, other: Label) -> bool:
        later = all(x >= y for x, y in zip(self.until_s, other.until_s, strict=True))
        return self.now_s <= other.now_s and later


class Limits(NamedTuple):
    """Which requests must meet which limits."""

    on_time: frozenset[int]
    ttft: bool
    tpot: bool


class Schedules:
    """All schedules of one case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.cost, self.limits = case.machine.cost, case.machine.limits
        self.requests = case.requests
        self.everyone = range(len(case.requests))
        nobody = tuple(0 for _ in self.everyone)
        self.start = At(nobody, nobody, nobody)
        self._passes: dict[At, list[Pass]] = {}

    # -- what one pass can do --------------------------------------------------------------------

    def passes(self, at: At) -> list[Pass]:
        if at not in self._passes:
            self._passes[at] = list(self._all_passes(at))
        return self._passes[at]

    def _all_passes(self, at: At) -> Iterator[Pass]:
        held = {i for i in self.everyone if at.prefilled[i] and not self.is_over(at, i)}
        ready = [i for i in self.everyone if at.tokens[i] and not self.is_over(at, i)]
        for taken in product(*(self._pieces(at, i) for i in self.everyone)):
            prompts = [i for i in self.everyone if taken[i]]
            slots = len(held.union(prompts))
            if self.case.max_batch is not None and slots > self.case.max_batch:
                continue
            for mask in range(1 << len(ready)):
                decode = [i for k, i in enumerate(ready) if mask >> k & 1]
                if decode or prompts:
                    yield from self._placed(at, taken, prompts, decode)

    def _pieces(self, at: At, i: int) -> list[int]:
        left, piece = self.requests[i].prompt_tokens - at.prefilled[i], self.case.piece_tokens
        return [0, *range(piece, left, piece), left] if left else [0]

    def _placed(
        self, at: At, taken: Sequence[int], prompts: list[int], decode: list[int]
    ) -> Iterator[Pass]:
        """The pass, with every choice of layers to keep that no other choice beats."""
        requests = self.requests
        prefilled = tuple(a + b for a, b in zip(at.prefilled, taken, strict=True))
        first = tuple(i for i in prompts if prefilled[i] == requests[i].prompt_tokens)
        tokens = tuple(at.tokens[i] + (i in first or i in decode) for i in self.everyone)
        last = tuple(i for i in (*decode, *first) if tokens[i] == requests[i].output_tokens)
        chunks = [PrefillChunk(i, at.prefilled[i], taken[i], False, (), ()) for i in prompts]
        contexts = sum(requests[i].prompt_tokens + at.tokens[i] for i in decode)
        compute = self.cost.mixed_pass_s(chunks, len(decode), contexts)
        found: list[tuple[float, tuple[int, ...]]] = []
        for kept in product(*(self._keepable(at, i, prompts, decode) for i in self.everyone)):
            link = self._link_s(at, prefilled, prompts, decode, kept)
            if link is None:
                continue
            seconds = max(compute, link)
            after = tuple(0 if i in last else kept[i] for i in self.everyone)
            if not any(
                s <= seconds and all(x >= y for x, y in zip(k, after, strict=True))
                for s, k in found
            ):
                found.append((seconds, after))
        for seconds, after in found:
            yield Pass(seconds, At(prefilled, tokens, after), tuple(prompts), first, last)

    def _keepable(self, at: At, i: int, prompts: list[int], decode: list[int]) -> range:
        """Numbers of layers that request i may have on the GPU, most first."""
        is_there = i in prompts or i in decode or (at.prefilled[i] and not self.is_over(at, i))
        return range(self.limits.layers if is_there else 0, -1, -1)

    def _link_s(
        self,
        at: At,
        prefilled: tuple[int, ...],
        prompts: list[int],
        decode: list[int],
        kept: tuple[int, ...],
    ) -> float | None:
        """Link time of a pass after which these layers are on the GPU; None if they do not fit."""
        limits, layers = self.limits, self.limits.layers
        gpu = crossing = ring = 0
        for i in self.everyone:
            if i in decode:
                context = self.requests[i].prompt_tokens + at.tokens[i]
                full = limits.full_pages(context)
                gpu += kept[i] * limits.pages(context) + layers - kept[i]
                crossing += (layers - min(kept[i], at.layers[i])) * full
                ring = max(ring, full if kept[i] < layers else 0)
            elif i in prompts:
                gpu += kept[i] * limits.pages(prefilled[i]) + layers - kept[i]
            elif kept[i]:
                full = limits.full_pages(prefilled[i] + max(1, at.tokens[i]))
                gpu += kept[i] * full
                crossing += max(0, kept[i] - at.layers[i]) * full
        if gpu + (0 if limits.ring_is_extra else ring) > limits.gpu_pages:
            return None
        return self.cost.copy_s(self.cost.h2d, crossing * self.cost.page_bytes)

    def is_over(self, at: At, i: int) -> bool:
        return at.tokens[i] == self.requests[i].output_tokens

    # -- whole schedules ---------------------------------------------------------------------------

    def end_s(self, limits: Limits) -> float:
        """Least time of the last token under these limits; infinite if they cannot be met."""
        forever = tuple(inf for _ in self.everyone)
        begin = Label(self.requests[0].arrival_s, forever)
        todo: dict[int, dict[At, list[Label]]] = defaultdict(dict)
        todo[0][self.start] = [begin]
        final = sum(r.prompt_tokens + r.output_tokens for r in self.requests)
        for level in range(final):
            for at, labels in todo.pop(level, {}).items():
                for label, run in product(labels, self.passes(at)):
                    after = self._reach(label, run, limits)
                    if after is not None:
                        keep_best(todo[run.after.progress].setdefault(run.after, []), after)
        ends = [label.now_s for labels in todo[final].values() for label in labels]
        return min(ends, default=inf)

    def _reach(self, label: Label, run: Pass, limits: Limits) -> Label | None:
        begin = max([label.now_s, *(self.requests[i].arrival_s for i in run.prompts)])
        end, until = begin + run.seconds, list(label.until_s)
        if end > min(until) + 1e-12:
            return None
        slo = self.case.slo
        for i in limits.on_time.intersection(run.first):
            request = self.requests[i]
            ttft_s = slo.ttft_of(request, self.cost) + LATE_TOLERANCE_S
            if limits.ttft and end > request.arrival_s + ttft_s:
                return None
            if limits.tpot:
                pace_s = slo.tbt_limit_of(request) + LATE_TOLERANCE_S
                until[i] = end + pace_s * (request.output_tokens - 1)
        for i in run.last:
            until[i] = inf
        return Label(end, tuple(until))

    def most(self, *, ttft: bool, tpot: bool) -> tuple[int, dict[frozenset[int], float]]:
        """Most requests on time, and the least end by set of those that are."""
        ends: dict[frozenset[int], float] = {}
        for mask in range(1, 1 << len(self.requests)):
            members = frozenset(i for i in self.everyone if mask >> i & 1)
            if all(ends[members - {i}] < inf for i in members if len(members) > 1):
                ends[members] = self.end_s(Limits(members, ttft, tpot))
            else:
                ends[members] = inf
        return max((len(m) for m, end in ends.items() if end < inf), default=0), ends

    def reading_s(self) -> float:
        """Least reading time of the first request, with the machine to itself."""
        request = self.requests[0]
        tbt_limit_s, tokens = self.case.slo.tbt_limit_of(request), request.output_tokens
        # by state: (time since the first token, how far behind the reader at worst), both least
        reached: dict[At, list[Label]] = {self.start: [Label(0.0, (0.0,))]}
        ends: list[float] = []
        for _ in range(request.prompt_tokens + tokens):
            following: dict[At, list[Label]] = {}
            for at, labels in reached.items():
                for label, run in product(labels, self.passes(at)):
                    now = label.now_s + run.seconds if at.tokens[0] else 0.0
                    behind = max(
                        -label.until_s[0], now - tbt_limit_s * max(0, run.after.tokens[0] - 1)
                    )
                    if run.last:
                        ends.append(behind + tbt_limit_s * (tokens - 1))
                    keep_best(following.setdefault(run.after, []), Label(now, (-behind,)))
            reached = {at: labels for at, labels in following.items() if not self.is_over(at, 0)}
        return min(ends)


def keep_best(labels: list[Label], new: Label) -> None:
    """Add a label unless another beats it; drop those that it beats."""
    if not any(old.beats(new) for old in labels):
        labels[:] = [old for old in labels if not new.beats(old)]
        labels.append(new)


def best(case: Case) -> Bound:
    """The optimum of every figure, each by a schedule of its own. Every request must fit; those
    that not every placement holds may be refused.
    """
    requests = case.requests
    count = len(requests)
    optional = [r for r in requests if not must_serve(r, case.machine)]
    schedules = Schedules(case)
    both, ends_of_all = schedules.most(ttft=True, tpot=True)
    ttft, _ = schedules.most(ttft=True, tpot=False)
    paced, due, reading = 0, {}, {}
    for request in requests:
        alone = Schedules(case._replace(requests=(request,)))
        paced += alone.most(ttft=False, tpot=True)[0]
        due[request] = case.slo.tbt_limit_of(request) * (request.output_tokens - 1)
        reading[request] = alone.reading_s()
    timely, rate = 0.0 if any(due.values()) else 1.0, 0.0
    for size in range(len(optional) + 1):
        for refused in combinations(optional, size):
            served = tuple(r for r in requests if r not in refused)
            if served:
                whole = sum(reading[r] for r in served)
                timely = max(timely, sum(due[r] for r in served) / whole if whole else 0.0)
                ends = ends_of_all
                if refused:
                    others = Schedules(case._replace(requests=served))
                    _, ends = others.most(ttft=True, tpot=True)
                rates = [len(m) / (end - requests[0].arrival_s) for m, end in ends.items()]
                rate = max(rate, *rates)
    return Bound(timely, both / count, ttft / count, paced / count, rate)


def must_serve(request: Request, machine: Machine) -> bool:
    """Whether the request fits with any number of layers on the host, and a ring of two groups."""
    limits = machine.limits
    tokens = max(request.final_tokens, request.prompt_tokens + 1)
    pages = limits.pages(tokens)
    ring = 0 if limits.ring_is_extra else 2 * (pages - 1)
    return all(
        (limits.layers - h) * pages + h + (ring if h else 0) <= limits.gpu_pages
        for h in range(limits.layers + 1)
    ) and (limits.host_pages is None or limits.whole_pages(tokens) <= limits.host_pages)
