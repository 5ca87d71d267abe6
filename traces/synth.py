"""Synthetic twins: requests drawn from what was fitted to a public trace that we may not ship.

Marginals come from quantile tables: a latent series is replaced by its ranks, and ranks by
quantiles, so lengths and gaps are right whatever the latent is. One slow series (an AR(1) over
requests) is mixed into the latents of gaps and outputs: quiet spells have longer gaps and longer
answers, as in the original. Outputs follow inputs through a grid of rank frequencies (a copula).
Fitted by scripts/fit_twin.py. The same seed gives the same trace.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.errors import TraceError, UserError, nearest
from orbitflow.traces.trace import Trace, on_grid

DATA = Path(__file__).with_name("data")
MAX_REQUESTS = 10**8


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far the twin of seed 0 is from the original, measured when it was fitted.

    `ks_*` are Kolmogorov-Smirnov distances.
    """

    ks_prompt_tokens: float
    ks_output_tokens: float
    ks_gap_s: float
    spearman: float
    spearman_real: float
    window_cv: float
    window_cv_real: float
    window_lag1: float
    window_lag1_real: float
    mean_gap_s: float
    mean_gap_s_real: float


@dataclass(frozen=True, slots=True)
class TwinModel:
    """What was fitted to one trace; `levels` are the probabilities of the quantile tables.

    `copula[i, j]` counts requests with the input's rank in slice i and the output's in slice j.
    The slow series forgets over `memory_requests` and has the weights `slow_in_*`, 0 to 1.
    """

    name: str
    title: str
    licence: str
    citation: str
    requests: int
    levels: FloatArray
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    gap_s: FloatArray
    copula: FloatArray
    memory_requests: float
    slow_in_gap: float
    slow_in_output: float
    fidelity: Fidelity | None = None


def twin_names() -> list[str]:
    """List the traces that have a bundled twin."""
    return sorted(path.stem for path in DATA.glob("*.json"))


def load_model(name: str) -> TwinModel:
    """Load the bundled model of a trace; raise a TraceError if there is none."""
    path = DATA / f"{name}.json"
    if name not in twin_names():
        raise TraceError(f"no synthetic twin of {name!r}; {nearest(name, twin_names())}")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for about in ("schema_version", "fitted_to"):  # for people who read the file
        del record[about]
    for table in ("levels", "prompt_tokens", "output_tokens", "gap_s", "copula"):
        record[table] = np.array(record[table], dtype=np.float64)
    record["fidelity"] = Fidelity(**record["fidelity"])
    return TwinModel(**record)


def synthesize(model: TwinModel, num_requests: int | None = None, seed: int = 0) -> Trace:
    """Draw a trace from a model, as long as the original unless told otherwise."""
    count = model.requests if num_requests is None else num_requests
    if not 1 <= count <= MAX_REQUESTS:
        raise UserError(f"{count} requests: must be 1 to {MAX_REQUESTS:,}")
    if seed < 0:
        raise UserError(f"seed {seed}: must be at least 0")
    rng = np.random.Generator(np.random.PCG64(seed))
    slow = _slow_series(rng, count, model.memory_requests)
    gap_rank = _mixed(rng, slow[1:], model.slow_in_gap)
    output_noise = _mixed(rng, slow, model.slow_in_output)
    prompt_rank = _rank(rng.random(count))
    output_rank = _rank(_through_copula(model.copula, prompt_rank, output_noise))
    gap_s = np.interp(gap_rank, model.levels, model.gap_s)
    return Trace(
        name=model.name,
        source=f"synthetic twin of {model.title} (seed {seed})",
        format="synthetic",
        arrival=on_grid(np.concatenate(([0.0], np.cumsum(gap_s)))),
        arrival_unit="s",
        prompt_tokens=_lengths(prompt_rank, model.levels, model.prompt_tokens),
        output_tokens=_lengths(output_rank, model.levels, model.output_tokens),
    )


def _slow_series(rng: np.random.Generator, count: int, memory_requests: float) -> FloatArray:
    keep = float(np.exp(-1 / memory_requests))
    shocks = rng.standard_normal(count)
    shocks[1:] *= np.sqrt(1 - keep * keep)
    path = accumulate(shocks.tolist(), lambda level, shock: keep * level + shock)
    return _rank(np.fromiter(path, np.float64, count))


def _mixed(rng: np.random.Generator, slow: FloatArray, weight: float) -> FloatArray:
    """Mix the slow series with noise; `weight` is its share of the variance."""
    noise = rng.random(len(slow))
    return _rank(np.sqrt(weight) * slow + np.sqrt(1 - weight) * noise)


def _rank(values: FloatArray) -> FloatArray:
    """Replace values by their ranks, spread evenly over 0 to 1."""
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / len(values)
    return rank


def _through_copula(copula: FloatArray, prompt: FloatArray, noise: FloatArray) -> FloatArray:
    """Turn noise into output ranks whose distribution depends on the prompt's rank."""
    slices, columns = copula.shape
    edges = np.linspace(0, 1, columns + 1)
    output = np.empty(len(prompt))
    place = np.minimum((prompt * slices).astype(np.int64), slices - 1)
    for index, counts in enumerate(copula):
        here = place == index
        cumulative = np.concatenate(([0.0], np.cumsum(counts))) / counts.sum()
        output[here] = np.interp(noise[here], cumulative, edges)
    return output


def _lengths(rank: FloatArray, levels: FloatArray, table: FloatArray) -> IntArray:
    return np.maximum(1, np.rint(np.interp(rank, levels, table))).astype(np.int64)
