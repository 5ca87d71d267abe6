"""`capacity.json`: a question, the answer of every policy, and the figures on both sides of it.

The same question gives the same bytes, whatever was simulated ahead: only points that the searches
asked for are in it. What the command's table and a report say is written here, so that both say the
same and agree with the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitflow import __version__
from orbitflow.results.summary import SCHEMA_VERSION
from orbitflow.study.bisection import Number
from orbitflow.study.figures import Target
from orbitflow.study.keys import key_text
from orbitflow.study.policy_names import short_names, shown_policy
from orbitflow.study.statistics import Estimate, number
from orbitflow.units import format_count

if TYPE_CHECKING:
    from orbitflow.study.capacity import CapacityQuestion

_FEW_REQUESTS = 200
_SHOWN_FAILING = 4
_FAILED = "failed"


class CapacityPoint(NamedTuple):
    """What the seeds came to at one value. `error` says why it cannot be served at all,
    `requests_per_s` what is offered where the rate is varied.
    """

    value: Number
    is_met: bool
    seeds_met: int
    figures: dict[str, Estimate]
    error: str | None
    requests_per_s: float | None = None


class Spread(NamedTuple):
    """Where the seeds cross: geometric mean and 95 % interval, which includes what the bisection
    left open. `crossings` has None for a seed that does not cross among the points of the search;
    then there is no interval.
    """

    crossings: tuple[float | None, ...]
    mean: float | None
    low: float | None
    high: float | None


class CapacityAnswer(NamedTuple):
    """What the searches of one policy came to. `outcome` is `found`, `met_everywhere`,
    `met_nowhere` (of what was tested) or `failed`; `error` says why it failed.
    """

    policy: str
    outcome: str
    answer: Number | None  # the hardest value met, if one beyond it was missed
    met: CapacityPoint | None
    missed: CapacityPoint | None
    fails_easier_at: tuple[Number, ...]
    seeds: Spread | None  # None for one seed
    tested: tuple[CapacityPoint, ...]  # from easy to hard
    error: str | None


@dataclass(frozen=True, slots=True)
class CapacityResult:
    """A question and its answers."""

    trace: str
    requests: int
    profile: str
    key: str
    wants_highest: bool
    targets: tuple[Target, ...]
    seeds: int
    answers: tuple[CapacityAnswer, ...]

    @property
    def best(self) -> Number | None:
        """The hardest value met, where policies differ in it."""
        met = [None if answer.met is None else answer.met.value for answer in self.answers]
        known = [value for value in met if value is not None]
        if not known or len(set(met)) < 2:
            return None
        return max(known) if self.wants_highest else min(known)

    def short_name(self, answer: CapacityAnswer) -> str:
        """What people are shown of an answer's policy."""
        return short_names(one.policy for one in self.answers)[answer.policy]


def capacity_document(question: CapacityQuestion, result: CapacityResult) -> dict[str, Any]:
    """The content of `capacity.json`, and what `--json` prints."""
    study, varied, ends = question.study, question.varied, question.ends
    scenario = study.scenario
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "trace": {
            "name": result.trace,
            "requests": result.requests,
            "requests_per_s": question.offered_rps(scenario.rate_scale),
            "rate_scale": scenario.rate_scale,
        },
        "profile": result.profile,
        "slo": {"tau_s": scenario.slo.tbt_limit_s, "origin": scenario.slo.origin},
        "targets": [
            {"figure": t.figure, "at_least" if t.is_least else "at_most": t.value}
            for t in result.targets
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
        "answers": [_plain(answer, question.varies_rate) for answer in result.answers],
    }


def _plain(value: object, with_rates: bool) -> object:
    """Named tuples as objects, in the order of their fields."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        found = value._asdict()
        if isinstance(value, CapacityPoint) and not with_rates:
            del found["requests_per_s"]
        value = found
    if isinstance(value, dict):
        return {name: _plain(one, with_rates) for name, one in value.items()}
    return [_plain(one, with_rates) for one in value] if isinstance(value, tuple) else value


def read_capacity(document: Mapping[str, Any]) -> CapacityResult:
    """Read the content of `capacity.json`. Raise a KeyError, TypeError or ValueError if it is
    something else.
    """
    trace, vary = document["trace"], document["vary"]
    return CapacityResult(
        str(trace["name"]),
        int(trace["requests"]),
        str(document["profile"]),
        str(vary["key"]),
        vary["wanted"] == "highest",
        tuple(_target(found) for found in document["targets"]),
        len(document["seeds"]),
        tuple(_answer(found) for found in document["answers"]),
    )


def _target(found: Mapping[str, Any]) -> Target:
    is_least = "at_least" in found
    limit = float(found["at_least" if is_least else "at_most"])
    return Target(str(found["figure"]), limit, is_least)


def _answer(found: Mapping[str, Any]) -> CapacityAnswer:
    points = {name: found[name] and _point(found[name]) for name in ("met", "missed")}
    seeds = found["seeds"]
    more = {
        "fails_easier_at": tuple(found["fails_easier_at"]),
        "seeds": seeds and Spread(**{**seeds, "crossings": tuple(seeds["crossings"])}),
        "tested": tuple(_point(one) for one in found["tested"]),
    }
    return CapacityAnswer(**{**found, **points, **more})


def _point(found: Mapping[str, Any]) -> CapacityPoint:
    if not isinstance(found["value"], int | float):
        raise TypeError(f"{found['value']!r} is no number")
    figures = {
        str(name): Estimate(float(value["mean"]), value["half_width"])
        for name, value in found["figures"].items()
    }
    return CapacityPoint(**{**found, "figures": figures})


def title(found: CapacityResult) -> str:
    """The question, in one line."""
    wanted = "highest" if found.wants_highest else "smallest"
    targets = " and ".join(map(str, found.targets))
    return f"{wanted} {found.key} with {targets}: {found.trace} on {found.profile}"


def heads(found: CapacityResult) -> list[str]:
    """The heads of the columns."""
    wanted, beyond = ("highest", "lowest") if found.wants_highest else ("smallest", "largest")
    figures = [target.figure for target in found.targets]
    of_seeds = ["seeds met", "crossing (95 %)"] if found.seeds > 1 else []
    return ["policy", f"{wanted} met", *figures, f"{beyond} missed", *of_seeds]


def cells(found: CapacityResult, answer: CapacityAnswer) -> list[str]:
    """The row of one policy."""
    met, missed = answer.met, answer.missed
    row = [shown_policy(answer.policy, found.short_name(answer))]
    if met is None:
        row += [_FAILED if answer.outcome == _FAILED else "none", *("" for _ in found.targets)]
    else:
        row += [_with_rate(found.key, met), *(figure(met, t.figure) for t in found.targets)]
    row.append("none" if missed is None else key_text(found.key, missed.value))
    if found.seeds > 1:
        row += ["" if met is None else f"{met.seeds_met}/{found.seeds}", _interval(found, answer)]
    return row


def remarks(found: CapacityResult, answer: CapacityAnswer) -> Iterator[str]:
    """What a person must know about one answer."""
    key, name = found.key, found.short_name(answer)
    if answer.outcome == _FAILED or not answer.tested:
        yield f"{name}: a simulation failed: {answer.error}"
        return
    first, last = answer.tested[0], answer.tested[-1]
    tested = f"from {key_text(key, first.value)} to {key_text(key, last.value)}"
    if answer.met is None:
        figures = ", ".join(f"{t.figure} {figure(first, t.figure)}" for t in found.targets)
        why = first.error or f"{figures} at {key_text(key, first.value)}"
        yield (
            f"{name}: the target is met nowhere, tested {tested} ({why}): loosen --target, or "
            "change more than this option"
        )
    elif answer.missed is None:
        yield (
            f"{name}: the target is met everywhere, tested {tested}: the limit is not in there; "
            "give a harder bracket with --vary, or a stricter --target"
        )
    if failing := answer.fails_easier_at:
        where = ", ".join(key_text(key, value) for value in failing[-_SHOWN_FAILING:])
        if (more := len(failing) - _SHOWN_FAILING) > 0:
            where += f" and at {more} easier values"
        yield f"{name}: not monotone: fails again at {where}"
    failed = None if answer.met is None else answer.met.figures.get(_FAILED)
    if failed is not None and failed.mean:
        yield (
            f"{name}: {failed.mean:g} requests could not be served at the answer; times are those "
            "of the others"
        )


def footer(found: CapacityResult) -> Iterator[str]:
    """What the columns mean."""
    if found.seeds > 1:
        yield (
            f"met: the mean over {found.seeds} seeds meets the target; crossing: where each seed "
            "alone stops meeting it, geometric mean and 95 % t-interval of the logarithms, widened "
            "by what the bisection leaves open"
        )
    if said := few(found.requests, varies_rate=found.key == "rate_scale"):
        yield said


def few(requests: int, *, varies_rate: bool) -> str:
    """What a short trace means for a share; nothing of a long one."""
    if requests >= _FEW_REQUESTS:
        return ""
    shorter = ", and a higher rate makes the run shorter" if varies_rate else ""
    count = f"{format_count(requests)} request{'s' if requests > 1 else ''}"
    return f"{count}: one is {100 / requests:.3g} % of a share{shorter}"


def figure(found: CapacityPoint, name: str) -> str:
    """A figure at a tested point."""
    value = found.figures.get(name)
    return "undefined" if value is None else number(value, ".4g")


def _with_rate(key: str, met: CapacityPoint) -> str:
    text = key_text(key, met.value)
    return text if met.requests_per_s is None else f"{text} ({met.requests_per_s:.3g} req/s)"


def _interval(found: CapacityResult, answer: CapacityAnswer) -> str:
    if answer.seeds is None:
        return ""
    crossings, mean, low, high = answer.seeds
    if mean is None or low is None or high is None:
        crossing = sum(value is not None for value in crossings)
        return f"{crossing} of {found.seeds} seeds cross"
    middle, *ends = (key_text(found.key, float(f"{v:.4g}")) for v in (mean, low, high))
    return f"{middle} ({'..'.join(ends)})"
