"""A few requests of a few tokens: the least end over all orders in which their tokens can come out.

A step of the search is a pass that brings somebody a token. Prompts are a fluid that may have been
worked on in any pass since the arrival; memory and link are left out. A state is how many tokens
each request has; a label is what is known of the time it takes to get there:

    cut m     B_m >= work since arrival m, so that now >= arrival_m + B_m
    request   X, Y >= time since its first token, which its pace limits

`docs/bound.md` says why each of them counts no second that a schedule need not spend.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import inf, prod

from orbitflow.bound.relaxation import SharedMachine, Work, eased

STATES = 500  # give up beyond: the answer is then that nothing is known
STEPS = 10_000

State = tuple[int, ...]  # tokens out, by request
Label = tuple[float, ...]  # work by cut, then two times since the first token by request


class TokenOrders:
    """All orders of the tokens of `work`, where `on_time` says who must be in time."""

    def __init__(
        self, work: Work, on_time: tuple[bool, ...], machine: SharedMachine, *, to_the_end: bool
    ) -> None:
        self.on_time, self.to_the_end = on_time, to_the_end
        self.base_s, self.overhead_s, self.slots = machine.base_s, machine.overhead_s, machine.slots
        self.arrival_s: list[float] = work.arrival_s.tolist()
        self.first_due_s: list[float] = work.first_due_s.tolist()
        self.prefill_s: list[float] = work.prefill_s.tolist()
        self.pace_s: list[float] = (work.last_due_s - work.first_due_s).tolist()
        self.tokens = [int(passes) + 1 for passes in work.passes]
        self.everyone = range(len(self.tokens))
        self.cuts: list[float] = sorted(set(self.arrival_s))
        one = machine.decode
        self.token_s = [
            [one.request_s + one.token_s * (int(p) + k) for k in range(n)]
            for p, n in zip(work.prompt, self.tokens, strict=True)
        ]
        self.steps = 0

    def least_end_s(self) -> float:
        """Least time of the last token, infinite if it cannot be; 0 if that takes too long to find
        out.
        """
        if prod(n + 1 for n in self.tokens) > STATES:
            return 0.0
        start = tuple(0 for _ in self.everyone)
        nothing = tuple(0.0 for _ in range(len(self.cuts) + 2 * len(start)))
        todo: dict[int, dict[State, list[Label]]] = defaultdict(dict)
        todo[0][start] = [nothing]
        for level in range(sum(self.tokens)):
            for state, labels in todo.pop(level, {}).items():
                settled = [self._settled(label, state) for label in labels]
                for chosen in self._passes(state):
                    after = tuple(n + (i in chosen) for i, n in enumerate(state))
                    others = todo[level + len(chosen)].setdefault(after, [])
                    for label in settled:
                        self.steps += 1
                        _keep(others, self._reach(label, state, chosen))
                if self.steps > STEPS:
                    return 0.0
        return min(
            (self._now_s(x) for x in todo[sum(self.tokens)].get(tuple(self.tokens), [])),
            default=inf,
        )

    def _passes(self, state: State) -> list[tuple[int, ...]]:
        """Who may get a token in one pass."""
        unfinished = [i for i in self.everyone if state[i] < self.tokens[i]]
        held = {i for i in unfinished if state[i]}
        found = []
        for taken in product((True, False), repeat=len(unfinished)):
            chosen = tuple(i for i, is_in in zip(unfinished, taken, strict=True) if is_in)
            if chosen and len(held.union(chosen)) <= self.slots:
                found.append(chosen)
        return found

    def _now_s(self, label: Label) -> float:
        ends = [a + b for a, b in zip(self.cuts, label, strict=False) if b]
        return max(ends) if ends else self.cuts[0]

    def _settled(self, label: Label, state: State) -> Label:
        """What is known where those with a token take all places: no other prompt has been worked
        on, so that all of it comes after now.
        """
        running = sum(0 < n < last for n, last in zip(state, self.tokens, strict=True))
        if running < self.slots:
            return label
        now_s, count = self._now_s(label), len(self.cuts)
        work = [max(b, now_s - a) for a, b in zip(self.cuts, label, strict=False)]
        since = [max(label[count + i // 2 * 2 :][:2]) for i in range(len(label) - count)]
        return (*work, *since)

    def _reach(self, label: Label, state: State, chosen: tuple[int, ...]) -> Label | None:
        """What is known after a pass; None if somebody is late then."""
        first = [i for i in chosen if not state[i]]
        decode_s = sum(self.token_s[i][state[i]] for i in chosen if state[i])
        pass_s = self.overhead_s if len(first) == len(chosen) else self.base_s + decode_s
        after = list(label)
        for m, cut in enumerate(self.cuts):
            if label[m] or any(self.arrival_s[i] >= cut for i in chosen):
                prompts = (self.prefill_s[i] for i in first if self.arrival_s[i] >= cut)
                after[m] += pass_s + sum(prompts)
        for i in self.everyone:
            if self.to_the_end and self.on_time[i] and 0 < state[i] < self.tokens[i]:
                x = len(self.cuts) + 2 * i
                after[x] += pass_s + sum(self._behind_s(i, j) for j in first)
                after[x + 1] += pass_s + sum(self.prefill_s[j] for j in first)
                if max(after[x : x + 2]) > eased(self.pace_s[i]):
                    return None
                if state[i] + (i in chosen) == self.tokens[i]:
                    after[x] = after[x + 1] = 0.0
        now_s = self._now_s(tuple(after))
        for i in first:
            if self.on_time[i]:
                if now_s > eased(self.first_due_s[i]):
                    return None
                if self.to_the_end and self.tokens[i] > 1:
                    room_s = self.first_due_s[i] - self.cuts[0] - after[0]
                    after[len(self.cuts) + 2 * i + 1] = -max(0.0, room_s)
        return tuple(after)

    def _behind_s(self, one: int, other: int) -> float:
        """How much of the other's prompt at least comes after the first token of the one, if its
        own first token does.
        """
        before_s = max(0.0, self.first_due_s[one] - self.arrival_s[other])
        return max(0.0, self.prefill_s[other] - before_s)


def _keep(labels: list[Label], new: Label | None) -> None:
    """Add a label unless another is at most it throughout; drop those that are at least it."""
    if new is None or any(all(map(float.__le__, old, new)) for old in labels):
        return
    labels[:] = [old for old in labels if not all(map(float.__le__, new, old))]
    labels.append(new)
