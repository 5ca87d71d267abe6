"""The feedback refiner: correct the profile while serving, from what passes really take.

For compute and for the link apart, with m = measured / predicted by the profile:

    value <- value exp(gain clip(ln m - ln value)),   gain = max(1 / n, 1 / MEMORY)

clipped at a few typical deviations, so that one bad sample moves little. What plans are made with,
`used`, follows only when drift is sustained: a two-sided CUSUM of ln m - ln used, ALLOWED per
sample let off, alarm at ALARM. An alarm starts the estimate anew at the median of the last RECENT
samples, so a lasting change is followed at once and noise causes no new plans. A link that is
believed to be slow is used less, and then nothing is learned of it: after FORGOTTEN passes without
a sample the profile counts again. Design section 4.2; the paper (arXiv 2601.10729) names the
feedback, its code does not have it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import exp, log
from statistics import median

from orbitflow.machine.cost import CostModel
from orbitflow.step import Step, StepOutcome

MEMORY = 32  # samples
CLIP = 3.0  # typical deviations that one sample may count for
LEAST_DEVIATION = 0.01
ALLOWED = 0.05  # drift that is not worth a new plan
ALARM = 0.25
MOST_AT_ONCE = 0.1  # what one sample adds to the CUSUM, so that an alarm takes three
RECENT = 3
FORGOTTEN = 4096  # passes without a sample of the link, after which the profile counts again


@dataclass(slots=True)
class Scale:
    """One factor on the profile's times: the running estimate, and the one that plans use."""

    value: float = 1.0
    used: float = 1.0
    _samples: int = 0
    _deviation: float = 0.05
    _above: float = 0.0
    _below: float = 0.0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def feed(self, ratio: float) -> bool:
        """Take one measured / predicted; whether plans should be made anew."""
        if not ratio > 0:
            return False
        self._samples += 1
        self._recent.append(ratio)
        error = log(ratio / self.value)
        limit = CLIP * max(self._deviation, LEAST_DEVIATION)
        gain = max(1 / self._samples, 1 / MEMORY)
        self.value *= exp(gain * min(limit, max(-limit, error)))
        self._deviation += 0.2 * (min(abs(error), 1.0) - self._deviation)
        drift = log(ratio / self.used)
        self._above = max(0.0, self._above + min(drift - ALLOWED, MOST_AT_ONCE))
        self._below = max(0.0, self._below + min(-drift - ALLOWED, MOST_AT_ONCE))
        if max(self._above, self._below) < ALARM:
            return False
        self._samples = RECENT
        self._above = self._below = 0.0
        self.used = self.value = median(self._recent)
        return True


class Refiner:
    """Learns two scales from outcomes; `cost` is the profile as corrected for planning."""

    def __init__(self, profile: CostModel) -> None:
        self._profile = profile
        self.compute = Scale()
        self.link = Scale()
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
        if self._unseen < FORGOTTEN or self.link.used == 1:
            return False
        self.link = Scale()
        return True
