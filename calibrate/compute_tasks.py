"""Compute to be measured: batches, contexts, prompts and chunks, and the CPU's work on host KV.

    decode    (requests, context tokens) at the middle of the passes       all KV on the device
    prefill   (tokens, tokens before them), whole prompts and pieces, alone in their passes
    serving   both, of a small batch of mixed requests served to their ends
    host      KV bytes / time of decode attention over host pages, and of gathering a tenth of the
              tokens, scattered; one thread, as the backend has beside its copies

A measurement of decode is the middle of its passes without the first, in which buffers grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf

import numpy as np
import torch

from orbitflow.backend.attention.reference import Scratch, decode_attention
from orbitflow.calibrate.bench import Bench, ChunkTime
from orbitflow.calibrate.runner import MeasureTask, Sample, is_out_of_memory, middle_mean
from orbitflow.calibrate.sweep import Sweep
from orbitflow.machine.profile import HostFit
from orbitflow.request import Request

DECODE, PREFILL, OUTSIDE, SERVING = "decode", "prefill", "outside", "serving"
SINGLE = "single passes"  # of decode, one by one: how far they lie apart
_LEAST_CONTEXT = 4
_OUTSIDE_TIMES = 8
_HOST_PAGES, _GATHERED_SHARE, _HOST_TIMES = 64, 10, 7
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
    """Requests and the context of each, such that all fit to their ends. Batches are at most one
    block of rows: beyond it, a pass time rises by steps, and serving stays below it by default.
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
    """Prompts from the shortest up to the first that takes too long or does not fit; then pieces.

    Trying them also warms up the machine.
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
    """Prompts from short to long, and outputs that end one by one, in mixed order."""
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
    """The middle of some passes without the first, which grows buffers."""
    return middle_mean(pass_s[1:] if len(pass_s) > 1 else pass_s)


def middle(requests: int, context: int, passes: int) -> tuple[float, float]:
    """Requests and context tokens at the middle of these passes without the first."""
    return float(requests), requests * (context + 1 + passes / 2)


def _decode(bench: Bench, sweep: Sweep, requests: int, context: int) -> Sequence[Sample]:
    found = bench.decode([context] * requests, sweep.passes, most_s=sweep.decode_s)
    varied = middle(requests, context, len(found.pass_s))
    single = [Sample(SINGLE, varied, pass_s) for pass_s in found.pass_s[1:].tolist()]
    return [Sample(DECODE, varied, typical_s(found.pass_s.tolist())), *single]


def _prefill(bench: Bench, tokens: int, chunk: int) -> Sequence[Sample]:
    return _prefill_samples(bench.prefill(tokens, chunk))


def _prefill_samples(pieces: Sequence[ChunkTime]) -> list[Sample]:
    return [
        Sample(PREFILL, (float(piece.tokens), float(piece.prior_tokens)), piece.pass_s)
        for piece in pieces
    ]


def _serve(bench: Bench, requests: Sequence[Request]) -> Sequence[Sample]:
    decoded, prompts = bench.serve(requests)
    samples = _prefill_samples(prompts)
    for found in decoded:
        middle_tokens = found.context_tokens + found.requests * (len(found.pass_s) - 1) / 2
        pass_s = middle_mean(found.pass_s.tolist())
        samples.append(Sample(DECODE, (float(found.requests), middle_tokens), pass_s))
    return samples


def _outside(bench: Bench) -> Sequence[Sample]:
    times = [bench.outside_s() for _ in range(_OUTSIDE_TIMES)]
    return [Sample(OUTSIDE, (1.0,), typical_s(times))]


def host_fit(bench: Bench) -> HostFit:
    """Time the CPU on pages of the host pool, which are overwritten."""
    pages = bench.plane.host.storage[:_HOST_PAGES]
    pages.normal_()
    decoder, scratch = bench.decoder, Scratch()
    query = torch.zeros(decoder.heads, decoder.head_dim, dtype=decoder.dtype)
    segments = [(page[0], page[1]) for page in pages]
    tokens = pages.transpose(1, 2).reshape(-1, 2 * decoder.kv_heads * decoder.head_dim)
    scattered = torch.arange(0, len(tokens), _GATHERED_SHARE)
    gathered = tokens[scattered]
    with torch.inference_mode():
        attention_s = _median_s(bench, lambda: decode_attention(query, segments, scratch))
        gather_s = _median_s(bench, lambda: torch.index_select(tokens, 0, scattered))
    return HostFit(pages.nbytes / attention_s, gathered.nbytes / gather_s)


def _median_s(bench: Bench, work: Callable[[], object]) -> float:
    times = []
    for _ in range(_HOST_TIMES):
        began_s = bench.clock.now_s()
        work()
        times.append(max(bench.clock.now_s() - began_s, 1e-9))
    return float(np.median(times[1:]))
