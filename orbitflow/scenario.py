"""A configuration resolved against its trace and profile: everything that two policies are compared
on.

Precedence: an option, then what the trace brings along, then the profile, then the default.

How much a trace asks of a machine is estimated before anything is simulated:

prefill load   sum of isolated prefill times / span
decode load    sum over tokens of (full pass time / requests in a full pass) / span
KV wanted      what would be held if every request were admitted on arrival and ran at the speed of
               a full pass, prefill first; swept over time, relative to the KV capacity

Prefill and decode together above 1 mean that no schedule keeps up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.config import AZURE_RATE_SCALE, DEFAULT_MAX_BATCH, RunConfig, SolverName
from orbitflow.engine.policy import Policy
from orbitflow.machine.catalog import DEFAULT_PROFILE, profile_of_gpu, resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.perturbation import Perturbation, read_perturbation
from orbitflow.machine.profile import Profile, extrapolated, is_edited, measured_range
from orbitflow.memory import KvLimits
from orbitflow.policy.outside import absolute
from orbitflow.policy.registry import ChosenPolicy, Make, choose, make_policy
from orbitflow.slo import Slo, full_pass_s, mean_final_context
from orbitflow.traces import resolve, scaled
from orbitflow.traces.trace import Trace
from orbitflow.units import format_seconds


@dataclass(frozen=True, slots=True)
class Scenario:
    """One workload on one machine under one SLO. `believed` is what policies see, `true` times the
    passes, give or take a share `noise` of compute.
    """

    config: RunConfig
    chosen: tuple[ChosenPolicy, ...]
    trace: Trace
    profile: Profile
    believed: CostModel
    true: CostModel
    noise: float
    limits: KvLimits
    max_batch: int | None
    slo: Slo
    load: OfferedLoad
    rate_scale: float
    notices: tuple[str, ...]

    @property
    def policies(self) -> tuple[str, ...]:
        """What tables and folders call the policies, in order."""
        return tuple(choice.label for choice in self.chosen)

    def make_policy(self, label: str) -> Policy:
        """A fresh policy of one of those names, or of any that the registry knows."""
        chosen = next((choice for choice in self.chosen if choice.label == label), None)
        return make_policy(label) if chosen is None else chosen.make()


def build_scenario(
    config: RunConfig,
    *,
    slo: Slo | None = None,
    raw: Trace | None = None,
    profile: Profile | None = None,
    guests: Mapping[str, Make] | None = None,
) -> Scenario:
    """Resolve a configuration, with `slo`, `raw` trace and `profile` instead of its own where they
    are given. A policy that `guests` has is made there.

    Raise a UserError if something in it is unknown or impossible.
    """
    config = replace(config, policies=tuple(map(absolute, config.policies)))
    chosen = choose(config.policies, guests or {})
    if config.solver is SolverName.ILP:
        from orbitflow.planner.solver import check_solver  # PuLP takes 0.3 s to import

        check_solver()
    named = config.profile or DEFAULT_PROFILE
    taken = None
    if profile is None:
        taken = profile_of_gpu(named, config.model, config.tp)
        profile = resolve_profile(taken or named, config.model, config.tp)
    cost = CostModel.from_profile(
        profile, link_scale=config.link_scale, compute_scale=config.compute_scale
    )
    perturbation = read_perturbation(config.perturb) if config.perturb else Perturbation()
    raw = resolve(config.trace, limit=config.num_requests) if raw is None else raw
    notices = list(raw.notices)
    if taken is not None:
        notices.append(f"--profile {named}: {taken} is taken ({profile.provenance.method})")
    if is_edited(profile):
        notices.append(f"profile {profile.name} was edited after it was measured")
    if raw.arrival_unit == "steps":
        step_s = _engine_step_s(raw, profile)
        raw = raw.in_seconds(step_s)  # leaves a notice of its own, which says less than this one
        notices.append(
            f"arrivals are in engine steps: one step = {format_seconds(step_s)}, a pass with the "
            f"trace's own KV capacity full on {profile.name}"
        )
    rate_scale = config.rate_scale
    if rate_scale is None:
        rate_scale = _default_rate_scale(raw, config)
        if rate_scale != 1:
            notices.append(
                f"--rate-scale {rate_scale} by default for this trace on {profile.name}: "
                "at 1 the GPU could not keep up with the prompts alone"
            )
    trace = scaled(
        raw,
        rate_scale=rate_scale,
        context_scale=config.context_scale,
        output_scale=config.output_scale,
        num_requests=config.num_requests,
        arrival_jitter=config.arrival_jitter,
        seed=config.seed,
    )
    notices += [n for n in trace.notices if n not in raw.notices]
    notices += _beyond_the_model(trace, profile)
    capacity = (
        config.kv_capacity_tokens
        or (raw.kv_capacity_tokens if config.gpu_memory_bytes is None else None)
        or profile.kv_capacity_tokens(config.gpu_memory_bytes)
    )
    limits = KvLimits.from_tokens(
        profile.model.layers,
        profile.page_tokens,
        capacity,
        config.host_memory_bytes or profile.host_memory_bytes,
        profile.model.kv_bytes_per_token_per_layer,
        ring_is_extra=config.ring_extra,
    )
    wanted = raw.max_batch if config.max_batch is None else config.max_batch
    max_batch = (_default_max_batch(profile) if wanted is None else wanted) or None
    longest = int(trace.prompt_tokens.max())
    notices += extrapolated(profile, max_batch, limits.capacity_tokens, longest)
    return Scenario(
        config,
        chosen,
        trace,
        profile,
        cost,
        cost.slower(compute=perturbation.compute, link=1 / perturbation.link),
        perturbation.noise or profile.pass_noise,
        limits,
        max_batch,
        slo or _slo(config, cost, capacity, max_batch, trace),
        offered_load(
            trace.arrival, trace.prompt_tokens, trace.output_tokens, cost, capacity, max_batch
        ),
        rate_scale,
        tuple(notices),
    )


def _beyond_the_model(trace: Trace, profile: Profile) -> list[str]:
    """Say so if requests grow beyond what the model was made for; published traces do."""
    limit = profile.model.max_context_tokens
    if limit is None:
        return []
    beyond = int((trace.final_tokens() > limit).sum())  # the last token is never fed back
    if not beyond:
        return []
    return [
        f"{beyond:,} of {len(trace):,} requests grow beyond the {limit:,} tokens that "
        f"{profile.model.name} was made for: simulated as if it could"
    ]


def _default_max_batch(profile: Profile) -> int:
    """As many as were measured at once, where that is known."""
    known = measured_range(profile)
    return DEFAULT_MAX_BATCH if known is None else min(DEFAULT_MAX_BATCH, known.requests)


def _engine_step_s(trace: Trace, profile: Profile) -> float:
    """The pass that the paper's traces count in: the trace's own KV capacity full, whatever is
    overridden.
    """
    capacity = trace.kv_capacity_tokens or profile.kv_capacity_tokens()
    return CostModel.from_profile(profile).decode_pass_s(trace.max_batch or 0, capacity)


def _default_rate_scale(trace: Trace, config: RunConfig) -> float:
    is_azure = trace.format == "azure-2023" or trace.name.startswith("azure_conv")
    return AZURE_RATE_SCALE if is_azure and config.profile is None else 1.0


def _slo(
    config: RunConfig, cost: CostModel, capacity: int, max_batch: int | None, trace: Trace
) -> Slo:
    if config.slo_tbt_s is not None:
        tbt_limit_s, origin = config.slo_tbt_s, "--slo-tbt"
    else:
        mean = mean_final_context(trace.prompt_tokens, trace.output_tokens)
        full_s = full_pass_s(cost, capacity, max_batch, mean)
        tbt_limit_s = config.slo_scale * full_s
        full = f"{format_seconds(full_s)}, a decode pass with the KV capacity full"
        origin = f"{config.slo_scale:g} x {full}"
    return Slo(tbt_limit_s, config.slo_ttft_s, config.slo_ttft_scale, origin)


@dataclass(frozen=True, slots=True)
class OfferedLoad:
    """Shares are of 1 server; KV figures are relative to the KV capacity."""

    span_s: float
    prefill: float
    decode: float
    kv_mean: float
    kv_peak: float
    kv_time_over: float  # share of time in which more KV is wanted than the GPU holds

    @property
    def compute(self) -> float:
        """Prefill and decode together."""
        return self.prefill + self.decode


def offered_load(
    arrival_s: FloatArray,
    prompt_tokens: npt.NDArray[np.int64],
    output_tokens: npt.NDArray[np.int64],
    cost: CostModel,
    capacity_tokens: int,
    max_batch: int | None,
) -> OfferedLoad:
    """Estimate the load. A trace without duration (a burst) has the span of its own work."""
    final = prompt_tokens + output_tokens
    in_pass = max(1.0, capacity_tokens / float(final.mean()))
    if max_batch is not None:
        in_pass = min(in_pass, max_batch)
    pass_s = cost.decode_pass_s(in_pass, in_pass * float(final.mean()))
    prefill_s = cost.prefills_s(prompt_tokens)
    stay_s = prefill_s + output_tokens * pass_s
    work_prefill_s = float(prefill_s.sum())
    work_decode_s = float(output_tokens.sum()) * pass_s / in_pass
    span_s = float(arrival_s[-1] - arrival_s[0]) or work_prefill_s + work_decode_s
    held = prompt_tokens + output_tokens / 2
    times = np.concatenate([arrival_s, arrival_s + stay_s])
    change = np.concatenate([held, -held])
    order = np.argsort(times, kind="stable")
    wanted = np.cumsum(change[order])[:-1] / capacity_tokens
    lasts = np.diff(times[order])
    whole = float(lasts.sum()) or 1.0
    return OfferedLoad(
        span_s,
        work_prefill_s / span_s,
        work_decode_s / span_s,
        float((wanted * lasts).sum()) / whole,
        float(wanted.max()),
        float(lasts[wanted > 1].sum()) / whole,
    )
