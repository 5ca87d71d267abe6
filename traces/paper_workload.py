"""The OrbitFlow paper's workloads, drawn anew by its recipe (arXiv 2601.10729, evaluation).

A request is of one of nine classes, the length class of its input by that of its output:
S {128, 256, 512}, M {1024, 2048}, L {4096, 8192} tokens, each give or take a fifth, uniform, and at
least 16. Arrivals count engine steps: gaps are log-normal with mean 1 / lambda and the CV that is
asked for, lambda = rate * requests / sum of output tokens. The GPU gets 23 % of what the batch's
longest requests need at once:

    peak = ceil(sum of the batch_size largest (input + output) / 16),   blocks = ceil(0.23 peak)

The same recipe and seed give the same trace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.errors import UserError
from orbitflow.traces.paper import BLOCK_TOKENS
from orbitflow.traces.trace import MAX_TOKENS, Trace

CENTRES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"S": (128, 256, 512), "M": (1024, 2048), "L": (4096, 8192)}
)
CLASSES = tuple("".join(pair) for pair in product(CENTRES, repeat=2))  # SS, SM, SL, MS, ..., LL
SPREAD = 0.2
SHORTEST = 16
CAPACITY_SHARE = (23, 100)
MOST_REQUESTS = 1_000_000
HEAVIEST = 1e9

MAIN_MIX: Mapping[str, float] = MappingProxyType(
    {"SS": 4, "SM": 7, "SL": 4, "MS": 3, "MM": 8, "ML": 21, "LS": 3, "LM": 2, "LL": 0}
)
"""How many of the 52 requests of the authors' main trace are of each class."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One workload but for its seed: `rate` is a multiple of the base rate, `context` of all
    lengths, `batch` the server's batch size, which its capacity follows from.
    """

    requests: int = 52
    rate: float = 2.0
    cv: float = 1.0
    batch: int = 4
    context: float = 1.0
    mix: Mapping[str, float] = field(default_factory=lambda: MAIN_MIX)

    def __post_init__(self) -> None:
        """Raise a UserError for what no workload can be drawn from."""
        if not 1 <= self.requests <= MOST_REQUESTS:
            raise UserError(f"{self.requests} requests: must be 1 to {MOST_REQUESTS:,}")
        if self.batch < 1:
            raise UserError(f"a batch of {self.batch}: must be at least 1")
        for name, value, least, most in (
            ("rate", self.rate, 1e-6, 1e6),
            ("cv", self.cv, 1e-6, 100),
            ("context", self.context, 1e-3, 1e4),
        ):
            if not least <= value <= most:
                raise UserError(f"{name} {value}: must be from {least:g} to {most:g}")
        _check_mix(self.mix)


def draw(recipe: Recipe, seed: int = 0) -> Trace:
    """Draw a trace: arrivals in engine steps from 0 on, with its batch size and KV capacity.

    Raise a UserError for a negative seed.
    """
    if seed < 0:
        raise UserError(f"seed {seed}: must be at least 0")
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = np.array([recipe.mix.get(name, 0.0) for name in CLASSES])
    picks = rng.choice(len(CLASSES), recipe.requests, p=weights / weights.sum())
    prompts = _lengths(rng, [CLASSES[pick][0] for pick in picks], recipe.context)
    outputs = _lengths(rng, [CLASSES[pick][1] for pick in picks], recipe.context)
    gaps = log_normal_gaps(rng, recipe.requests - 1, base_rate(outputs) * recipe.rate, recipe.cv)
    blocks = capacity_blocks(peak_blocks(prompts, outputs, recipe.batch))
    about = (
        f"{recipe.requests} requests, rate {recipe.rate:g} x, CV {recipe.cv:g}, "
        f"batch {recipe.batch}, contexts x {recipe.context:g}, seed {seed}"
    )
    return Trace(
        name=f"paper-r{recipe.rate:g}-cv{recipe.cv:g}-b{recipe.batch}-x{recipe.context:g}-s{seed}",
        source=f"drawn by the OrbitFlow paper's recipe ({about})",
        format="synthetic",
        arrival=np.rint(np.concatenate(([0.0], np.cumsum(gaps)))),
        arrival_unit="steps",
        prompt_tokens=prompts,
        output_tokens=outputs,
        max_batch=recipe.batch,
        kv_capacity_tokens=blocks * BLOCK_TOKENS,
    )


def base_rate(output_tokens: IntArray) -> float:
    """Requests per engine step at rate 1: one request at a time would just keep up."""
    return len(output_tokens) / float(output_tokens.sum())


def log_normal_gaps(rng: np.random.Generator, count: int, rate: float, cv: float) -> FloatArray:
    """Gaps with mean 1 / rate and that coefficient of variation."""
    variance = math.log(cv * cv + 1)
    normal = rng.standard_normal(count)
    gaps: FloatArray = np.exp(-math.log(rate) - variance / 2 + math.sqrt(variance) * normal)
    return gaps


def peak_blocks(prompt_tokens: IntArray, output_tokens: IntArray, batch: int) -> int:
    """Blocks of 16 tokens that the `batch` longest requests hold at their ends, together."""
    longest = np.sort(prompt_tokens + output_tokens)[-batch:]
    return -(-int(longest.sum()) // BLOCK_TOKENS)


def capacity_blocks(peak: int) -> int:
    """Blocks that the GPU gets: 23 % of the peak, rounded up."""
    share, whole = CAPACITY_SHARE
    return -(-peak * share // whole)


def length_class(tokens: int) -> str | None:
    """The class that a length at context 1 can be of; None if it can be of none."""
    fits = (name for name, near in CENTRES.items() for c in near if abs(tokens - c) <= SPREAD * c)
    return next(fits, None)


def _lengths(rng: np.random.Generator, names: list[str], context: float) -> IntArray:
    centres = np.array([CENTRES[name][rng.integers(len(CENTRES[name]))] for name in names])
    low, high = np.ceil(centres * (1 - SPREAD)), np.floor(centres * (1 + SPREAD))
    tokens = rng.integers(low.astype(np.int64), high.astype(np.int64), endpoint=True)
    scaled: IntArray = np.maximum(SHORTEST, np.rint(tokens * context)).astype(np.int64)
    return np.minimum(scaled, MAX_TOKENS)


def _check_mix(mix: Mapping[str, float]) -> None:
    for name, weight in mix.items():
        if name not in CLASSES:
            raise UserError(f"mix: {name!r} is no class: one of {', '.join(CLASSES)}")
        if not 0 <= weight <= HEAVIEST:
            raise UserError(f"mix: the weight {weight} of {name} must be 0 to {HEAVIEST:g}")
    if not sum(mix.values()) > 0:
        raise UserError("mix: no class has a weight: give one, such as ML:1")
