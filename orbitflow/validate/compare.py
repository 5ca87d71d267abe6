"""A run and its simulation side by side: their figures, and the first decision that differs.

    error = simulated / measured - 1  of times and bytes,   simulated - measured  of shares

Decisions agree until the two clocks, which never agree to the last digit, put two events in another
order: an arrival before or after a pass, one pass more before a window ends. From there on the runs
are different runs, and only their figures can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from orbitflow.formats.reading import read_lines
from orbitflow.formats.records import Natural, Real
from orbitflow.units import format_seconds

_TIMES = tuple(
    (kind, statistic)
    for kind in ("ttft_s", "tpot_s", "tbt_s")
    for statistic in ("mean", "p50", "p95", "p99")
)
_AMOUNTS = (*_TIMES, ("makespan_s",), ("link", "h2d_bytes"), ("link", "d2h_bytes"))
_SHARES = (
    ("timely_share",),
    ("slo_attainment",),
    ("ttft_attainment",),
    ("tpot_attainment",),
    ("tbt_attainment",),
)
_DECISION_KEYS = ("admit", "park", "drop", "resume", "host_layers", "exceptions", "window")


class ComparedFigure(NamedTuple):
    """One figure. `error` is None where there is nothing to compare; of a share it is in shares."""

    name: str
    measured: float | None
    simulated: float | None
    error: float | None
    is_share: bool


def compare(measured: Mapping[str, Any], simulated: Mapping[str, Any]) -> Iterator[ComparedFigure]:
    """Every figure of two policies' objects of `summary.json`."""
    for path in _AMOUNTS:
        yield _compared(path, measured, simulated, is_share=False)
    for path in _SHARES:
        yield _compared(path, measured, simulated, is_share=True)


def _compared(
    path: tuple[str, ...],
    measured: Mapping[str, Any],
    simulated: Mapping[str, Any],
    *,
    is_share: bool,
) -> ComparedFigure:
    real, model = _at(measured, path), _at(simulated, path)
    error: float | None = None
    if real is not None and model is not None:
        if is_share:
            error = model - real
        elif real:
            error = model / real - 1
        elif not model:
            error = 0.0
    return ComparedFigure(".".join(path), real, model, error, is_share)


def _at(figures: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = figures
    for key in path:
        value = None if value is None else value[key]
    return None if value is None else float(value)


class FirstDifference(NamedTuple):
    """The first decision that differs, counted from 0, and what can be said of it."""

    number: int
    agreed: int
    explanation: str


def first_difference(measured: Path, simulated: Path) -> FirstDifference | None:
    """Compare two `decisions.jsonl`. None if every decision is the same."""
    pairs = zip_longest(_decisions(measured), _decisions(simulated))
    for number, (real, model) in enumerate(pairs):
        if text := _difference(real, model):
            return FirstDifference(number, number, text)
    return None


def check_decisions(path: Path) -> None:
    """Raise a UserError if a line of a `decisions.jsonl` cannot be read, or the last is cut off."""
    for _ in _decisions(path):
        pass


def _decisions(path: Path) -> Iterator[dict[str, Any]]:
    lines = read_lines(path, _decode, "run it again", may_be_torn=False)
    return map(msgspec.to_builtins, lines)


class _Decision(msgspec.Struct, rename={"passes": "pass"}):
    """What is compared of a line of `decisions.jsonl`."""

    t_s: Real
    passes: Natural
    admit: list[Natural]
    park: list[Natural]
    drop: list[Natural]
    resume: list[Natural]
    host_layers: list[Natural]
    exceptions: dict[str, list[Natural]]
    window: Natural | None


_decode = msgspec.json.Decoder(_Decision).decode


def _difference(real: dict[str, Any] | None, model: dict[str, Any] | None) -> str:
    if real is None or model is None:
        longer = "simulation" if real is None else "run"
        at_s = (model or real or {})["t_s"]
        return f"only the {longer} decides once more, at {format_seconds(at_s)}"
    keys = [key for key in _DECISION_KEYS if real[key] != model[key]]
    if not keys:
        return ""
    apart = model["t_s"] - real["t_s"]
    where = (
        f"the run at {real['t_s']:.4f} s after pass {real['pass']}, the simulation at "
        f"{model['t_s']:.4f} s after pass {model['pass']} ({apart * 1e3:+.1f} ms)"
    )
    what = "; ".join(f"{key}: {_short(real[key])} and {_short(model[key])}" for key in keys)
    return f"{where}; {what}; {_why(real, model)}"


def _why(real: dict[str, Any], model: dict[str, Any]) -> str:
    if real["pass"] != model["pass"]:
        return "another number of passes lay between two events, as the clocks differ"
    if real["admit"] != model["admit"]:
        return "an arrival or an admission rule fell on the other side of a pass"
    return "the policy judged by times (balances, measured passes), and these differ"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
