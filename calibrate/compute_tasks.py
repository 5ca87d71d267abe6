"""Decode and prefill to be measured: which batches, contexts, prompts and chunks there are.

    decode    (requests, context tokens) at the middle of the passes       all KV on the device
    prefill   (tokens, tokens behind them), whole prompts and pieces, alone in their passes
    serving   both, of a small batch of mixed requests served to their ends

A measurement of decode is the middle of its passes without the first, in which buffers grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import inf

import numpy as np

from orbitflow.calibrate.bench import Bench
from orbitflow.calibrate.runner import MeasureTask, Sample, is_out_of_memory, middle_mean
from orbitflow.calibrate.sweep import Sweep
from orbitflow.request import Request

DECODE, PREFILL, OUTSIDE, SERVING = "decode", "prefill", "outside", "serving"
SINGLE = "single passes"  # of decode, one by one: how far they lie apart
_LEAST_CONTEXT = 4
_OUTSIDE_TIMES = 8
_SHORTEST_PROMPT, _LEAST_OUTPUTS, _STRIDE = 32, 6, 5


def decode_tasks(bench: Bench, sweep: Sweep) -> Iterator[MeasureTask]:
    """Batches of equal contexts over every fill of the capacity."""
    for requests, context in decode_grid(bench, sweep):
        yield MeasureTask(
            DECODE,
            requests * context,
            f"decode of {requests} x {context} tokens",
            partial(_decode, bench, sweep, requests, context),
        )


def decode_grid(bench: Bench, sweep: Sweep) -> list[tuple[int, int]]:
    """Requests and the context of each, that fit to their ends. Batches end with the decoder's
    blocks of rows: beyond, a pass goes up by steps, and serving does not go there by default.
    """
    limits, grown = bench.limits, sweep.passes + 1
    rows = bench.decoder.block_rows or max(sweep.batches)
    grid = set()
    for requests in [batch for batch in sweep.batches if batch <= rows]:
        most = limits.gpu_pages // (limits.layers * requests) * limits.page_tokens
        most = min(most, bench.decoder.max_context_tokens) - grown
        for fill in sweep.fills:
            context = min(int(limits.capacity_tokens * fill) // requests, most)
            if context >= _LEAST_CONTEXT:
                grid.add((requests, context))
    return sorted(grid)


def outside_task(bench: Bench) -> MeasureTask:
    """Embedding and logits of one block of rows: what lies outside the layers."""
    return MeasureTask(OUTSIDE, 0.0, "outside the layers", partial(_outside, bench))


def prefill_tasks(bench: Bench, sweep: Sweep) -> Iterator[MeasureTask]:
    """Prompts from the shortest up to the first that takes too long, or does not fit; and pieces.

    Finding out warms everything up.
    """
    longest = 0
    for tokens in sorted(sweep.prompts):
        if tokens + 1 > bench.longest_tokens:
            break
        longest, took_s = tokens, _first_time_s(bench, tokens)
        yield MeasureTask(
            PREFILL, tokens, f"prefill of {tokens} tokens", partial(_prefill, bench, tokens, 0)
        )
        if took_s > sweep.prompt_s:
            break
    for tokens, chunk in sweep.chunked:
        if tokens <= 2 * longest and tokens + 1 <= bench.longest_tokens:
            label = f"prefill of {tokens} tokens in pieces of {chunk}"
            yield MeasureTask(PREFILL, tokens, label, partial(_prefill, bench, tokens, chunk))
    mixed = serving_requests(bench, longest, sweep.served)
    if mixed:
        yield MeasureTask(
            SERVING, longest, f"serving {len(mixed)} requests", partial(_serve, bench, mixed)
        )


def serving_requests(bench: Bench, longest_prompt: int, count: int) -> list[Request]:
    """Prompts from short to long and outputs that end one by one, in an order that mixes them."""
    prompts = np.geomspace(_SHORTEST_PROMPT, max(longest_prompt, _SHORTEST_PROMPT + 1), count)
    requests: list[Request] = []
    for number in range(count):
        place = number * _STRIDE % count
        outputs = _LEAST_OUTPUTS + 5 * (number * 7 % count)
        tokens = min(int(prompts[place]), bench.longest_tokens - outputs)
        if tokens > 0:
            requests.append(Request(len(requests), 0.0, tokens, outputs))
    return requests


def _first_time_s(bench: Bench, tokens: int) -> float:
    try:
        return bench.prefill(tokens)[0].pass_s
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return inf  # the task will fail and say so


def typical_s(pass_s: Sequence[float]) -> float:
    """A pass among several; the first one grows buffers."""
    return middle_mean(pass_s[1:] if len(pass_s) > 1 else pass_s)


def middle(requests: int, context: int, passes: int) -> tuple[float, float]:
    """What decode is a function of, at the middle of these passes without the first."""
    return float(requests), requests * (context + 1 + passes / 2)


def _decode(bench: Bench, sweep: Sweep, requests: int, context: int) -> Sequence[Sample]:
    found = bench.decode([context] * requests, sweep.passes, most_s=sweep.decode_s)
    varied = middle(requests, context, len(found.pass_s))
    single = [Sample(SINGLE, varied, pass_s) for pass_s in found.pass_s[1:].tolist()]
    return [Sample(DECODE, varied, typical_s(found.pass_s.tolist())), *single]


def _prefill(bench: Bench, tokens: int, chunk: int) -> Sequence[Sample]:
    return [
        Sample(PREFILL, (float(piece.tokens), float(piece.prior_tokens)), piece.pass_s)
        for piece in bench.prefill(tokens, chunk)
    ]


def _serve(bench: Bench, requests: Sequence[Request]) -> Sequence[Sample]:
    decoded, prompts = bench.serve(requests)
    samples = [
        Sample(PREFILL, (float(piece.tokens), float(piece.prior_tokens)), piece.pass_s)
        for piece in prompts
    ]
    for found in decoded:
        middle_tokens = found.context_tokens + found.requests * (len(found.pass_s) - 1) / 2
        pass_s = middle_mean(found.pass_s.tolist())
        samples.append(Sample(DECODE, (float(found.requests), middle_tokens), pass_s))
    return samples


def _outside(bench: Bench) -> Sequence[Sample]:
    times = [bench.outside_s() for _ in range(_OUTSIDE_TIMES)]
    return [Sample(OUTSIDE, (1.0,), typical_s(times))]
