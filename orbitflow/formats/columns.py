"""Columns of an .npz file that this project wrote, read back strictly.

`files.ColumnFile` writes each column as one member: not compressed, one dimension, numbers of 8
bytes. Nothing else is read. So a column takes as much memory as its file, whatever a header claims,
and no object is ever unpickled.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitflow.errors import UserError
from orbitflow.formats.reading import PathLike, open_plain

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '<([fi])8', 'fortran_order': False, 'shape': \((\d{1,18}),\), \} *\n"
)
Columns = Mapping[str, npt.NDArray[Any]]


def read_columns(path: PathLike, remedy: str, names: Sequence[str] | None = None) -> Columns:
    """These columns, or all of them. They are equally long, and every number is finite.

    Raise a UserError that names the file, and the column and row where there is one.
    """
    file_name = os.fspath(path)
    with open_plain(path, remedy) as file:
        try:
            with zipfile.ZipFile(file) as members:
                known = {info.filename.removesuffix(_SUFFIX): info for info in members.infolist()}
                for name in names or ():
                    if name not in known:
                        raise UserError(f"{file_name} lacks {name}: {remedy}")
                found = {name: _column(members, known[name]) for name in names or known}
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as failure:
            reason = " ".join(str(failure).split())
            raise UserError(f"{file_name} is broken ({reason}): {remedy}") from None
        except RuntimeError:  # what `zipfile` raises for a member with a password
            raise UserError(f"{file_name} is broken (it is encrypted): {remedy}") from None
    for name, column in found.items():
        rows = len(next(iter(found.values())))
        if len(column) != rows:
            raise UserError(
                f"{file_name} is broken (column {name} has {len(column)} rows, others {rows}): "
                f"{remedy}"
            )
        if not (good := np.isfinite(column)).all():
            row = int(np.argmin(good))
            what = f"column {name}, row {row} is {column[row]}"
            raise UserError(f"{file_name} is broken ({what}): {remedy}")
    return found


def _column(members: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"column {info.filename[:40]!r} is compressed")
    content = members.read(info)
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(content[start:end])
    if not content.startswith(_MAGIC) or header is None:
        raise ValueError(f"column {info.filename[:40]!r} is no list of numbers of 8 bytes")
    kind, rows = header[1].decode(), int(header[2])
    if rows * 8 != len(content) - end:
        raise ValueError(f"column {info.filename[:40]!r} is not as long as it says")
    return np.frombuffer(content, f"<{kind}8", offset=end)
