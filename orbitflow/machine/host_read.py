"""How a decode pass uses the KV that lies on the host.

stream   it crosses the link whole, into the staging ring, and the GPU attends to it
attend   the CPU attends to it; only each request's q goes down and o comes up
select   the CPU gathers `fetched_share` of the tokens and only those cross the link (lossy); the
         first `whole_layers` cross whole; `kept_share` of all host KV, partial keys to choose the
         tokens by, stays on the GPU

With w the share of a host token's KV that the GPU reads per layer, a pass costs the GPU
``base + request n + token (GPU context + sum over host layers of w context / L)``:

    w = 1 (stream, and whole layers)    w = 0 (attend)    w = fetched + kept (select)
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitflow.placement import HostLayers


@dataclass(frozen=True, slots=True)
class HostRead:
    """One of the three ways. `fetched_share` below 1 selects."""

    attends: bool = False
    fetched_share: float = 1.0
    kept_share: float = 0.0
    whole_layers: int = 0

    @property
    def selects(self) -> bool:
        """Whether only a share of the tokens is read."""
        return self.fetched_share < 1

    @property
    def needs_host(self) -> bool:
        """Whether the CPU works on KV, so that its speed must be known."""
        return self.attends or self.selects

    def worked_on(self, layers: HostLayers) -> HostLayers:
        """Those of some host layers whose KV the CPU attends to or gathers from."""
        if self.attends:
            return layers
        return tuple(x for x in layers if x >= self.whole_layers) if self.selects else ()

    @property
    def spared_share(self) -> float:
        """Share of a token's KV that the GPU does not read in a layer that the CPU works on: 1 - w.

        Choosing by the kept keys costs what reading them costs.
        """
        return 1.0 if self.attends else max(0.0, 1 - self.fetched_share - self.kept_share)


STREAM = HostRead()
ATTEND = HostRead(attends=True)
