"""Simulations that benchmarks of `orbit` are made of: run, and what is kept of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from math import sqrt
from operator import itemgetter
from typing import NamedTuple, TextIO

from orbitflow.config import RunConfig
from orbitflow.scenario import build_scenario
from orbitflow.study.task import Discard, StudyTask, do_task

LONGEST_TENTH = "longest_tenth"  # the figure: SLO attainment of the tenth with the longest prompts


class Job(NamedTuple):
    """One simulation."""

    case: str
    policy: str
    config: RunConfig


Figures = dict[str, float]


def simulate(job: Job) -> Figures:
    """The figures of one run; those of its bound where no policy is named."""
    config = replace(job.config, policies=(job.policy,) if job.policy else ())
    kept = Kept()
    done = do_task(StudyTask(config, build_scenario(config).slo), outputs=kept)
    figures = {key: float(value) for key, value in done.items() if isinstance(value, int | float)}
    return figures | ({LONGEST_TENTH: longest_tenth(kept.text.getvalue())} if job.policy else {})


class Kept(Discard):
    """Outputs of which the requests are kept."""

    def __init__(self) -> None:
        self.text = StringIO()

    @contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Keep `requests.jsonl`."""
        if name.endswith("requests.jsonl"):
            yield self.text
            return
        with super().lines(name) as out:
            yield out


def longest_tenth(lines: str) -> float:
    """SLO attainment of the tenth of requests with the longest prompts."""
    requests = sorted((json.loads(line) for line in lines.splitlines()), key=itemgetter("id"))
    requests.sort(key=itemgetter("prompt_tokens"))
    longest = requests[int(0.9 * len(requests)) :]
    return mean(float(r["meets_ttft"] and r["meets_tpot"]) for r in longest)


def mean(values: Iterable[float]) -> float:
    """The mean of what is there."""
    return statistics.fmean(values)


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean (normal)."""
    return 1.96 * statistics.stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def run(jobs: list[Job], workers: int) -> dict[tuple[str, str], list[Figures]]:
    """Figures by case and policy, in order of seeds."""
    found: dict[tuple[str, str], list[Figures]] = {}
    with ProcessPoolExecutor(workers) as pool:
        for job, figures in zip(jobs, pool.map(simulate, jobs), strict=True):
            found.setdefault((job.case, job.policy), []).append(figures)
    return found
