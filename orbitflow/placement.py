"""Which layers of a request keep their KV on the host.

Layers are numbered from 0 in execution order. A stride of distance d puts layer l on the host iff
``l mod (d + 1) == d`` (the OrbitFlow paper, arXiv 2601.10729); any other set is legal as well. All
KV of one (request, layer) moves together, except the partial tail page, which never leaves the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

HostLayers = tuple[int, ...]  # ascending layer numbers; () keeps everything on the GPU

RESIDENT: HostLayers = ()


@lru_cache(maxsize=4096)
def stride(layers: int, distance: int) -> HostLayers:
    """Host layers of one stride. Distance 0 puts every layer on the host.

    >>> stride(8, 3)
    (3, 7)

    Raise a ValueError for a negative distance.
    """
    if distance < 0:
        raise ValueError(f"distance {distance} must be >= 0")
    return tuple(range(distance, layers, distance + 1))


@lru_cache(maxsize=64)
def useful_distances(layers: int) -> tuple[int, ...]:
    """The widest distance for each number of host layers that strides can reach, widest first.

    Several distances offload equally many layers; the widest leaves the most time to each copy. The
    last one, 1, has every second layer on the host; distance 0 (all of them) is left out, as in the
    paper.

    >>> useful_distances(32)
    (31, 15, 9, 7, 5, 4, 3, 2, 1)
    """
    widest = {layers // (d + 1): d for d in range(1, layers)}
    return tuple(sorted(widest.values(), reverse=True))


class Placement(NamedTuple):
    """Host layers per request: `default`, save for the requests named in `exceptions`."""

    default: HostLayers = RESIDENT
    exceptions: Mapping[int, HostLayers] = {}

    def host_layers(self, request_id: int) -> HostLayers:
        """Host layers that this placement wants for one request."""
        if not self.exceptions:
            return self.default
        return self.exceptions.get(request_id, self.default)


ALL_RESIDENT = Placement()
