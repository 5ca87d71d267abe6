"""How far `orbitflow.bound` is above the optimum of small cases, and its time on a large trace.

    .venv/bin/python benchmarks/bound_tightness.py [--cases 200] [--requests 3] [--workers 2]

The optimum is found by trying every schedule (`tests/reference/schedules.py`) of random cases
(`tests/reference/cases.py`), one per seed. `exact` is the share of cases in which bound and optimum
agree to a millionth; a bound below its optimum would be an error, and is counted too. The time is
the CPU's, for the bundled azure_conv trace at the simulator's default load and at others.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from functools import partial
from math import inf
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from orbitflow.bound.bound import Bound, upper_bound
from reference.cases import bound_of, random_case
from reference.schedules import best

from orbitflow.config import RunConfig
from orbitflow.scenario import build_scenario

BAR, BAR_S = 1.25, 2.0
RATES = (None, 1.0, 4.0)


def measure(seed: int, requests: int) -> tuple[Bound, Bound]:
    """Bound and optimum of one case."""
    case = random_case(seed, requests)
    return bound_of(case), best(case)


def ratio(bound: float, optimum: float) -> float:
    """Bound / optimum; 1 where both are 0."""
    if optimum:
        return bound / optimum
    return inf if bound else 1.0


def print_tightness(pairs: list[tuple[Bound, Bound]]) -> None:
    """One line for each figure."""
    print(f"{'figure':<18}{'cases':>6}{'exact':>8}{'> 1.25':>8}{'worst':>8}{'below':>7}")
    for name in (f.name for f in fields(Bound)):
        ratios = [ratio(getattr(bound, name), getattr(optimum, name)) for bound, optimum in pairs]
        count = len(ratios)
        exact = sum(abs(r - 1) <= 1e-6 for r in ratios) / count
        above = sum(r > BAR for r in ratios) / count
        below = sum(r < 1 - 1e-9 for r in ratios)
        print(f"{name:<18}{count:>6}{exact:>8.1%}{above:>8.1%}{max(ratios):>8.3f}{below:>7}")


def print_speed() -> None:
    """CPU seconds of the bound on the bundled trace."""
    print(f"\n{'azure_conv':<12}{'requests':>9}{'CPU s':>8}{'asked':>7}{'SLO attainment <=':>19}")
    for rate in RATES:
        scenario = build_scenario(RunConfig("azure_conv", rate_scale=rate))
        requests = list(scenario.trace.requests())
        began = time.process_time()
        bound = upper_bound(
            requests, scenario.true, scenario.limits, scenario.max_batch, scenario.slo
        )
        cpu_s = time.process_time() - began
        label = f"rate x{scenario.rate_scale:g}"
        print(f"{label:<12}{len(requests):>9}{cpu_s:>8.2f}{BAR_S:>7g}{bound.slo_attainment:>19.4f}")


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--requests", type=int, default=3, help="in each case")
    parser.add_argument("--workers", type=int, default=2, help="processes that try schedules")
    arguments = parser.parse_args()
    with Pool(arguments.workers) as pool:
        task = partial(measure, requests=arguments.requests)
        print_tightness(pool.map(task, range(arguments.cases), chunksize=1))
    print_speed()


if __name__ == "__main__":
    main()
