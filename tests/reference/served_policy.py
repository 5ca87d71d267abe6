"""A policy that parks, resumes, loads ahead and moves layers about at random: more kinds of moves
in more orders than any that makes sense. It needs a device with room for everybody.
"""

from __future__ import annotations

from random import Random

from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import HostLayers, Placement
from orbitflow.request import Request


class Restless(Policy):
    """Everything by dice. With `drops`, KV is lost now and then, and some of it is wanted back at
    once.
    """

    name = "restless"
    lengths = Lengths.NONE
    admission = "everybody"

    def __init__(self, seed: int, overlap: Overlap = Overlap.RING, *, drops: bool = False) -> None:
        self.data_plane = DataPlane(overlap, write_through=True, ring_groups=1 + seed % 3)
        self._random = Random(seed)
        self._drops = drops

    def decide(self, view: View) -> Decision:
        """Park some, let some go on, and put everybody's KV somewhere else."""
        dice = self._random
        admit = [request.id for request in view.waiting][: view.batch_room]
        paused = [s.id for s in view.paused]
        resume = [i for i in paused if dice.random() < 0.4]
        pause = [s.id for s in view.active if dice.random() < 0.25]
        if len(pause) == len(view.active) and not (admit or resume):
            pause, resume = pause[1:], paused[:1]
        drop = pause[::2] if self._drops else []
        resume += drop[1:]
        where = {i: self._layers() for i in (*admit, *paused, *(s.id for s in view.active))}
        return Decision(
            admit=tuple(admit), pause=tuple(i for i in pause if i not in drop), drop=tuple(drop),
            resume=tuple(resume), placement=Placement((), where), window=dice.randint(1, 7),
        )  # fmt: skip

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """As if everything were on both sides."""
        pages = self.limits.whole_pages(request.final_tokens)
        return pages, pages

    def _layers(self) -> HostLayers:
        layers, dice = self.limits.layers, self._random
        return tuple(sorted(dice.sample(range(layers), dice.choice((0, 2, layers // 2, layers)))))
