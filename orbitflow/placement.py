"""Which layers of a request keep their KV on the host.

Layers are numbered from 0 in execution order. A stride of distance d puts layer l on the host iff
``l mod (d + 1) == d`` (the OrbitFlow paper, arXiv 2601.10729); any other set is legal as well. All
KV of one (request, layer) moves together, except the partial tail page, which never leaves the GPU.

Where only the number of host layers is decided, `lay_out` spreads them evenly and out of phase:
requests choose one after another, the largest groups first; each takes its h layers among those
whose groups are smallest so far, ties broken in van der Corput's order, every prefix of which is
spread evenly. So of the pages of one layer's group

    max_j sum_{r: j in host_r} F_r  <=  mean + max F (1 - 1 / L)

A request that already has layers on the host keeps as many of them there as it can: moving its KV
about would cost more than a perfect spread is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Wish(NamedTuple):
    """One request: how many layers it shall have on the host, and where it has them now.

    `fixed` layers are on their way to the GPU and cannot go to the host.
    """

    host_layers: int
    group_pages: int
    now: HostLayers = ()
    fixed: HostLayers = ()


def lay_out(layers: int, wishes: Sequence[Wish], *, keeps: bool = True) -> list[HostLayers]:
    """Host layers of each request, in the order of `wishes`.

    `keeps` off forgets where they are now: the bound above then holds for sure.
    """
    loads = [0] * layers
    order = even_order(layers)
    found: list[HostLayers] = [()] * len(wishes)
    for row in sorted(range(len(wishes)), key=lambda row: -wishes[row].group_pages):
        wish = wishes[row]
        if not wish.host_layers:
            continue
        free = [layer for layer in order if layer not in wish.fixed]
        free.sort(key=loads.__getitem__)
        if keeps and wish.now:
            at_home = set(wish.now)
            free.sort(key=lambda layer: layer not in at_home)
        chosen = tuple(sorted(free[: wish.host_layers]))
        for layer in chosen:
            loads[layer] += wish.group_pages
        found[row] = chosen
    return found


@lru_cache(maxsize=64)
def even_order(layers: int) -> tuple[int, ...]:
    """Layers in van der Corput's order.

    >>> even_order(8)
    (7, 3, 5, 1, 6, 2, 4, 0)
    """
    bits = max(1, (layers - 1).bit_length())

    def reversed_bits(number: int) -> int:
        return int(format(number, f"0{bits}b")[::-1], 2)

    ranks = sorted(range(layers), key=lambda layer: reversed_bits(layers - 1 - layer))
    return tuple(ranks)
