"""Searches by replay: run again from their start over what is known, as far as that leads.

Replaying costs nothing beside a simulation, and makes three things one: going on after a break,
asking what a search needs next, and asking what it would need after either answer, so that idle
workers can begin with it. The path of a search depends on the answers only, never on what else is
known or who was faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

A = TypeVar("A", bound=Hashable)
T = TypeVar("T")
MakeSearch: TypeAlias = Callable[[], Generator[A, bool, T]]


class Standing(NamedTuple, Generic[A, T]):
    """How far a search is: its answered questions in order, then its next one or its result."""

    path: tuple[tuple[A, bool], ...]
    asks: A | None
    result: T | None


def replay(make: MakeSearch[A, T], known: Callable[[A], bool | None]) -> Standing[A, T]:
    """Run a search over what is known."""
    search = make()
    path: list[tuple[A, bool]] = []
    try:
        ask = next(search)
        while (answer := known(ask)) is not None:
            path.append((ask, answer))
            ask = search.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return Standing(tuple(path), None, result)
    search.close()
    return Standing(tuple(path), ask, None)


def foresee(make: MakeSearch[A, T], known: Callable[[A], bool | None], most: int) -> list[A]:
    """The next question, then those that would follow from either answer, nearest first."""
    asks: list[A] = []
    futures: deque[dict[A, bool]] = deque([{}])
    while futures and len(asks) < most:
        assumed = futures.popleft()
        ask = replay(make, _either(assumed, known)).asks
        if ask is None:
            continue
        if ask not in asks:
            asks.append(ask)
        futures += [{**assumed, ask: True}, {**assumed, ask: False}]
    return asks


def _either(
    assumed: dict[A, bool], known: Callable[[A], bool | None]
) -> Callable[[A], bool | None]:
    return lambda ask: assumed[ask] if ask in assumed else known(ask)
