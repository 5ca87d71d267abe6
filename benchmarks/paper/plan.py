"""The paper's study before it runs: points of all figures, each once, by a number of seeds.

It is a `Study` whose cells are points instead of a grid: the same folder, workers and rows. Every
cell is judged by its own workload's tau, as the paper does: SLO scale times the pass of its own KV
capacity full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from benchmarks.paper.points import A5000, Point, config_of
from orbitflow import __version__
from orbitflow.config import RunConfig
from orbitflow.machine.catalog import resolve_profile
from orbitflow.scenario import build_scenario
from orbitflow.slo import Slo
from orbitflow.study.grid import Cell, Grid
from orbitflow.study.study import SCHEMA_VERSION, Job, Study, read


@dataclass(frozen=True, slots=True)
class PaperStudy(Study):
    """Everything that decides the rows."""

    points: tuple[Cell, ...] = ()

    def simulations(self) -> list[Job]:
        """Every simulation; first seeds first, so that an unfinished study has whole figures."""
        return [Job(cell, seed) for seed in range(self.seeds) for cell in self.points]

    def config(self, job: Job) -> RunConfig:
        """The configuration of one simulation."""
        return config_of(job.cell, job.seed)

    def slo(self, job: Job) -> Slo:
        """The limits of one simulation."""
        return _slo(self.config(job))

    def definition(self) -> dict[str, object]:
        """What makes two studies the same; the content of `study.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "orbitflow_version": __version__,
            "study": "paper",
            "points": [cell.values for cell in self.points],
            "seeds": self.seeds,
            "inputs": self.inputs,
        }


def plan_paper(points: Sequence[Point], seeds: int) -> PaperStudy:
    """Collect the cells of points, each once."""
    cells = tuple({point.cell.id: point.cell for point in points}.values())
    base = RunConfig(trace="paper", profile=A5000)
    scenario = build_scenario(base, raw=read(base.trace, None))
    scenario = replace(scenario, trace=replace(scenario.trace, name="paper"))  # names the folder
    study = PaperStudy(
        base, Grid(()), seeds, scenario, scenario.slo.tbt_limit_s, {}, (), points=cells
    )
    study.inputs.update(_inputs(study))
    return study


@lru_cache(maxsize=4096)
def _slo(config: RunConfig) -> Slo:
    return build_scenario(config, raw=read(config.trace, None)).slo


def _inputs(study: PaperStudy) -> dict[str, str]:
    """Digests of the profiles and of the main workload, which change with the code that makes
    them.
    """
    profiles = sorted({str(cell.values["profile"]) for cell in study.points})
    content = {f"profile {name}": repr(resolve_profile(name)) for name in profiles}
    trace = study.scenario.trace
    columns = (trace.arrival, trace.prompt_tokens, trace.output_tokens)
    content["workload paper"] = repr([column.tolist() for column in columns])
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in content.items()}
