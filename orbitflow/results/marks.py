"""Which numbers of a column are marked as its best: those written like the best one.

A difference that is not printed is none to a reader; where all are written alike, none is best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")


def best_as_written(
    values: list[V], write: Callable[[V], str], best: Callable[[list[V]], V]
) -> str | None:
    """How the best value is written; None if it is written like all the others.

    >>> best_as_written([0.996, 0.99604, 0.98], "{:.1%}".format, max)
    '99.6%'
    >>> best_as_written([0.996, 0.99604], "{:.1%}".format, max) is None
    True
    """
    if len({write(value) for value in values}) < 2:
        return None
    return write(best(values))
