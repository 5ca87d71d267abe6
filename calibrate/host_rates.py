"""What this machine's CPU does with KV in host memory: attend to it, or gather rows of it.

    attention = KV bytes / time of decode attention over host pages
    gather    = KV bytes / time of copying a tenth of its tokens, scattered, side by side

One thread, as the backend has beside its copies. For policies that leave attention to the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from orbitflow.backend.attention.reference import Scratch, decode_attention
from orbitflow.machine.profile import HostFit

from orbitflow.calibrate.bench import Bench

_PAGES = 64
_ROWS_SHARE = 10
_TIMES = 7


def host_fit(bench: Bench) -> HostFit:
    """Time both on pages of the host pool, which nobody else may use meanwhile."""
    pages = bench.plane.host.storage[:_PAGES]
    pages.normal_()
    decoder, scratch = bench.decoder, Scratch()
    query = torch.zeros(decoder.heads, decoder.head_dim, dtype=decoder.dtype)
    segments = [(page[0], page[1]) for page in pages]
    tokens = pages.transpose(1, 2).reshape(-1, 2 * decoder.kv_heads * decoder.head_dim)
    scattered = torch.arange(0, len(tokens), _ROWS_SHARE)
    gathered = tokens[scattered]
    with torch.inference_mode():
        attention_s = _median_s(bench, lambda: decode_attention(query, segments, scratch))
        gather_s = _median_s(bench, lambda: torch.index_select(tokens, 0, scattered))
    return HostFit(pages.nbytes / attention_s, gathered.nbytes / gather_s)


def _median_s(bench: Bench, work: Callable[[], object]) -> float:
    times = []
    for _ in range(_TIMES):
        began_s = bench.clock.now_s()
        work()
        times.append(max(bench.clock.now_s() - began_s, 1e-9))
    return float(np.median(times[1:]))
