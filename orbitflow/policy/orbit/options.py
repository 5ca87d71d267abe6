"""The tuning constants of `orbit`'s admission and forecasts: unit, meaning, ablation.

Ablations: docs/notes/2026-11-constants.md, by `benchmarks/ablate_constants.py`. What a user
switches is in `Tuning`. tau is a request's TBT limit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrbitOptions:
    """Constants of one policy; a test or a benchmark replaces single ones."""

    # Load: how much may be served at once (`admission`).
    recovery: float = 1.75  # load beyond 1, by the share of time left in which to catch up
    urgent_tau: float = 128.0  # before the last moment for its TTFT limit, from where it is risked
    few: int = 6  # requests among which all of it is risked while late ones wait
    deposit_share: float = 0.8  # of a balance that is counted on
    hopeless_pace: float = 8.0  # tau per token that a hopeless request is counted with
    prefill_memory_tau: float = 256.0  # over which the share of time of prompts is averaged

    # Score: how many running requests a prompt may make miss their SLO (`admission`).
    late_tokens: float = 8.0  # that any prompt may make late, over all running requests
    patient_score: float = 0.25  # requests, while every waiting one can wait for `hurry_tau`
    hurry_tau: float = 16.0
    hurried_score: float = 1.0  # requests, when one cannot, and the server keeps up
    behind_score: float = 0.6  # requests, when one cannot, and late ones wait
    owed_score: float = 2.0  # requests, for one of the longest prompts while these are owed
    least_spare: float = 0.05  # share of time that is always counted on for catching up

    # Order (`deadlines`).
    every: int = 64  # admissions, one of which is of the request that has waited longest
    most_tried: int = 8  # requests that are tried where those before them do not fit
    looked_at: int = 64  # requests by deadline that are asked what a delay costs them
    fair_share: float = 0.65  # of everybody's share in time, below which the longest are owed
    longest_share: float = 0.1  # of requests, by prompt, that count as the longest
    fates: int = 512  # requests that the shares are taken over
    least_fates: int = 50  # of them, before which nobody is owed

    # Forecasts (`forecast`, `output_lengths`).
    caught_up: float = 0.5  # of what a request could catch up alone, that it is expected to
    hopeless_weight: float = 0.05  # of a late token of a hopeless request, against 1
    quantile: float = 0.6  # of finished outputs, taken for the length of one that is running
    lengths: int = 1024  # finished outputs that are remembered
    first_tokens: int = 256  # output length until one has finished

    retry_passes: int = 16  # until a refused request is looked at again (`policy`)


DEFAULT = OrbitOptions()
