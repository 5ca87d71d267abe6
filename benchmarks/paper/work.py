"""What a worker does for the paper's study: one simulation, judged under both accountings.

Fair: wall-clock emission, so pauses, prompts and queues count, and deposit for everybody. The
paper's: `step_times`. Neither changes what a policy does, so one run serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.paper.step_times import StepTimes
from orbitflow.scenario import build_scenario
from orbitflow.session import outfit
from orbitflow.sim.run import simulate_policy
from orbitflow.study.study import read
from orbitflow.study.task import Discard, StudyTask

FAIR_FIGURES = (
    "requests",
    "failed",
    "timely_share",
    "tbt_attainment",
    "tpot_attainment",
    "ttft_attainment",
    "slo_attainment",
    "tbt_s.p95",
    "tbt_s.p99",
    "ttft_s.p95",
    "e2el_s.mean",
    "throughput_tokens_per_s",
    "makespan_s",
    "paused_s",
    "link.busy_share",
    "link.hidden_share",
    "link.resident_share",
    "link.stall_s",
    "output_tokens",
    "planner.calls",
    "planner.searches",
    "planner.proven",
    "planner.improved",
    "planner.runtime_share",
)


def do_paper_task(task: StudyTask) -> dict[str, object]:
    """The figures of one simulation; those of the paper's accounting begin with `paper.`."""
    config = task.config
    scenario = build_scenario(config, slo=task.slo, raw=read(config.trace, config.num_requests))
    (policy,) = scenario.policies
    counted = StepTimes(task.slo.tbt_limit_s)
    report = simulate_policy(scenario, policy, Discard(), lambda _: None, counted)
    fair = {name: value for name in FAIR_FIGURES if (value := _find(report.figures, name))
            is not None}  # fmt: skip
    banks = outfit(scenario, policy).has_deposit
    return fair | counted.figures(banks=banks)


def _find(figures: Mapping[str, Any], name: str) -> object:
    head, _, rest = name.partition(".")
    value = figures.get(head)
    return _find(value, rest) if rest and isinstance(value, Mapping) else value
