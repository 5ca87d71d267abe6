"""Columns of NumPy, and the frames of pandas or polars that are made of them.

A column is `int64`, `float64` (NaN where there is no value), `bool`, or texts with None as objects.
pandas and polars are no dependencies: the first of the two that is installed is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from orbitflow.errors import UserError
from orbitflow.results.kept import Columns

Kind: TypeAlias = Literal["pandas", "polars", "numpy"]

_LIBRARIES: tuple[Kind, ...] = ("pandas", "polars")


def frame_of(columns: Columns, kind: Kind | None = None) -> Any:
    """A `pandas.DataFrame`, a `polars.DataFrame`, or the columns themselves for "numpy". By
    default pandas where it is installed, else polars, else NumPy.

    Raise a UserError for another kind, or one that is not installed.
    """
    if kind is not None and kind not in get_args(Kind):
        raise UserError(f"kind={kind!r}: write 'pandas', 'polars' or 'numpy', or leave it out")
    wanted: str = kind or next((k for k in _LIBRARIES if find_spec(k) is not None), "numpy")
    if wanted == "numpy":
        return columns
    try:
        library = import_module(wanted)
    except ImportError:
        raise UserError(f"kind={wanted!r} needs {wanted}: pip install {wanted}") from None
    texts = np.dtype(object)  # which polars types better from a list
    return library.DataFrame(
        {name: c.tolist() if c.dtype == texts else c for name, c in columns.items()}
    )


def columns_of(rows: Sequence[Mapping[str, object]]) -> Columns:
    """Columns of rows, in the order in which their names first appear; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: column([row.get(name) for row in rows]) for name in names}


def column(values: Iterable[object]) -> npt.NDArray[Any]:
    """One column of plain values."""
    listed = list(values)
    kinds = {type(value) for value in listed}
    if kinds == {bool}:
        return np.array(listed, dtype=np.bool_)
    if kinds == {int}:
        return np.array(listed, dtype=np.int64)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in listed], dtype=np.float64)
    return np.array(listed, dtype=object)
