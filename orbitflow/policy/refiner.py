"""The feedback refiner: correct the profile while serving, from what passes really take.

For compute and for the link apart, with m = measured / predicted by the profile. Plans use one
factor, `used`, which follows m only when the drift is sustained, by a two-sided CUSUM:

    above <- max(0, above + min(ln(m / used) - allowed, most_at_once)),   below likewise
    alarm when either reaches `alarm`:   used <- median of the last `recent` m,   both <- 0

So a lasting change is followed after a few samples, and neither noise nor one bad sample causes a
new plan. A link that is believed to be slow is used less, and then nothing is learned of it: after
`forget_passes` passes without a sample the profile counts again. Design section 4.2. The paper
(arXiv 2601.10729) names the feedback; its code does not have it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log
from statistics import median

from orbitflow.machine.cost import CostModel
from orbitflow.step import Step, StepOutcome


@dataclass(frozen=True, slots=True)
class RefinerOptions:
    """Constants of drift detection. Drifts are differences of logarithms of times."""

    allowed: float = 0.05  # drift per sample that is not counted
    alarm: float = 0.25  # sum of drifts that makes new plans
    most_at_once: float = 0.1  # of one sample, so that an alarm takes three
    recent: int = 3  # samples whose median is believed after an alarm
    forget_passes: int = 4096  # without a sample of the link, until the profile counts again


DEFAULT = RefinerOptions()


class Scale:
    """One factor on the profile's times: `used` is what plans use."""

    def __init__(self, options: RefinerOptions = DEFAULT) -> None:
        self.used = 1.0
        self._options = options
        self._above = 0.0
        self._below = 0.0
        self._recent: deque[float] = deque(maxlen=options.recent)

    def feed(self, ratio: float) -> bool:
        """Take one measured / predicted; whether plans should be made anew."""
        if not ratio > 0:
            return False
        self._recent.append(ratio)
        allowed, most = self._options.allowed, self._options.most_at_once
        drift = log(ratio / self.used)
        self._above = max(0.0, self._above + min(drift - allowed, most))
        self._below = max(0.0, self._below + min(-drift - allowed, most))
        if max(self._above, self._below) < self._options.alarm:
            return False
        self._above = self._below = 0.0
        self.used = median(self._recent)
        return True


class Refiner:
    """Learns two scales from outcomes; `cost` is the profile as corrected for planning."""

    def __init__(self, profile: CostModel, options: RefinerOptions = DEFAULT) -> None:
        self._profile = profile
        self._options = options
        self.compute = Scale(options)
        self.link = Scale(options)
        self.cost = profile
        self._under_way: set[int] = set()  # moves
        self._unseen = 0  # passes since the last sample of the link

    def learn(self, step: Step, outcome: StepOutcome) -> bool:
        """Take a step's measurements; whether plans should be made anew.

        Steps with prompts or moves are left out: their times mix several things. So does the link's
        while a load is under way, whichever step asked for it.
        """
        passes = len(outcome.pass_end_s)
        self._under_way.update(move.id for move in step.moves)
        is_apart = not self._under_way
        self._under_way.difference_update(outcome.moves_done)
        self._unseen += passes
        if not passes or step.chunks or step.moves:
            return False
        drifted = self._learn_compute(step, outcome, passes)
        drifted |= is_apart and self._learn_link(step, outcome, passes)
        drifted |= self._forget()
        if drifted:
            self.cost = self._profile.slower(compute=self.compute.used, link=self.link.used)
        return drifted

    def _learn_compute(self, step: Step, outcome: StepOutcome, passes: int) -> bool:
        requests = len(step.decode_ids)
        mean_context = step.context_tokens + requests * (passes - 1) / 2
        predicted_s = passes * self._profile.decode_pass_s(requests, mean_context)
        measured_s = float(outcome.pass_end_s[-1]) - outcome.start_s - outcome.stall_s
        if self._profile.link_slowdown:
            predicted_s += self._profile.link_slowdown * min(predicted_s, outcome.link_busy_s)
        return self.compute.feed(measured_s / predicted_s)

    def _learn_link(self, step: Step, outcome: StepOutcome, passes: int) -> bool:
        predicted_s = sum(
            len(stream.layers) * float(self._profile.stream_s(stream.contexts, passes)[0].sum())
            for stream in step.streams
        )
        if not predicted_s:
            return False
        self._unseen = 0
        return self.link.feed(outcome.link_busy_s / predicted_s)

    def _forget(self) -> bool:
        """Believe the profile again where the link has not been seen for long."""
        if self._unseen < self._options.forget_passes or self.link.used == 1:
            return False
        self.link = Scale(self._options)
        return True
