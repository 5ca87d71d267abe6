"""`capacity.json`: the question, the answer for each policy, and the figures on both sides of it.

The same question gives the same bytes, whatever was simulated ahead: only points that the searches
asked for are in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from orbitflow import __version__
from orbitflow.results.summary import SCHEMA_VERSION
from orbitflow.study.bisection import Crossing, Number
from orbitflow.study.capacity import Answer, Ask, CapacityQuestion, Rows
from orbitflow.study.grid import Axis, Grid
from orbitflow.study.keys import POLICY
from orbitflow.study.statistics import Estimate, estimates
from orbitflow.study.stored import job_id
from orbitflow.study.study import Study
from orbitflow.study.summary import CellResult, results

_ALWAYS = ("slo_attainment", "ttft_attainment", "tpot_attainment", "timely_share", "goodput_rps",
           "completed", "failed")  # fmt: skip


class Point(NamedTuple):
    """What the seeds came to at one value. `error` says why it cannot be served at all,
    `requests_per_s` what is offered where the rate is varied.
    """

    value: Number
    is_met: bool
    seeds_met: int
    figures: dict[str, Estimate]
    error: str | None
    requests_per_s: float | None = None


def outcome(answer: Answer) -> str:
    """`found`, `met_everywhere`, `met_nowhere` (of what was tested), or `failed`."""
    if answer.error is not None or answer.crossing is None:
        return "failed"
    if answer.crossing.met is None:
        return "met_nowhere"
    return "met_everywhere" if answer.crossing.missed is None else "found"


def point(question: CapacityQuestion, rows: Rows, policy: str, value: Number) -> Point:
    """The figures of a tested point: those of the targets and the usual ones, over the seeds."""
    jobs = question.jobs(Ask(policy, value, question.seeds))
    found = [rows[job_id(job)] for job in jobs if job_id(job) in rows]
    error = next((str(row["error"]) for row in found if row["status"] != "ok"), None)
    known = estimates([row["figures"] for row in found if row["status"] == "ok"])
    shown = dict.fromkeys((*(target.figure for target in question.targets), *_ALWAYS))
    seeds = [Ask(policy, value, (seed,)) for seed in question.seeds]
    return Point(
        value,
        bool(question.verdict(rows, Ask(policy, value, question.seeds))),
        sum(bool(question.verdict(rows, seed)) for seed in seeds),
        {name: known[name] for name in shown if name in known},
        error,
        offered_rps(question, value) if question.varies_rate else None,
    )


def cells_tested(
    question: CapacityQuestion, rows: Rows, answers: Sequence[Answer]
) -> list[CellResult]:
    """The cells that the searches over all seeds tested, easy to hard within a policy."""
    found: list[CellResult] = []
    for answer in answers:
        values = tuple(one.value for one in answer.crossing.tested) if answer.crossing else ()
        axes = (Axis(POLICY, (answer.policy,)), Axis(question.varied.key, values))
        found += results(replace(question.study, grid=Grid(axes)), rows)
    return found


def study_of(question: CapacityQuestion, answers: Sequence[Answer]) -> Study:
    """The study of a grid that all tested cells lie on."""
    crossings = [answer.crossing for answer in answers if answer.crossing is not None]
    values = {one.value for crossing in crossings for one in crossing.tested}
    axes = (
        Axis(POLICY, question.policies),
        Axis(question.varied.key, tuple(sorted(values))),
    )
    return replace(question.study, grid=Grid(axes))


def capacity_document(
    question: CapacityQuestion, rows: Rows, answers: Sequence[Answer]
) -> dict[str, Any]:
    """The content of `capacity.json`, and what `--json` prints."""
    study, varied, ends = question.study, question.varied, question.ends
    scenario = study.scenario
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "trace": {
            "name": scenario.trace.name,
            "requests": len(scenario.trace),
            "requests_per_s": offered_rps(question, scenario.rate_scale),
            "rate_scale": scenario.rate_scale,
        },
        "profile": scenario.profile.name,
        "slo": {"tau_s": scenario.slo.tau_s, "origin": scenario.slo.origin},
        "targets": [
            {"figure": t.figure, "at_least" if t.is_least else "at_most": t.value}
            for t in question.targets
        ],
        "vary": {
            "key": varied.key,
            "wanted": "highest" if varied.grows else "smallest",
            "start": varied.start,
            "easy_end": None if ends is None else ends.easy,
            "hard_end": None if ends is None else ends.hard,
            "step": varied.step,
        },
        "tolerance": varied.tolerance,
        "seeds": list(question.seeds),
        "arrival_jitter": study.base.arrival_jitter,
        "notices": list(dict.fromkeys((*study.notices, *scenario.notices))),
        "answers": [_answer(question, rows, answer) for answer in answers],
    }


def offered_rps(question: CapacityQuestion, rate_scale: float) -> float | None:
    """Requests per second that the trace offers at a rate scale; None if all come at once."""
    scenario = question.study.scenario
    span_s = float(scenario.trace.arrival[-1] - scenario.trace.arrival[0])
    if not span_s:
        return None
    return len(scenario.trace) / span_s * rate_scale / scenario.rate_scale


def _answer(question: CapacityQuestion, rows: Rows, answer: Answer) -> dict[str, object]:
    crossing = answer.crossing or Crossing(None, None, ())

    def described(value: Number | None) -> dict[str, object] | None:
        return (
            None if value is None else _point(question, point(question, rows, answer.policy, value))
        )

    return {
        "policy": answer.policy,
        "outcome": outcome(answer),
        "answer": answer.value,
        "met": described(crossing.met),
        "missed": described(crossing.missed),
        "fails_easier_at": list(crossing.failing_easier),
        "seeds": None if answer.spread is None else _spread(answer.spread),
        "tested": [described(one.value) for one in crossing.tested],
        "error": answer.error,
    }


def _spread(found: Spread) -> dict[str, object]:
    return {
        "crossings": list(found.crossings),
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
    }


def _point(question: CapacityQuestion, found: Point) -> dict[str, object]:
    content: dict[str, object] = {
        "value": found.value,
        "is_met": found.is_met,
        "seeds_met": found.seeds_met,
        "figures": {name: value._asdict() for name, value in found.figures.items()},
        "error": found.error,
    }
    if question.varies_rate:
        content["requests_per_s"] = found.requests_per_s
    return content
