"""Where a service stops meeting its target: bracket, bisect, look back.

The hardest tested value that met the target is `met`, and the easiest tested one beyond it, which
did not, is `missed`; the search ends when they are close. It never assumes that what meets at one
value meets at all easier ones: it looks at a few of them afterwards, and what it saw is kept.

A search is a generator: it yields a value to be tested and is sent whether the target was met.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, TypeAlias

from orbitflow.study.bisection import Ends, Number, Varied

MOST_DOUBLINGS = 10
_LOOK_BACK = (1.1, 1.3, 2.0)  # so much easier than the answer
_LOOK_AHEAD = (2.0, 4.0, 8.0)  # so much harder than the start, where nothing easier meets
_QUARTERS = 4


class Tested(NamedTuple):
    """A value, and whether the target was met there."""

    value: Number
    met: bool


class Crossing(NamedTuple):
    """What a search found. Without `missed` everything was met, without `met` nothing was."""

    met: Number | None
    missed: Number | None
    tested: tuple[Tested, ...]  # from easy to hard

    @property
    def failing_easier(self) -> tuple[Number, ...]:
        """Tested values easier than `met` that did not meet the target."""
        if self.met is None:
            return ()
        easier = self.tested[: [one.value for one in self.tested].index(self.met)]
        return tuple(one.value for one in easier if not one.met)


Search: TypeAlias = Generator[Number, bool, Crossing]
_Steps: TypeAlias = Generator[Number, bool, None]
_Test: TypeAlias = Generator[Number, bool, bool]


def find_crossing(varied: Varied, ends: Ends | None = None) -> Search:
    """Search between the ends, or around the start by doubling and halving."""
    walk = _Walk(varied, ends)
    yield from walk.within(ends) if ends is not None else walk.around(varied.start)
    yield from walk.bisect()
    yield from walk.look_back()
    return walk.crossing()


def refine_crossing(varied: Varied, values: tuple[Number, ...]) -> Search:
    """Search among values from easy to hard, where some may be known, then between two of them."""
    walk = _Walk(varied, None)
    for value in reversed(values):
        if (yield from walk.test(value)):
            break
    yield from walk.bisect()
    return walk.crossing()


class _Walk:
    """The values that one search has tested."""

    def __init__(self, varied: Varied, ends: Ends | None) -> None:
        self._varied = varied
        self._ends = ends
        self._tested: dict[Number, bool] = {}

    def test(self, value: Number) -> _Test:
        if value not in self._tested:
            self._tested[value] = yield value
        return self._tested[value]

    def within(self, ends: Ends) -> _Steps:
        """Test both ends; where not even the easy one meets, also some between."""
        easy_met = yield from self.test(ends.easy)
        yield from self.test(ends.hard)
        if not easy_met:
            ratio = (ends.hard / ends.easy) ** (1 / _QUARTERS)
            for quarter in range(1, _QUARTERS):
                between = self._varied.harder(ends.easy, _factor(self._varied, ratio**quarter))
                if between is not None and self._is_allowed(between):
                    yield from self.test(between)

    def around(self, start: Number) -> _Steps:
        """From the start twice as hard until it fails, or half as hard until it is met."""
        if (yield from self.test(start)):
            yield from self._walk_while(True, start, 2.0)
            return
        yield from self._walk_while(False, start, 0.5)
        if self.crossing().met is None:
            for factor in _LOOK_AHEAD:
                further = self._varied.harder(start, factor)
                if further is not None and (yield from self.test(further)):
                    yield from self._walk_while(True, further, 2.0)

    def _walk_while(self, met: bool, value: Number, factor: float) -> _Steps:
        for _ in range(MOST_DOUBLINGS):
            further = self._varied.harder(value, factor)
            if further is None or (yield from self.test(further)) != met:
                return
            value = further

    def bisect(self) -> _Steps:
        while True:
            met, missed, _ = self.crossing()
            if met is None or missed is None or self._varied.is_close(met, missed):
                return
            yield from self.test(self._varied.middle(met, missed))

    def look_back(self) -> _Steps:
        met = self.crossing().met
        for factor in _LOOK_BACK if met is not None else ():
            assert met is not None
            easier = self._varied.harder(met, 1 / factor)
            if easier is not None and self._is_allowed(easier):
                yield from self.test(easier)

    def crossing(self) -> Crossing:
        hardness = self._varied.hardness
        tested = [Tested(v, self._tested[v]) for v in sorted(self._tested, key=hardness)]
        last = max((i for i, one in enumerate(tested) if one.met), default=None)
        if last is None:
            return Crossing(None, tested[0].value, tuple(tested))
        missed = tested[last + 1].value if last + 1 < len(tested) else None
        return Crossing(tested[last].value, missed, tuple(tested))

    def _is_allowed(self, value: Number) -> bool:
        """Whether it is inside the bracket that a person gave."""
        if self._ends is None:
            return True
        hardness = self._varied.hardness
        return hardness(self._ends.easy) <= hardness(value) <= hardness(self._ends.hard)


def _factor(varied: Varied, ratio: float) -> float:
    """How much harder a value that is `ratio` times another is."""
    return ratio if varied.grows else 1 / ratio
