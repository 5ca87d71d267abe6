"""Why a number of ours may differ from the published one: one clause, picked by what was measured.

A family's reasons are tried in order; the first whose condition holds is the one. Conditions see
figures only. What a reason states beyond them (the model of the machine, what either side counts)
is so in every run of this study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.paper.published import Family

SATURATED = 99.0  # percent


class Facts(NamedTuple):
    """What conditions see: the published bounds, our mean, whether it is a share, and, of a gain,
    the points that there were to gain.
    """

    low: float
    high: float
    ours: float
    is_share: bool
    room: float | None = None


class Reason(NamedTuple):
    """A clause, and when it holds."""

    holds: Callable[[Facts], bool]
    text: str


def reason_for(family: Family, facts: Facts) -> str:
    """The clause for a number that differs."""
    return next(reason.text for reason in _REASONS[family] if reason.holds(facts))


def _is_full(facts: Facts) -> bool:
    return facts.is_share and facts.ours >= SATURATED


def _has_no_room(facts: Facts) -> bool:
    return facts.room is not None and facts.room < facts.low


def _is_zero(facts: Facts) -> bool:
    return facts.ours == 0


def _is_lower(facts: Facts) -> bool:
    return facts.ours < facts.low


def _always(facts: Facts) -> bool:
    return True


_FULL = Reason(_is_full, "hardly a token is late under this rule here")
_STALLS = Reason(
    _is_lower,
    "at scale 1 the limit is the pass of a full GPU, so a pass with any stall is late, and stalls "
    "last as long as the published fits say (a link of 7.6 GB/s)",
)
_REASONS: Mapping[Family, Sequence[Reason]] = MappingProxyType(
    {
        Family.SWEEP: (
            _FULL,
            _STALLS,
            Reason(_always, "stalls last as long as the published fits say, without the scatter "
                   "of measured passes around them"),
        ),
        Family.ABSTRACT: (
            Reason(_always, "the largest of all differences at our rates and scales; which pair "
                   "of systems and which point the paper means, it does not say"),
        ),
        Family.ABLATION: (
            _FULL,
            _STALLS,
            Reason(_always, "re-planning costs link time only here, the authors' public code "
                   "also stops for copies block by block"),
        ),
        Family.DEPOSIT: (
            Reason(_has_no_room, "fewer tokens than that were late before deposit"),
            Reason(_is_lower, "passes here lie on the published lines (R2 0.69), without the "
                   "scatter of measured ones that deposit smooths"),
            Reason(_always, "plans here spend the balances on purpose, so deposit changes "
                   "placements and pauses, not only the count"),
        ),
        Family.VICTIM: (
            Reason(_always, "pauses end by age here, so no choice of victim can rest one request "
                   "until the others are done"),
        ),
        Family.TAIL: (
            Reason(_is_lower, "the tail here is made of passes that stream, on the fitted lines, "
                   "and OrbitFlow, too, streams in its slowest passes"),
            Reason(_always, "the other system's tail is all the KV that it keeps on the host at "
                   "the fitted 7.6 GB/s, with no noise beside it"),
        ),
        Family.THROUGHPUT: (
            Reason(_is_lower, "arrivals do not wait for the server here, so whoever keeps up is "
                   "bounded by them and not by its speed"),
            Reason(_always, "arrivals do not wait for the server here, so a slow system ends long "
                   "after the last of them"),
        ),
        Family.LATENCY: (
            Reason(_is_lower, "waiting for admission counts in end-to-end time here, and arrivals "
                   "pile up before the system that decodes more slowly"),
            Reason(_always, "pauses and waiting for admission count in full here"),
        ),
        Family.PLANNER: (
            Reason(_is_zero, "the fast search proved every plan, so the integer program was never "
                   "asked, and the search's milliseconds are not charged in a simulation "
                   "(benchmarks/planner_speed.py measures them)"),
            Reason(_is_lower, "a question is asked only where something changed, and plans last "
                   "until memory or balances run out"),
            Reason(_always, "windows are short while somebody rests, and each one's end asks the "
                   "fast search again"),
        ),
    }
)  # fmt: skip
