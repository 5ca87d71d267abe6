"""Which layers go to the host when only their number is decided: evenly, and out of phase.

Requests choose one after another, the largest groups first; each takes its h layers among those
whose groups are smallest so far, ties broken in van der Corput's order, every prefix of which is
spread evenly. So of the pages of one layer's group

    max_j sum_{r: j in host_r} F_r  <=  mean + max F (1 - 1 / L)

A request that already has layers on the host keeps as many of them there as it can: moving its KV
about would cost more than a perfect spread is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from orbitflow.placement import HostLayers


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
        at_home = set(wish.now) if keeps else set()
        free = [layer for layer in order if layer not in wish.fixed]
        free.sort(key=lambda layer: (layer not in at_home, loads[layer]))
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
