"""What `orbit` gains over every other policy, one axis at a time, over seeds of jittered arrivals.

    python benchmarks/orbit.py paper PAPER_TRACE.json [--seeds 9] [--markdown FILE]
    python benchmarks/orbit.py ablate PAPER_TRACE.json [--seeds 9]
    python benchmarks/orbit.py ablate MOONCAKE.jsonl --rates 0.07 [--seeds 3]
    python benchmarks/orbit.py others
    python benchmarks/orbit.py rates MOONCAKE.jsonl [--output-scale 8] [--rates 0.05,0.06,...]

paper   SLO scale, rate, link and capacity varied around `a5000-llama3-8b-paper` at SLO scale 1.5.
        Asked of `orbit`: SLO attainment within a point of the best policy everywhere and above
        every baseline on the mean; at equal attainment no lower timely share.
ablate  `orbit` with one mechanism off, and with an oracle of output lengths; with --rates on
        Mooncake's requests as below.
others  workloads that the package brings and `orbit` was not tuned to: by the paper's recipe,
        and the twin of Azure's trace on other machines.
rates   the first 2,000 requests on an H100 (roofline, 420,000 tokens of KV), SLO scale 2, TTFT
        limit 5 s + 1 x isolated prefill: from idle to twice what the machine can do. With --seeds
        above 1, `orbit` and the best baseline are run with so many seeds of jittered arrivals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.orbit_runs import LONGEST_TENTH, Figures, Job, half_width, mean, run
from orbitflow.config import LengthsKnown, RunConfig
from orbitflow.policy.registry import policy_names

LOSSY = ("infinigen",)
SEEDED = ("orbit", "preempt-swap")  # policies that `rates` runs for every seed
CASES: dict[str, dict[str, Any]] = {
    "base": {},
    "SLO scale 1": {"slo_scale": 1.0},
    "SLO scale 2.5": {"slo_scale": 2.5},
    "rate x 0.5": {"rate_scale": 0.5},
    "rate x 2": {"rate_scale": 2.0},
    "link x 0.5": {"link_scale": 0.5},
    "link x 2": {"link_scale": 2.0},
    "link x 4": {"link_scale": 4.0},
    "capacity x 0.5": {"kv_capacity_tokens": 4_888},
    "capacity x 2": {"kv_capacity_tokens": 19_552},
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "orbit": {},
    "no rotation (--no-pause)": {"no_pause": True},
    "no admission (--no-gate)": {"no_gate": True},
    "no spreading (--no-spread)": {"no_spread": True},
    "no background loads (--no-preload)": {"no_preload": True},
    "no deposit (--no-deposit)": {"no_deposit": True},
    "lengths known (--lengths oracle)": {"lengths": LengthsKnown.ORACLE},
}
A5000: dict[str, Any] = {"profile": "a5000-llama3-8b-paper"}
TWIN: dict[str, Any] = {"trace": "azure_conv", "num_requests": 2_000}
A100: dict[str, Any] = {"profile": "a100-llama3-8b-paper"}
OTHERS: dict[str, RunConfig] = {
    "paper, rate 4, CV 1": RunConfig(trace="paper:rate=4,cv=1,seed=1", **A5000),
    "paper, rate 5, CV 4": RunConfig(trace="paper:rate=5,cv=4,seed=3", **A5000),
    "paper, rate 8, CV 2": RunConfig(trace="paper:rate=8,cv=2,seed=5", **A5000),
    "Azure x 0.14": RunConfig(**TWIN, **A5000, rate_scale=0.14),
    "Azure x 0.18": RunConfig(**TWIN, **A5000, rate_scale=0.18),
    "Azure x 0.22": RunConfig(**TWIN, **A5000, rate_scale=0.22),
    "Azure x 0.12, contexts x 6, A100": RunConfig(
        **TWIN, **A100, rate_scale=0.12, context_scale=6.0
    ),
}
OTHER_POLICIES = ("no-offload", "preempt-swap", "dynamic", "orbitflow", "zero-inference", "orbit")
CLASSICS = ("no-offload", "preempt-swap", "preempt-recompute", "dynamic", "orbitflow", "orbit")


RATES = "0.03,0.05,0.06,0.07,0.08,0.105,0.12,0.14"


def paper_config(trace: Path, seed: int) -> RunConfig:
    """The paper's main trace on its own machine."""
    return RunConfig(
        trace=str(trace), profile="a5000-llama3-8b-paper", arrival_jitter=0.01, seed=seed
    )


def row(name: str, runs: list[Figures]) -> str:
    """A policy's line of a table."""

    def share(key: str) -> str:
        values = [100 * figures.get(key, 0.0) for figures in runs]
        return f"{mean(values):.1f} ± {half_width(values):.1f}"

    ttft = mean(figures.get("ttft_s.p95", 0.0) for figures in runs)
    makespan = mean(figures["makespan_s"] for figures in runs)
    failed = mean(figures.get("failed", 0.0) for figures in runs)
    shares = " | ".join(share(key) for key in ("slo_attainment", "ttft_attainment", "timely_share"))
    return f"| `{name}` | {shares} | {ttft:,.0f} s | {makespan:,.0f} s | {failed:.0f} |"


HEAD = (
    "| policy | SLO attainment | TTFT attainment | timely share | TTFT p95 | makespan | refused |\n"
    "|---|---|---|---|---|---|---|"
)


def paper(trace: Path, seeds: int, named: Sequence[str], workers: int) -> str:
    """The tables of the axes."""
    policies = list(named) or [name for name in policy_names() if name not in LOSSY]
    if "orbit" not in policies or len(policies) < 2:
        raise SystemExit(f"--policy {', '.join(policies)}: name orbit and at least one other")
    jobs = [
        Job(case, policy, replace(paper_config(trace, seed), **changes))
        for case, changes in CASES.items()
        for policy in [*policies, ""]
        for seed in range(seeds)
    ]
    found = run(jobs, workers)
    lines = [HEAD, *(row(name, found["base", name]) for name in policies), ""]
    lines += [
        "| case | `orbit` | best other | its timely share | `orbit`'s | share of the bound |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        attained = {p: mean(f["slo_attainment"] for f in found[case, p]) for p in policies}
        others = {p: value for p, value in attained.items() if p != "orbit"}
        best = max(others, key=lambda p: others[p])
        timely = [mean(f["timely_share"] for f in found[case, p]) for p in (best, "orbit")]
        bound = mean(_bound(figures) for figures in found[case, ""])
        share = 100 * attained["orbit"] / bound
        lines.append(
            f"| {case} | {100 * attained['orbit']:.1f} | {100 * others[best]:.1f} `{best}` "
            f"| {100 * timely[0]:.1f} | {100 * timely[1]:.1f} | {share:.0f} % |"
        )
    lines += ["", "| over all cases | mean difference to `orbit`, paired |", "|---|---|"]
    for policy in policies:
        if policy == "orbit":
            continue
        gains = [
            mean(
                found[case, "orbit"][seed]["slo_attainment"]
                - found[case, policy][seed]["slo_attainment"]
                for case in CASES
            )
            * 100
            for seed in range(seeds)
        ]
        lines.append(f"| `{policy}` | {mean(gains):+.1f} ± {half_width(gains):.1f} |")
    return "\n".join(lines)


def _bound(figures: Figures) -> float:
    return next(value for key, value in figures.items() if key.endswith("slo_attainment"))


def ablate(base: list[RunConfig], workers: int) -> str:
    """The table of ablations of some runs."""
    jobs = [
        Job(name, "orbit", replace(config, **changes))
        for name, changes in ABLATIONS.items()
        for config in base
    ]
    found = run(jobs, workers)
    return "\n".join([HEAD, *(row(name, found[name, "orbit"]) for name in ABLATIONS)])


def others(workers: int) -> str:
    """SLO attainment on workloads that nothing was tuned to."""
    jobs = [Job(n, policy, config) for n, config in OTHERS.items() for policy in OTHER_POLICIES]
    found = run(jobs, workers)
    lines = [
        "| SLO attainment | " + " | ".join(f"`{policy}`" for policy in OTHER_POLICIES) + " |",
        "|---|" + "---|" * len(OTHER_POLICIES),
    ]
    for name in OTHERS:
        cells = (f"{100 * found[name, p][0]['slo_attainment']:.1f}" for p in OTHER_POLICIES)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mooncake_config(trace: Path, rate_scale: float, output_scale: float) -> RunConfig:
    """Its first 2,000 requests on an H100."""
    return RunConfig(
        trace=str(trace),
        profile="h100-roofline",
        kv_capacity_tokens=420_000,
        num_requests=2_000,
        output_scale=output_scale,
        rate_scale=rate_scale,
        slo_scale=2.0,
        slo_ttft_s=5.0,
        slo_ttft_scale=1.0,
    )


def seeded(config: RunConfig, seeds: int) -> list[RunConfig]:
    """One as it stands, or so many with jittered arrivals."""
    if seeds == 1:
        return [config]
    return [replace(config, arrival_jitter=0.01, seed=seed) for seed in range(seeds)]


RATE_TABLES = (
    ("SLO attainment", "slo_attainment", 100, 1),
    ("of the tenth with the longest prompts", LONGEST_TENTH, 100, 1),
    ("goodput, requests/s", "goodput_rps", 1, 3),
    ("timely share", "timely_share", 100, 1),
    ("makespan, s", "makespan_s", 1, 0),
)


def rates(
    trace: Path,
    scales: list[float],
    output_scale: float,
    seeds: int,
    policies: Sequence[str],
    workers: int,
) -> str:
    """SLO attainment and goodput by rate."""
    jobs = [
        Job(f"{scale:g}", policy, config)
        for scale in scales
        for policy in [*policies, ""]
        for config in seeded(
            mooncake_config(trace, scale, output_scale), seeds if policy in SEEDED else 1
        )
    ]
    found = run(jobs, workers)
    lines = []
    for title, key, unit, digits in RATE_TABLES:
        lines += [
            "| " + " | ".join([title, *(f"x {scale:g}" for scale in scales)]) + " |",
            "|" + "---|" * (len(scales) + 1),
        ]
        for policy in policies:
            cells = []
            for scale in scales:
                values = [unit * figures.get(key, 0.0) for figures in found[f"{scale:g}", policy]]
                spread = f" ± {half_width(values):.{digits}f}" if len(values) > 1 else ""
                cells.append(f"{mean(values):.{digits}f}{spread}")
            lines.append(f"| `{policy}` | " + " | ".join(cells) + " |")
        if key == "slo_attainment":
            bounds = [100 * _bound(found[f"{s:g}", ""][0]) for s in scales]
            lines.append("| bound | " + " | ".join(f"{v:.1f}" for v in bounds) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=("paper", "ablate", "others", "rates"))
    parser.add_argument("trace", type=Path, nargs="?", help="of all but `others`")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output-scale", type=float, default=8.0)
    parser.add_argument("--rates", help=f"default of `rates`: {RATES}")
    parser.add_argument(
        "--policy", action="append", help="of `paper` and `rates`; repeat for several"
    )
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if (options.trace is None) != (options.what == "others"):
        parser.error("a trace for `paper`, `ablate` and `rates`, and none for `others`")
    if options.what == "others":
        text = others(options.workers)
    elif options.what == "paper":
        text = paper(options.trace, options.seeds, options.policy or (), options.workers)
    elif options.what == "rates":
        scales = [float(scale) for scale in (options.rates or RATES).split(",")]
        policies = options.policy or CLASSICS
        text = rates(
            *(options.trace, scales, options.output_scale, options.seeds, policies),
            options.workers,
        )
    elif options.rates:
        base = mooncake_config(options.trace, float(options.rates), options.output_scale)
        text = ablate(seeded(base, options.seeds), options.workers)
    else:
        text = ablate(
            [paper_config(options.trace, s) for s in range(options.seeds)], options.workers
        )
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
