"""What each constant of `orbit` and `orbitflow` is worth: halve it, double it, run again.

    python benchmarks/ablate_constants.py [--paper PAPER.json] [--mooncake MOONCAKE.jsonl]
        [--policy orbit] [--only NAME] [--seeds 3] [--workers 1] [--markdown FILE]

Runs three cases of `benchmarks/orbit.py paper` (base, rate x 2, capacity x 0.5), workloads of
`benchmarks/orbit_random.py` from seed 200 on (the seeds below 200 are for testing, so nothing is
chosen by them), and 1,000 of Mooncake's requests at two rates. Prints the change of SLO attainment
in points against the defaults, paired, with the standard error over the random workloads; and the
change of the tenth with the longest prompts. Without a trace its columns are left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from math import sqrt
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.orbit import CASES, mooncake_config, paper_config
from benchmarks.orbit_random import draw, write
from orbitflow.config import RunConfig
from orbitflow.engine.policy import Policy
from orbitflow.policy.orbit.options import OrbitOptions
from orbitflow.policy.orbit.policy import Orbit
from orbitflow.policy.orbitflow.options import OrbitFlowOptions
from orbitflow.policy.orbitflow.policy import OrbitFlow
from orbitflow.request import Request
from orbitflow.results.metrics import tpot_s
from orbitflow.scenario import build_scenario
from orbitflow.session import make_core
from orbitflow.sim.server import Simulation
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Events, Finished, Step, StepOutcome

Options = OrbitOptions | OrbitFlowOptions
FIRST_SEED, SEEDS = 200, 12
SWITCHES = ("no_preload", "no_spread", "no_pause", "no_gate", "no_deposit")


class Variant(NamedTuple):
    """One row: options of the policy, and what it changes in the configuration."""

    name: str
    options: Options
    changes: dict[str, bool]


class Workload(NamedTuple):
    """One column has several of these. `group` names it."""

    group: str
    config: RunConfig


class Figures(NamedTuple):
    """Shares of requests that meet both limits: of all, and of the longest tenth of prompts."""

    attained: float
    longest: float


@dataclass
class Ended:
    """Takes note of finished requests."""

    finished: list[Finished] = field(default_factory=list)

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Keep what ended."""
        self.finished += events.finished

    def refused(self, request: Request, reason: str) -> None:
        """A refused request meets nothing."""

    def planned(self, latency_s: float) -> None:
        """Plans are not counted."""


def variants(base: Options) -> Iterator[Variant]:
    """The defaults, every switch, and every constant halved and doubled."""
    yield Variant("as it is", base, {})
    for switch in SWITCHES:
        yield Variant(f"--{switch.replace('_', '-')}", base, {switch: True})
    for constant in fields(base):
        value = getattr(base, constant.name)
        for factor in (0.5, 2):
            changed = max(1, int(value * factor)) if isinstance(value, int) else value * factor
            options = type(base)(**(asdict(base) | {constant.name: changed}))
            yield Variant(f"{constant.name} {value:g} -> {changed:g}", options, {})


def workloads(
    paper: Path | None, mooncake: Path | None, seeds: int, folder: Path
) -> list[Workload]:
    """What every variant runs."""
    found = []
    for case in ("base", "rate x 2", "capacity x 0.5") if paper else ():
        assert paper is not None
        configs = [replace(paper_config(paper, seed), **CASES[case]) for seed in range(seeds)]
        found += [Workload("paper", config) for config in configs]
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        drawn = draw(seed, 300, folder / f"{seed}.jsonl")
        write(drawn)
        found.append(Workload("random", drawn.config))
    for rate in (0.07, 0.12) if mooncake else ():
        assert mooncake is not None
        config = replace(mooncake_config(mooncake, rate, 8.0), num_requests=1_000)
        found.append(Workload(f"Mooncake x {rate:g}", config))
    return found


def simulate(policy: Policy, config: RunConfig) -> Figures:
    """One run."""
    scenario = build_scenario(config)
    policy.configure(config.tuning)
    policy.bind(scenario.limits, scenario.believed)
    core, ended = make_core(scenario, policy), Ended()
    requests = list(scenario.trace.requests())
    executor = SimExecutor(scenario.true, policy.data_plane, None)
    latency_s = scenario.profile.planner_latency_s
    Simulation(core, executor, requests, ended, planner_latency_s=latency_s).run()
    met = set()
    for done in ended.finished:
        request, times = done.request, done.token_times_s
        tbt_limit_s = scenario.slo.tbt_limit_s if request.slo_tbt_s is None else request.slo_tbt_s
        ttft_s = scenario.slo.ttft_of(request, scenario.believed)
        tpot = tpot_s(float(times[0]), float(times[-1]), len(times))
        if times[0] - request.arrival_s <= ttft_s and (tpot is None or tpot <= tbt_limit_s):
            met.add(request.id)
    by_prompt = sorted(requests, key=lambda r: (r.prompt_tokens, r.id))
    longest = by_prompt[int(0.9 * len(requests)) :]
    return Figures(
        len(met) / len(requests), sum(r.id in met for r in longest) / max(1, len(longest))
    )


def run_one(variant: Variant, config: RunConfig) -> Figures:
    """A variant on a workload."""
    options = variant.options
    policy = Orbit(options) if isinstance(options, OrbitOptions) else OrbitFlow(options=options)
    return simulate(policy, replace(config, **variant.changes))  # type: ignore[arg-type]


def row(name: str, works: list[Workload], base: list[Figures], found: list[Figures]) -> str:
    """A line of the table: changes in points, by group."""
    cells = []
    for group in dict.fromkeys(work.group for work in works):
        at = [i for i, work in enumerate(works) if work.group == group]
        gains = [100 * (found[i].attained - base[i].attained) for i in at]
        longest = 100 * statistics.fmean(found[i].longest - base[i].longest for i in at)
        error = statistics.stdev(gains) / sqrt(len(gains)) if len(gains) > 3 else 0.0
        spread = f" ± {error:.1f}" if error else ""
        cells.append(f"{statistics.fmean(gains):+.1f}{spread} ({longest:+.0f})")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Run and print, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--paper", type=Path, help="the paper's 52-request trace")
    parser.add_argument("--mooncake", type=Path, help="Mooncake's conversation trace")
    parser.add_argument("--policy", choices=("orbit", "orbitflow"), default="orbit")
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    parser.add_argument("--seeds", type=int, default=3, help="of the paper's cases")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    base: Options = OrbitOptions() if args.policy == "orbit" else OrbitFlowOptions()
    chosen = [v for v in variants(base) if args.only in v.name or v.name == "as it is"]
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(args.workers) as pool:
        works = workloads(args.paper, args.mooncake, args.seeds, Path(folder))
        groups = list(dict.fromkeys(work.group for work in works))
        lines.append(f"| {args.policy} | " + " | ".join(groups) + " |")
        lines.append("|---" * (len(groups) + 1) + "|")
        print("\n".join(lines), flush=True)
        reference: list[Figures] = []
        for variant in chosen:
            configs = [work.config for work in works]
            found = list(pool.map(run_one, [variant] * len(works), configs))
            reference = reference or found
            lines.append(row(variant.name, works, reference, found))
            print(lines[-1], flush=True)
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
