"""The name of a generated workload of the paper: `paper`, or `paper:rate=5,cv=4,seed=3`.

Keys are those of a `Recipe` and `seed`; `mix=SS:1+LL:2` weighs length classes. What is left out has
the recipe's default. So a name is all that a run, a study or another process needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from orbitflow.traces.paper_workload import MAIN_MIX, Recipe, draw

from orbitflow.errors import UserError, nearest
from orbitflow.traces.trace import Trace

PREFIX = "paper"
_EXAMPLE = f"{PREFIX}:rate=5,cv=4,seed=3"


def is_paper_name(name: str) -> bool:
    """Whether a name stands for a generated workload."""
    return name == PREFIX or name.startswith(PREFIX + ":")


def paper_trace(name: str) -> Trace:
    """The workload of that name. Raise a UserError if a key or value of it is wrong."""
    recipe, seed = read_paper_name(name)
    return draw(recipe, seed)


def paper_name(recipe: Recipe, seed: int = 0) -> str:
    """The name of a workload; what is the default is left out.

    >>> paper_name(Recipe(rate=5.0), 3)
    'paper:rate=5,seed=3'
    """
    plain = Recipe()
    parts = [
        f"{key}={_text(getattr(recipe, key))}"
        for key in _READERS
        if key != "seed" and getattr(recipe, key) != getattr(plain, key)
    ]
    if seed:
        parts.append(f"seed={seed}")
    return f"{PREFIX}:{','.join(parts)}" if parts else PREFIX


def read_paper_name(name: str) -> tuple[Recipe, int]:
    """The recipe and the seed that a name stands for."""
    values: dict[str, Any] = {}
    for part in filter(None, name.partition(":")[2].split(",")):
        key, equals, text = part.partition("=")
        if not equals:
            raise UserError(f"{name}: cannot read {part!r}: write key=value, such as {_EXAMPLE}")
        if key not in _READERS:
            raise UserError(f"{name}: {key!r} is no key of it: {nearest(key, _READERS)}")
        if key in values:
            raise UserError(f"{name}: {key} is given twice: keep one")
        try:
            values[key] = _READERS[key](text)
        except ValueError:
            raise UserError(f"{name}: cannot read {key}={text}: see {_EXAMPLE}") from None
    seed = values.pop("seed", 0)
    return Recipe(**values), seed


def read_mix(text: str) -> Mapping[str, float]:
    """Weights of classes from `SS:1+LL:2`, or `main` for those of the authors' main trace.

    Raise a ValueError for a weight that is no number.
    """
    if text == "main":
        return MAIN_MIX
    pairs = [part.partition(":") for part in text.split("+")]
    return MappingProxyType({name: float(weight) for name, _, weight in pairs})


_READERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "requests": int,
        "rate": float,
        "cv": float,
        "batch": int,
        "context": float,
        "mix": read_mix,
        "seed": int,
    }
)


def _text(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return "+".join(f"{name}:{_text(weight)}" for name, weight in value.items())
    return repr(value).removesuffix(".0")
