"""Columns that grow on disk while a run lasts, and end as an .npz file: what `numpy.savez` would
write of them, byte for byte, in the memory of one block of rows.

Blocks lie one after the other, each column by column, in a file without a name, so that nothing can
leave it behind. In the end every column is gathered from its blocks.
"""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from orbitflow.files import replacing

_BYTES = 8  # of every value


class ColumnFile:
    """Blocks of rows on their way to an .npz file. The first block says which columns there are."""

    def __init__(self, blocks: IO[bytes]) -> None:
        self._blocks = blocks
        self._codes: Mapping[str, str] = {}  # type codes by column
        self._rows: list[int] = []  # of every block

    def write(self, block: Mapping[str, array[Any]]) -> None:
        """Append rows: for every column its values, all equally many."""
        codes = {name: column.typecode for name, column in block.items()}
        assert not self._rows or codes == self._codes, "another block has other columns"
        (rows,) = {len(column) for column in block.values()}
        self._codes = codes
        self._rows.append(rows)
        for column in block.values():
            assert column.itemsize == _BYTES
            self._blocks.write(column)

    def save(self, path: Path) -> None:
        """Make the file, which is there whole or not at all."""
        with replacing(path) as neighbour, zipfile.ZipFile(neighbour, "w") as out:
            for index, (name, code) in enumerate(self._codes.items()):
                with out.open(f"{name}.npy", "w", force_zip64=True) as column:
                    self._gather(index, code, column)

    def _gather(self, index: int, code: str, out: IO[bytes]) -> None:
        shape = (sum(self._rows),)
        header = {"descr": np.dtype(code).str, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(out, header)
        start = 0
        for rows in self._rows:
            self._blocks.seek(start + index * rows * _BYTES)
            out.write(self._blocks.read(rows * _BYTES))
            start += len(self._codes) * rows * _BYTES


@contextlib.contextmanager
def column_file(path: Path) -> Iterator[ColumnFile]:
    """Take blocks of rows, and make the file of them unless something fails meanwhile."""
    with tempfile.TemporaryFile(dir=path.parent) as blocks:
        columns = ColumnFile(blocks)
        yield columns
        columns.save(path)
