"""Where a service stops meeting a target as one option makes it harder: bracket, bisect, look back.

The hardest tested value that met the target is `met`, and the easiest tested one beyond it is
`missed`. A search brackets them, then bisects until they are close:

    close:  |met - missed| <= max(tolerance * min(met, missed), step);  middle = sqrt(met * missed)

It never assumes that what meets at one value meets at all easier ones: it looks at a few of them
afterwards, and what it saw is kept. Options that count something (bytes, tokens) move on a lattice
whose step is one page: nothing sees less. A search is a plain function of `is_met(value)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from orbitflow.options import LARGEST, SMALLEST

MOST_DOUBLINGS = 10
_LOOK_BACK = (1.1, 1.3, 2.0)  # so much easier than the answer
_LOOK_AHEAD = (2.0, 4.0, 8.0)  # so much harder than the start, where nothing easier meets
_QUARTERS = 4

# Whether serving gets harder as the option grows. `max_batch` is not here: it may help or harm.
HARDER_AS_IT_GROWS = {
    **dict.fromkeys(("rate_scale", "context_scale", "output_scale"), True),
    **dict.fromkeys(("link_scale", "compute_scale", "gpu_memory_bytes"), False),
    **dict.fromkeys(("kv_capacity_tokens", "host_memory_bytes"), False),
    **dict.fromkeys(("slo_scale", "slo_tbt_s", "slo_ttft_s", "slo_ttft_scale"), False),
}
Number: TypeAlias = int | float
IsMet: TypeAlias = Callable[[Number], bool]


class Ends(NamedTuple):
    """A bracket that a person gave: its easy and its hard end."""

    easy: Number
    hard: Number


@dataclass(frozen=True, slots=True)
class Varied:
    """One option, which way it gets harder, and how finely it is looked at."""

    key: str
    start: Number  # the base configuration's
    step: int | None = None  # of the lattice; None: continuous
    tolerance: float = 0.02

    @property
    def grows(self) -> bool:
        """Whether a larger value is harder; then the highest one that still serves is wanted."""
        return HARDER_AS_IT_GROWS[self.key]

    def hardness(self, value: Number) -> float:
        """Orders values from easy to hard."""
        return value if self.grows else -value

    def harder(self, value: Number, factor: float) -> Number | None:
        """A value harder by a factor above 1 (easier below 1); None if there is none."""
        wanted = value * factor if self.grows else value / factor
        if self.step is None:
            return self._rounded(wanted) if SMALLEST <= wanted <= LARGEST else None
        found = max(1, round(wanted / self.step)) * self.step
        is_further = (found > value) == (wanted > value) and found != value
        return found if is_further else None

    def is_close(self, one: Number, other: Number) -> bool:
        """Whether the answer is known once it lies between these two."""
        return abs(one - other) <= max(self.tolerance * min(one, other), self.step or 0)

    def middle(self, one: Number, other: Number) -> Number:
        """A value between two that are not close: their geometric mean, on the lattice."""
        low, high = sorted((one, other))
        middle = math.sqrt(low) * math.sqrt(high)
        if self.step is not None:
            found = int(middle // self.step) * self.step
            return found if found > low else found + self.step
        rounded = self._rounded(middle)
        return rounded if low < rounded < high else middle

    def _rounded(self, value: float) -> float:
        """With as many digits as the tolerance needs."""
        return float(f"{value:.{2 + math.ceil(-math.log10(self.tolerance))}g}")


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


def find_crossing(varied: Varied, ends: Ends | None, is_met: IsMet) -> Crossing:
    """Search between the ends, or around the start by doubling and halving."""
    search = _Bisection(varied, is_met)
    if ends is None:
        search.around_start()
    else:
        search.within(ends)
    search.bisect()
    search.look_back(ends)
    return search.crossing()


def refine_crossing(varied: Varied, values: tuple[Number, ...], is_met: IsMet) -> Crossing:
    """Search among values from easy to hard, then between two of them."""
    search = _Bisection(varied, is_met)
    for value in reversed(values):
        if search.test(value):
            break
    search.bisect()
    return search.crossing()


class _Bisection:
    """The values that one search has tested."""

    def __init__(self, varied: Varied, is_met: IsMet) -> None:
        self._varied = varied
        self._is_met = is_met
        self._tested: dict[Number, bool] = {}

    def test(self, value: Number) -> bool:
        if value not in self._tested:
            self._tested[value] = self._is_met(value)
        return self._tested[value]

    def within(self, ends: Ends) -> None:
        """Test both ends; where not even the easy one meets, also some between."""
        easy_met = self.test(ends.easy)
        self.test(ends.hard)
        ratio = (ends.hard / ends.easy) ** (1 / _QUARTERS)
        for quarter in range(1, _QUARTERS) if not easy_met else ():
            factor = ratio**quarter if self._varied.grows else 1 / ratio**quarter
            self._test_within(self._varied.harder(ends.easy, factor), ends)

    def around_start(self) -> None:
        """From the start twice as hard until it fails, or half as hard until it is met."""
        start = self._varied.start
        if self.test(start):
            self._walk_while(True, start, 2.0)
            return
        self._walk_while(False, start, 0.5)
        if self.crossing().met is None:
            for factor in _LOOK_AHEAD:
                further = self._varied.harder(start, factor)
                if further is not None and self.test(further):
                    self._walk_while(True, further, 2.0)

    def bisect(self) -> None:
        """Halve what is open, as a factor, until it is close."""
        while True:
            met, missed, _ = self.crossing()
            if met is None or missed is None or self._varied.is_close(met, missed):
                return
            self.test(self._varied.middle(met, missed))

    def look_back(self, ends: Ends | None) -> None:
        """Test a few easier values."""
        met = self.crossing().met
        for factor in () if met is None else _LOOK_BACK:
            assert met is not None
            self._test_within(self._varied.harder(met, 1 / factor), ends)

    def crossing(self) -> Crossing:
        """What the values tested so far say."""
        order = sorted(self._tested, key=self._varied.hardness)
        tested = tuple(Tested(value, self._tested[value]) for value in order)
        last = max((i for i, one in enumerate(tested) if one.met), default=None)
        if last is None:
            return Crossing(None, tested[0].value, tested)
        missed = tested[last + 1].value if last + 1 < len(tested) else None
        return Crossing(tested[last].value, missed, tested)

    def _walk_while(self, met: bool, value: Number, factor: float) -> None:
        for _ in range(MOST_DOUBLINGS):
            further = self._varied.harder(value, factor)
            if further is None or self.test(further) != met:
                return
            value = further

    def _test_within(self, value: Number | None, ends: Ends | None) -> None:
        """Test a value if there is one, inside the bracket that a person gave."""
        if value is not None and (ends is None or min(ends) <= value <= max(ends)):
            self.test(value)
