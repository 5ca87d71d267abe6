"""Copies in an order drawn from a seed: each direction is first come first served, and how the two
interleave with each other and with compute is anybody's guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import torch

from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.store import KvStore
from orbitflow.engine.policy import DataPlane
from reference.stepped_channel import SteppedChannel


class Shuffler:
    """Moves copies of the manual mode: some now and then, and one by one where somebody waits.

    The seed also says how keen it is: not at all, a little, or very.
    """

    def __init__(self, plane: Plane, seed: int) -> None:
        assert isinstance(plane.up, SteppedChannel)
        assert isinstance(plane.down, SteppedChannel)
        self._random = Random(seed)
        self._most = (0, 2, 6)[seed % 3]
        self._channels = (plane.up, plane.down)
        for channel in self._channels:
            channel.mover = self.one

    def one(self) -> bool:
        """Move a copy of either direction, if one may; whether one did."""
        first, second = self._random.sample(self._channels, 2)
        return first.move_next() or second.move_next()

    def some(self) -> None:
        """Move a few."""
        for _ in range(self._random.randint(0, self._most)):
            self.one()


class StirredStore(KvStore):
    """A store beside which copies take effect at any moment."""

    def __init__(
        self, plane: Plane, layers: int, data_plane: DataPlane, shuffler: Shuffler
    ) -> None:
        super().__init__(plane, layers, data_plane)
        self._shuffler = shuffler

    def begin_layer(self, layer: int) -> None:
        self._shuffler.some()
        super().begin_layer(layer)

    def append(
        self, request_ids: Iterable[int], layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> None:
        self._shuffler.some()
        super().append(request_ids, layer, k, v)

    def extend(self, request_id: int, layer: int, k: torch.Tensor, v: torch.Tensor) -> None:
        super().extend(request_id, layer, k, v)
        self._shuffler.some()

    def end_layer(self, layer: int) -> None:
        self._shuffler.some()
        super().end_layer(layer)
