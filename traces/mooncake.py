"""Mooncake's public traces: the canonical format as they first wrote it, with `hash_ids` only.

Qin et al., Mooncake (FAST 2025). Told apart so that a run says where its requests come from.
"""

from __future__ import annotations

from orbitflow.traces.canonical import is_canonical, open_canonical
from orbitflow.traces.rows import TraceFormat


def _matches(head: str) -> bool:
    first = head.lstrip().partition("\n")[0]
    return is_canonical(head) and '"hash_ids"' in first and '"slo_' not in first


MOONCAKE = TraceFormat(
    name="mooncake",
    title="JSON lines with timestamp (ms), input_length, output_length, hash_ids",
    matches=_matches,
    open=open_canonical,
)
