"""The ranges of a profile's numbers: any machine there is, and no number that ends a simulation.

Time must go on and stay a number: a decode pass takes at least a nanosecond, and the longest pass
of the longest prompt is far from the largest float. Seconds, tokens, and bytes per second.
"""

from __future__ import annotations

from typing import Annotated

from orbitflow.codec import FieldRange
from orbitflow.machine.perturbation import MOST_NOISE

Time = Annotated[float, FieldRange(0.0, 1e6)]
PassTime = Annotated[float, FieldRange(1e-9, 1e6)]  # a decode pass takes some
TokenTime = Annotated[float, FieldRange(0.0, 1e3)]
PrefillTime = Annotated[float, FieldRange(1e-18, 1e3)]
Rate = Annotated[float, FieldRange(1.0)]
Factor = Annotated[float, FieldRange(1e-3, 1e3)]
Slowdown = Annotated[float, FieldRange(0.0, 1e3)]
Share = Annotated[float, FieldRange(0.0, 1.0)]
Noise = Annotated[float, FieldRange(0.0, MOST_NOISE)]
Pages = Annotated[int, FieldRange(1, 1e6)]
CacheTokens = Annotated[int, FieldRange(1, 1e12)]
Gpus = Annotated[int, FieldRange(1, 1e6)]
