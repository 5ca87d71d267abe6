"""The one door for files: what passes it, and the line that refuses what does not."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from orbitflow.errors import UserError
from orbitflow.formats.columns import read_columns
from orbitflow.formats.reading import MOST_TOML_BYTES, read_bytes, read_json, read_lines, read_toml

DEEP = 100_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * DEEP, "is not JSON: line 1: nests deeper than 64 levels: again"),
        (b'{"a": 1,\n "b": ' + b'{"c":' * DEEP, "line 2: nests deeper than 64"),
        (b"{" + b'"a": 1,' * DEEP + b'"a": 1}', 'the key "a" is there twice'),
        (b'{"a": 1,\n\n}', "is not JSON: line 3: Expecting property name"),
        (b'{"a":\n "\xff"}', "is not JSON: line 2: byte 0xff is not UTF-8"),
        (b'{"a": NaN}', "nan is no finite number"),
        (b'{"a": [1e999]}', "inf is no finite number"),
        (b'{"a": 9223372036854775808}', "more than 64 bits"),
        (b"9" * 5000, "Exceeds the limit"),
        (b"", "line 1: Expecting value"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_json(path, "again")
    assert said in str(refusal.value)
    assert str(refusal.value).startswith(f"{path} is not JSON: ")


def test_json_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = '{"a": [1, -2.5, "[[{\\"", null], "b": {"a": 9223372036854775807}}'
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(" ", "\r\n").encode())
    assert read_json(path, "") == {"a": [1, -2.5, '[[{"', None], "b": {"a": 2**63 - 1}}
    brackets = "[" * 64 + '"' + "[" * DEEP + '"' + "]" * 64
    path.write_text(brackets)
    assert str(read_json(path, "")).count("[") == 64 + DEEP
    path.write_text('{"a": [Infinity, 1e30]}')
    assert read_json(path, "", has_any_number=True) == {"a": [np.inf, 1e30]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = " + b"[" * DEEP, "is not TOML: it nests too deep"),
        (b"a." * 1000 + b"b = 1", "is not TOML: it nests too deep"),
        (b"a = 1\na = 2\nb = 3", "is not TOML: Cannot overwrite a value (at line 2"),
        (b"a = \xff", "is not TOML: line 1: byte 0xff"),
        (b"#" * (MOST_TOML_BYTES + 1), "is larger than 256 KiB"),
    ],
)
def test_toml_that_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_toml(path, "again")
    assert f"{path} " in str(refusal.value)
    assert said in str(refusal.value)


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    decode = msgspec.json.Decoder(int).decode
    path.write_bytes(b"1\n2\n3")
    assert list(read_lines(path, decode, "")) == [1, 2]
    with pytest.raises(UserError, match=r"a\.jsonl:3 cannot be read \(it is cut off\): again"):
        list(read_lines(path, decode, "again", may_be_torn=False))
    for bad in (b"x", b"NaN", b"\xff", b"[" * DEEP, b"", b"1 2"):
        path.write_bytes(b"1\n" + bad + b"\n3\n")
        with pytest.raises(UserError, match=r"a\.jsonl:2 is none \(.+\): again"):
            list(read_lines(path, decode, "again", what="is none"))
    path.write_bytes(b'1\n{"a": ' + b"[" * DEEP + b"\n")
    with pytest.raises(UserError, match=r"a\.jsonl:2 cannot be read \(it nests too deep\)"):
        list(read_lines(path, msgspec.json.Decoder().decode, "again"))


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path / "pipe", "is a pipe: name a plain file"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "is a device"),
        (tmp_path / "none", "cannot be read (No such file or directory): again"),
        (Path("a\0b"), "cannot be read (embedded null byte): again"),
    ):
        with pytest.raises(UserError) as refusal:
            read_bytes(path, "again")
        assert str(refusal.value).startswith(f"{path} {kind}")


COUNT, TIME = np.arange(3), np.arange(3) / 7


def test_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, time_s=TIME, count=COUNT)
    found = read_columns(path, "")
    assert list(found) == ["time_s", "count"]
    assert found["time_s"].tolist() == TIME.tolist()
    assert found["count"].tolist() == COUNT.tolist()
    assert list(read_columns(path, "", ["count"])) == ["count"]
    with pytest.raises(UserError, match=r"a\.npz lacks other: again"):
        read_columns(path, "again", ["other"])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.array(["x", "y", "z"]), "'b.npy' is no list of numbers"),
        (np.array([1, "x", None], dtype=object), "'b.npy' is no list of numbers"),
        (np.array([0.0, 1.0, np.nan]), "column b, row 2 is nan"),
        (np.array([0.0, -np.inf, 1.0]), "column b, row 1 is -inf"),
        (np.zeros((3, 2)), "'b.npy' is no list of numbers"),
        (np.array(1.0), "'b.npy' is no list of numbers"),
        (np.zeros(4), "column b has 4 rows, others 3"),
        (np.zeros(3, dtype=np.float32), "'b.npy' is no list of numbers"),
    ],
)
def test_columns_that_are_refused(tmp_path: Path, column: np.ndarray, said: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=TIME, b=column)
    with pytest.raises(UserError) as refusal:
        read_columns(path, "again", ["a", "b"])
    assert str(refusal.value).startswith(f"{path} is broken (")
    assert said in str(refusal.value)


def test_archives_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(10_000_000))  # 80 MB in 80 kB
    with pytest.raises(UserError, match=r"a\.npz is broken \(column 'a\.npy' is compressed\)"):
        read_columns(path, "again")
    np.savez(path, a=TIME)
    content = zipfile.ZipFile(path).read("a.npy")
    lies = content.replace(b"(3,), }" + b" " * 9, b"(9999999999,), }")
    assert lies != content
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a.npy", lies)
    with pytest.raises(UserError, match=r"'a\.npy' is not as long as it says"):
        read_columns(path, "again")
    whole = path.read_bytes()
    for kept in (b"", whole[:50], whole[:-10], whole[30:], b"x" * 1000):
        path.write_bytes(kept)
        with pytest.raises(UserError, match=r"a\.npz is broken"):
            read_columns(path, "again")
