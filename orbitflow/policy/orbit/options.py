"""The tuning constants of `orbit`'s admission and forecasts: unit, meaning, ablation.

Behind "|" stands what an ablation changed: points of SLO attainment on drawn workloads and on
Mooncake's requests at x 0.07 and x 0.12 (twice what can be served), from
docs/notes/2026-11-constants.md; "not measured" where that note has no row. What a user switches is
in `Tuning`. tau is a request's TBT limit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrbitOptions:
    """Constants of one policy; a test or a benchmark replaces single ones."""

    # Load: how much may be served at once (`admission`).
    recovery: float = 1.75  # load beyond 1, by the share of time left to catch up
    # | 0: -3.4, -6.9; -19 on the paper's cases
    urgent_tau: float = 128.0  # tau before the last moment for its TTFT limit, when it is risked
    # | always: -0.4, 0, 0; without TTFT limits timely tokens fall from over 90 to 51 %
    few: int = 6  # requests among which all of it is risked while late ones wait
    # | any number: +0.9, 0, -5.3
    deposit_share: float = 0.8  # of a balance that is counted on | 1: +0.3, -0.1, -2.4
    hopeless_pace: float = 8.0  # tau per token that a hopeless request is counted with
    # | 1: -3.1, 0, 0
    prefill_memory_tau: float = 256.0  # tau over which the time share of prompts is averaged
    # | share not counted: -5.0 on the six drawn workloads that were run

    # Score: how many running requests a prompt may make miss their SLO (`admission`).
    late_tokens: float = 8.0  # tokens that any prompt may make late, in all | not measured
    patient_score: float = 0.25  # requests, while all who wait can wait for `hurry_tau`
    # | 1: -0.4, -1.4, -1.3; no limit at all: -5.6, -3.4, -3.3
    hurry_tau: float = 16.0  # tau | not measured
    hurried_score: float = 1.0  # requests, when one cannot wait, and the server keeps up
    behind_score: float = 0.6  # requests, when one cannot wait, and late ones wait
    # | 1: -0.3, -0.4, -0.7
    owed_score: float = 2.0  # requests, for one of the longest prompts while these are owed
    least_spare: float = 0.05  # share of time always counted on to catch up | x 4: +0.3, -1.1, -3.1

    # Order (`deadlines`).
    every: int = 64  # admissions, one of which is of the longest waiting | not measured
    most_tried: int = 8  # requests tried where those before them do not fit | not measured
    looked_at: int = 64  # requests by deadline asked what a delay costs them | not measured
    fair_share: float = 0.65  # of everybody's share in time, below which the longest are owed
    # | off: 0, -1.0, +3.7; of the longest tenth -0.6, -3, -23
    longest_share: float = 0.1  # of requests, by prompt, that count as the longest | not measured
    fates: int = 512  # requests that the shares are taken over | not measured
    least_fates: int = 50  # of them, before which nobody is owed | not measured

    # Rotation (`rotation`, `staging`, `prices`).
    starving_passes: float = 4.0  # passes of the link that streaming takes, from which loads starve
    # | off: Mooncake's x 0.12 37 instead of 71 %
    loading_share: float = 0.8  # of the link's idle time that background loads may count on
    # | no loads at all: -0.2, -2.4, not measured
    least_pass: float = 0.8  # share of a full machine's pass, or of a TBT limit, that a pass counts
    # for at least | 0: Mooncake's x 0.14 48 instead of 62 %

    # Forecasts (`forecast`, `output_lengths`).
    caught_up: float = 0.5  # of what a request could catch up alone, that it is expected to
    # | off: -0.9, -3.3, -4.2
    hopeless_weight: float = 0.05  # of a late token of a hopeless request, against 1
    # | as a late one's (0.5): 0, 0, 0; link x 0.5 of the paper's cases -1.9
    quantile: float = 0.6  # of finished outputs, taken for a running request | not measured
    lengths: int = 1024  # finished outputs that are remembered | not measured
    first_tokens: int = 256  # tokens of an output until one has finished | not measured

    retry_passes: int = 16  # passes until a refused request is looked at again | not measured


DEFAULT = OrbitOptions()
