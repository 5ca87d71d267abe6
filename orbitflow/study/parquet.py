"""`cells.parquet`: the rows that count, one per simulation and bound, a column per key and figure.

A figure that is called like an option of a run is `figures.<name>`, so that no two columns ever are
called alike. Whole numbers are INT64, other numbers and columns without any value DOUBLE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orbitflow import __version__
from orbitflow.errors import UserError, how_to_install
from orbitflow.study.folder import StudyFolder, replacing
from orbitflow.study.keys import Value, is_key, kind_of
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import SCHEMA_VERSION, Study

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "cells.parquet"
_OWN: Mapping[str, type[Value]] = {"seed": int, "status": str, "error": str, "slo_tbt_s": float}


class _Column(NamedTuple):
    """Values of one kind, or None."""

    kind: type[Value]
    values: list[object]


def check_parquet() -> None:
    """Raise a UserError if Parquet cannot be written, before anything is computed for it."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(f"--parquet needs PyArrow: {how_to_install('parquet')}") from None


def write_parquet(study: Study, folder: StudyFolder) -> Path:
    """Write the rows of a study beside `cells.jsonl`, in the order of the study. Give the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [folder.rows[key] for job in study.jobs() if (key := job_id(job)) in folder.rows]
    columns = _columns(study.grid.keys, rows)
    metadata = {"schema_version": str(SCHEMA_VERSION), "orbitflow_version": __version__}
    table = pa.table({name: _array(column) for name, column in columns.items()})
    path = folder.path / FILE
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
    return path


def column_of(figure: str) -> str:
    """The column of a figure."""
    return f"figures.{figure}" if is_key(figure) or figure in _OWN else figure


def _columns(keys: Sequence[str], rows: Sequence[Row]) -> dict[str, _Column]:
    figures: Sequence[Mapping[str, object]] = [row["figures"] or {} for row in rows]
    columns = {}
    for key in keys:  # the bound of a group has no policy
        columns[key] = _Column(kind_of(key), [row["cell"].get(key) for row in rows])
    for (
        name,
        kind,
    ) in _OWN.items():  # a seed or tau in the grid is the one that the row was run with
        columns[name] = _Column(kind, [row[name] for row in rows])
    for name in dict.fromkeys(name for found in figures for name in found):
        values = [found.get(name) for found in figures]
        columns[column_of(name)] = _Column(_kind(values), values)
    return columns


def _kind(values: Sequence[object]) -> type[Value]:
    """What all the values are; numbers of both kinds are floats."""
    kinds = {type(value) for value in values if value is not None}
    return next((kind for kind in (str, bool, int) if kinds == {kind}), float)


def _array(column: _Column) -> pa.Array:
    import pyarrow as pa

    arrow = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return pa.array(column.values, arrow[column.kind])
