"""The simulation's timeline beside a run's: layer by layer, as the run's is.

The figures of a validation are those of fidelity `step`; only this file comes from fidelity
`layer`, whose times may differ from them by what `tests/test_layers.py` bounds.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from orbitflow.config import Fidelity
from orbitflow.files import replacing
from orbitflow.scenario import Scenario
from orbitflow.sim.run import simulate_policy

TIMELINE = "timeline.json"


def without_timeline(scenario: Scenario) -> Scenario:
    """The same scenario, simulated without a timeline."""
    return replace(scenario, config=replace(scenario.config, timeline=False))


def write_timeline(scenario: Scenario, name: str, folder: Path) -> None:
    """Simulate one policy for its timeline alone, which replaces one that is there."""
    config = replace(scenario.config, timeline=True, fidelity=Fidelity.LAYER)
    simulate_policy(
        replace(scenario, config=config), name, _TimelineOnly(folder), lambda done: None
    )


class _TimelineOnly:
    """Outputs of which only the timeline is kept, once it is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file of lines."""
        if Path(name).name != TIMELINE:
            with open(os.devnull, "w", encoding="utf-8") as out:
                yield out
            return
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as neighbour, neighbour.open("w", encoding="utf-8") as out:
            yield out

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[_TimelineOnly]:
        """Open what forgets all that it is told."""
        yield self

    def write(self, block: Mapping[str, array[Any]]) -> None:
        """Write nothing."""
