"""Where a simulation of a run first decides something else than the run did, and why.

Both decision logs are the same until the two clocks, which never agree to the last digit, put two
happenings in another order: an arrival before or after a pass, one pass more before a window ends.
From there on the runs are different runs, and only their figures can be compared.
"""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from orbitflow.units import format_seconds

_COMPARED = ("admit", "park", "drop", "resume", "host_layers", "exceptions", "window")


class FirstDifference(NamedTuple):
    """The first decision that differs, counted from 0, and what can be said of it."""

    number: int
    agreed: int
    explanation: str


def first_difference(measured: Path, simulated: Path) -> FirstDifference | None:
    """Compare two `decisions.jsonl`. None if every decision is the same."""
    with measured.open() as ours, simulated.open() as theirs:
        for number, (real, model) in enumerate(zip_longest(map(json.loads, ours),
                                                           map(json.loads, theirs))):  # fmt: skip
            said = _difference(real, model)
            if said:
                return FirstDifference(number, number, said)
    return None


def _difference(real: dict[str, Any] | None, model: dict[str, Any] | None) -> str:
    if real is None or model is None:
        longer = "simulation" if real is None else "run"
        at_s = (model or real or {})["t_s"]
        return f"only the {longer} decides once more, at {format_seconds(at_s)}"
    keys = [key for key in _COMPARED if real[key] != model[key]]
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
        return "another number of passes lay between two happenings, as the clocks differ"
    if real["admit"] != model["admit"]:
        return "an arrival or an admission rule fell on the other side of a pass"
    return "the policy judged by times (balances, measured passes), and these differ"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
