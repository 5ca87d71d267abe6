"""Numbers of lines and documents that are read back, in the ranges that everything else bears.

Beyond them a number is damage: the square of a `Real`, and the sum of very many, is still finite.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

Natural: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Whole: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Layers: TypeAlias = Annotated[int, Meta(ge=1, le=10_000)]  # `machine.model` takes no more
Real: TypeAlias = Annotated[float, Meta(ge=-1e30, le=1e30)]
PositiveReal: TypeAlias = Annotated[float, Meta(gt=0, le=1e30)]
