"""Series: one policy of one run, with a name that tells it from the others of its section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orbitflow.report.read_runs import PolicyRun, ReportRun
from orbitflow.report.theme import Look

_RUN_DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (12, 4), (1, 3))


class Series(NamedTuple):
    """One policy of one run. `look` has its policy's colour."""

    name: str
    run: ReportRun
    policy: PolicyRun
    look: Look


def series_of(runs: Sequence[ReportRun], looks: Mapping[str, Look]) -> list[Series]:
    """All policies of these runs. One that serves in several runs has their labels in its names,
    and a dash for each run.
    """
    times = Counter(policy.name for run in runs for policy in run.policies)
    seen: Counter[str] = Counter()
    found = []
    for run in runs:
        for policy in run.policies:
            look, name = looks[policy.name], policy.name
            if times[name] > 1:
                look = look._replace(dash=_RUN_DASHES[seen[name] % len(_RUN_DASHES)])
                seen[name] += 1
                name = f"{name}, {run.label}"
            if policy.figures.get("lossy"):
                name += " (lossy)"
            found.append(Series(name, run, policy, look))
    return found
