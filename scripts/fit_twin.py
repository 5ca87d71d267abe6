"""Fit the synthetic twin of a trace: `scripts/fit_twin.py REAL_TRACE [OUT]`.

Reads the real file (Azure's conversation trace of 2023), writes the tables from which
orbitflow.traces.synth draws, and the distances between the twin and the original. Deterministic.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.traces.formats import read_trace
from orbitflow.traces.summary import autocorrelation, burstiness, ranks, spearman
from orbitflow.traces.synth import DATA, TwinFidelity, TwinModel, synthesize
from orbitflow.traces.trace import Trace

SLICES = 32
SEEDS = range(6)
WINDOW_LAGS = (1, 2, 3, 6, 12)
REQUEST_LAGS = range(1, 200, 7)
MEMORIES = (800.0, 1100.0, 1500.0, 2000.0, 2700.0)
GAP_WEIGHTS = np.arange(0.020, 0.0501, 0.003)
TITLE = "Azure Public Dataset, AzureLLMInferenceTrace_conv.csv"
CITATION = (
    "Patel et al., Splitwise: Efficient Generative LLM Inference Using Phase Splitting, ISCA 2024"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("real", type=Path, help="the real trace, for example the Azure CSV")
    parser.add_argument("out", type=Path, nargs="?", default=DATA / "azure_conv.json")
    arguments = parser.parse_args()
    real = read_trace(arguments.real)
    model = fit(real)
    for seed in SEEDS:
        print(f"seed {seed}:", asdict(measure(real, synthesize(model, seed=seed))))
    model = replace(model, fidelity=measure(real, synthesize(model)))
    checksum = hashlib.sha256(arguments.real.read_bytes()).hexdigest()
    arguments.out.write_text(to_json(model, real, checksum), encoding="utf-8")


def fit(real: Trace) -> TwinModel:
    """Fit tables and copula directly, then the slow series by trying."""
    levels = quantile_levels()
    start = TwinModel(
        name="azure_conv",
        title=TITLE,
        licence="CC-BY",
        citation=CITATION,
        requests=len(real),
        levels=levels,
        prompt_tokens=np.quantile(real.prompt_tokens, levels).round(1),
        output_tokens=np.quantile(real.output_tokens, levels).round(1),
        gap_s=np.quantile(np.diff(real.arrival), levels).round(7),
        copula=copula_of(real.prompt_tokens, real.output_tokens),
        memory_requests=MEMORIES[0],
        slow_in_gap=0.0,
        slow_in_output=0.0,
    )
    candidates = [
        replace(start, memory_requests=memory, slow_in_gap=round(float(weight), 4))
        for memory in MEMORIES
        for weight in GAP_WEIGHTS
    ]
    arrivals = min(candidates, key=lambda model: mismatch(real, model))
    return with_output_weight(real, arrivals)


def quantile_levels() -> FloatArray:
    """Even steps, and finer ones towards both ends, where the tails are."""
    upper = 1 - 2.0 ** -np.arange(9, 15)
    lower = 2.0 ** -np.arange(9, 12)
    return np.unique(np.concatenate((np.linspace(0, 1, 257), lower, upper)))


def copula_of(prompt_tokens: IntArray, output_tokens: IntArray) -> FloatArray:
    """Count requests by the slices of their two ranks."""
    grid = np.zeros((SLICES, SLICES))
    np.add.at(grid, (slice_of(prompt_tokens), slice_of(output_tokens)), 1)
    return grid


def slice_of(values: IntArray) -> IntArray:
    place = np.empty(len(values), dtype=np.int64)
    place[np.argsort(values, kind="stable")] = np.arange(len(values)) * SLICES // len(values)
    return place


def with_output_weight(real: Trace, model: TwinModel) -> TwinModel:
    """Scale the outputs' share of the slow series until their ranks drift as the real ones do.

    The copula weakens it by a factor that is nearly constant, so a few rounds are enough.
    """
    wanted = output_drift(real)
    weight = 0.1
    for _ in range(4):
        model = replace(model, slow_in_output=round(min(weight, 1.0), 4))
        drawn = np.mean([output_drift(synthesize(model, seed=seed)) for seed in SEEDS])
        weight *= wanted / float(drawn)
    return model


def output_drift(trace: Trace) -> float:
    """The mean autocorrelation of output ranks over the nearest two hundred requests."""
    return float(correlations(ranks(trace.output_tokens), REQUEST_LAGS).mean())


def mismatch(real: Trace, model: TwinModel) -> float:
    """Compare burstiness and memory of the window counts, averaged over seeds."""
    twins = [window_figures(synthesize(model, seed=seed)) for seed in SEEDS]
    error = np.mean(twins, axis=0) - window_figures(real)
    return float(error[0] ** 2 * 10 + np.mean(error[1:] ** 2))


def window_figures(trace: Trace) -> FloatArray:
    windows = int(trace.arrival[-1] // 10)
    counts = np.bincount((trace.arrival // 10).astype(np.int64))[:windows]
    cv = counts.std() / counts.mean()
    return np.concatenate(([cv], correlations(counts.astype(np.float64), WINDOW_LAGS)))


def correlations(values: FloatArray, lags: Sequence[int]) -> FloatArray:
    return np.array([autocorrelation(values, lag) or 0.0 for lag in lags])


def measure(real: Trace, twin: Trace) -> TwinFidelity:
    real_windows, twin_windows = burstiness(real.arrival), burstiness(twin.arrival)
    assert real_windows is not None
    assert twin_windows is not None
    figures = TwinFidelity(
        ks_prompt_tokens=ks(real.prompt_tokens, twin.prompt_tokens),
        ks_output_tokens=ks(real.output_tokens, twin.output_tokens),
        ks_gap_s=ks(np.diff(real.arrival), np.diff(twin.arrival)),
        spearman=spearman(twin.prompt_tokens, twin.output_tokens) or 0.0,
        spearman_real=spearman(real.prompt_tokens, real.output_tokens) or 0.0,
        window_cv=twin_windows.cv,
        window_cv_real=real_windows.cv,
        window_lag1=twin_windows.lag1_autocorrelation or 0.0,
        window_lag1_real=real_windows.lag1_autocorrelation or 0.0,
        mean_gap_s=float(np.diff(twin.arrival).mean()),
        mean_gap_s_real=float(np.diff(real.arrival).mean()),
    )
    return TwinFidelity(**{name: round(value, 5) for name, value in asdict(figures).items()})


def ks(first: FloatArray | IntArray, second: FloatArray | IntArray) -> float:
    """The largest distance between two empirical distributions (Kolmogorov-Smirnov)."""
    points = np.concatenate((first, second))
    below_first = np.searchsorted(np.sort(first), points, side="right") / len(first)
    below_second = np.searchsorted(np.sort(second), points, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def to_json(model: TwinModel, real: Trace, checksum: str) -> str:
    """Write one key per line, so that a refit gives a readable diff."""
    copula = model.copula.astype(int).tolist()
    assert model.fidelity is not None
    record = {
        "schema_version": 1,
        "name": model.name,
        "title": model.title,
        "licence": model.licence,
        "citation": model.citation,
        "fitted_to": {
            "sha256": checksum,
            "requests": len(real),
            "prompt_tokens": int(real.prompt_tokens.sum()),
            "output_tokens": int(real.output_tokens.sum()),
            "span_s": float(real.arrival[-1]),
        },
        "fidelity": asdict(model.fidelity),
        "requests": model.requests,
        "memory_requests": model.memory_requests,
        "slow_in_gap": model.slow_in_gap,
        "slow_in_output": model.slow_in_output,
        "levels": model.levels.tolist(),
        "prompt_tokens": model.prompt_tokens.tolist(),
        "output_tokens": model.output_tokens.tolist(),
        "gap_s": model.gap_s.tolist(),
        "copula": copula,
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
