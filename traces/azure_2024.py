"""Azure's LLM inference traces of 2024: as in 2023, with time stamps that say they are UTC.

Stojkovic et al., DynamoLLM (HPCA 2025). A week of one service is 16 to 27 million lines, so a line
without prompt or answer is left out and counted rather than a reason to refuse the file.
"""

from __future__ import annotations

from pathlib import Path

from orbitflow.traces.azure import HEADER, dialect, is_azure, rows_of
from orbitflow.traces.azure_blocks import read_columns
from orbitflow.traces.rows import Columns, ReadOptions, Source, TraceFormat

_UTC = dialect(r"\+00:00", "2024-05-10 00:00:00.009930+00:00")


def _matches(head: str) -> bool:
    stamp = head.strip().partition("\n")[2].lstrip().partition(",")[0]
    return is_azure(head.lstrip()) and _UTC.stamp.fullmatch(stamp) is not None


def _open(path: Path, options: ReadOptions) -> Source:
    empty: list[int] = []
    return Source(rows_of(path, _UTC, empty), notices=lambda: _notices(path, len(empty)))


def _quick(path: Path, limit: int | None) -> tuple[Columns, tuple[str, ...]] | None:
    read = read_columns(path, limit, HEADER.encode(), b"+00:00", zeros=True)
    return None if read is None else (read[0], tuple(_notices(path, read[1])))


def _notices(path: Path, empty: int) -> list[str]:
    return [f"{path.name}: {empty:,} lines with a length of 0 left out"] if empty else []


AZURE_2024 = TraceFormat(
    name="azure-2024",
    title=f"CSV with {HEADER}, stamps ending in +00:00",
    matches=_matches,
    open=_open,
    quick=_quick,
)
