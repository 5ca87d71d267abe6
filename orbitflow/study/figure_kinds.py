"""What a figure of `summary.json` counts, by the end of its name: its unit is in there."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a figure counts."""

    SHARE = "share"
    SECONDS = "seconds"
    BYTES = "bytes"
    NUMBER = "number"


def kind_of(figure: str) -> Kind:
    """What the figure of that dotted name counts.

    >>> [str(kind_of(name)) for name in ("slo_attainment", "ttft_s.p95", "link.h2d_bytes")]
    ['share', 'seconds', 'bytes']
    >>> str(kind_of("throughput_tokens_per_s"))
    'number'
    """
    if figure.endswith(("_share", "_attainment")):
        return Kind.SHARE
    if figure.endswith("_bytes"):
        return Kind.BYTES
    parts = figure.split(".")
    is_time = any(part.endswith("_s") and not part.endswith("per_s") for part in parts)
    return Kind.SECONDS if is_time else Kind.NUMBER
