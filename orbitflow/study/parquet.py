"""`cells.parquet`: the rows that count, one per simulation and bound, a column per key and figure.

A figure that is called like an option of a run is `figures.<name>`, so that no two columns ever are
called alike. Whole numbers are INT64, other numbers and columns without any value DOUBLE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orbitflow import __version__
from orbitflow.errors import UserError, how_to_install
from orbitflow.study.folder import StudyFolder, replacing
from orbitflow.study.keys import is_key, kind_of
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import SCHEMA_VERSION, Study

FILE = "cells.parquet"
_OWN: Mapping[str, type] = {"seed": int, "status": str, "error": str, "slo_tbt_s": float}
_ARROW = {str: "string", bool: "bool", int: "int64", float: "float64"}


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
    table = pa.table({name: pa.array(values, _ARROW[t]) for name, (t, values) in columns.items()})
    metadata = {"schema_version": str(SCHEMA_VERSION), "orbitflow_version": __version__}
    path = folder.path / FILE
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
    return path


def column_of(figure: str) -> str:
    """The column of a figure."""
    return f"figures.{figure}" if is_key(figure) or figure in _OWN else figure


def _columns(keys: Sequence[str], rows: Sequence[Row]) -> dict[str, tuple[type, list[object]]]:
    """The values of every column, and their type. A seed or limit in the grid is the row's own."""
    columns = {key: (kind_of(key), [row["cell"].get(key) for row in rows]) for key in keys}
    columns |= {name: (kind, [row[name] for row in rows]) for name, kind in _OWN.items()}
    figures: list[Mapping[str, object]] = [row["figures"] or {} for row in rows]
    for name in dict.fromkeys(name for found in figures for name in found):
        values = [found.get(name) for found in figures]
        kinds = {type(value) for value in values if value is not None}
        kind = next((one for one in (str, bool, int) if kinds == {one}), float)
        columns[column_of(name)] = (kind, values)
    return columns
