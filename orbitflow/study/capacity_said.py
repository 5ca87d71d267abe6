"""The answers of a capacity question in words: the cells of a table, and what to know about them.

The command and a report say the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from orbitflow.policy.registry import make_policy
from orbitflow.study.capacity_result import CapacityAnswer, CapacityPoint, CapacityResult
from orbitflow.study.keys import key_text
from orbitflow.study.statistics import number
from orbitflow.units import format_count

_FEW_REQUESTS = 200
_SHOWN_FAILING = 4
_FAILED = "failed"


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
    lossy = " (lossy)" if make_policy(answer.policy).is_lossy else ""
    row = [answer.policy + lossy]
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
    key, name = found.key, answer.policy
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
    if answer.spread is None:
        return ""
    crossings, mean, low, high = answer.spread
    if mean is None or low is None or high is None:
        crossing = sum(value is not None for value in crossings)
        return f"{crossing} of {found.seeds} seeds cross"
    middle, *ends = (key_text(found.key, float(f"{v:.4g}")) for v in (mean, low, high))
    return f"{middle} ({'..'.join(ends)})"
