"""Ways in which a file is damaged: on disk, in transfer, by an editor, by malice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from hypothesis import strategies as st

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_VALUE = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"[^"\\\n]*"|true|false|null')
_KEY = re.compile(rb'"[^"\\\n]*"\s*:\s*[^,{}\[\]\n]+,')

ODD_VALUES = (
    *(b"0", b"-1", b"1", b"2", b"-0.0", b"0.5", b"1e308", b"-1e308", b"1e999", b"5e-324"),
    *(b"1000000000", b"9223372036854775807", b"9223372036854775808", b"1" + b"0" * 400),
    *(b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b'""', b'"x"', b"[]", b"{}", b"[1]"),
    *(
        b'{"a": 1}',
        b"[[[[]]]]",
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\x1b[31m"',
        b'"NaN"',
        b"nan",
        b"inf",
    ),
)
ODD_BYTES = (
    *(b"\x00", b"\xff", b"\xc3", b"\r", b"\n", b"\x1b[2J", b"\xef\xbb\xbf", b"\x85"),
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"'",
        b"#",
        b"=",
        b"\\",
        b"[" * 3000,
        b'{"a":' * 3000,
    ),
)
WHOLE = (
    *(b"", b"\n", b"\x00" * 64, b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"a":' * 100_000, b"{}"),
    *(b"[]", b"null", b"1", b'"a"', b"{", b"PK\x03\x04", b"a.b=1\na=2\n", b"[]\n" * 100),
)


def _spot(draw: st.DrawFn, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _cut(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: _spot(draw, content)]


def _drop(draw: st.DrawFn, content: bytes) -> bytes:
    start = _spot(draw, content)
    return content[:start] + content[start + draw(st.integers(1, 64)) :]


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    at = _spot(draw, content)
    return content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]


def _insert(draw: st.DrawFn, content: bytes) -> bytes:
    at = _spot(draw, content)
    return content[:at] + draw(st.sampled_from(ODD_BYTES)) + content[at:]


def _repeat(draw: st.DrawFn, content: bytes) -> bytes:
    start, length = _spot(draw, content), draw(st.integers(1, 200))
    return (
        content[:start]
        + content[start : start + length] * draw(st.integers(2, 5))
        + content[start:]
    )


def _splice(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: _spot(draw, content)] + content[_spot(draw, content) :]


def _value(draw: st.DrawFn, content: bytes) -> bytes:
    """Another value where one was, of any type: what no checksum finds and only a schema does."""
    found = list(_VALUE.finditer(content))
    if not found:
        return content
    one = draw(st.sampled_from(found))
    return content[: one.start()] + draw(st.sampled_from(ODD_VALUES)) + content[one.end() :]


def _swap(draw: st.DrawFn, content: bytes) -> bytes:
    """The value of another place."""
    found = list(_VALUE.finditer(content))
    if not found:
        return content
    one, other = draw(st.sampled_from(found)), draw(st.sampled_from(found))
    return content[: one.start()] + other[0] + content[one.end() :]


def _key_twice(draw: st.DrawFn, content: bytes) -> bytes:
    found = list(_KEY.finditer(content))
    if not found:
        return content
    one = draw(st.sampled_from(found))
    return content[: one.start()] + one[0] * draw(st.integers(2, 300)) + content[one.start() :]


def _lines(draw: st.DrawFn, content: bytes) -> bytes:
    """Lines in another order, or some of them again."""
    lines = content.splitlines(keepends=True)
    return b"".join(draw(st.lists(st.sampled_from(lines), max_size=30))) if lines else content


def _encoding(draw: st.DrawFn, content: bytes) -> bytes:
    ways: tuple[Callable[[bytes], bytes], ...] = (
        lambda b: b"\xef\xbb\xbf" + b,
        lambda b: b.replace(b"\n", b"\r\n"),
        lambda b: b.replace(b"\n", b"\r"),
        lambda b: b.decode("latin-1").encode("utf-16"),
        lambda b: b.decode("latin-1").encode("utf-32"),
    )
    return draw(st.sampled_from(ways))(content)


_WAYS = (
    *(_value, _value, _value, _value, _swap, _swap, _cut, _drop, _flip, _insert, _repeat),
    *(_splice, _key_twice, _lines, _encoding),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content of a valid file after one to three mishaps; now and then something else."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        content = draw(st.sampled_from(_WAYS))(draw, content)
    return content


def junk(size: int) -> dict[str, bytes]:
    """Bad inputs of `size` bytes that cost the most to refuse, by name."""
    keys = json.dumps({f"k{i}": 0 for i in range(size // 20)})[1:-1].encode()
    return {
        "zeros": b"\x00" * size,
        "spaces": b" " * size,
        "lines": b"\n" * size,
        "lists": b"[" * size,
        "objects": b'{"a":' * (size // 5),
        "quotes": b'"' * size,
        "escapes": b'"' + b"\\" * size,
        "escaped quotes": b'"\\' * (size // 2),
        "number": b"9" * size,
        "negative": b"-" * size,
        "dots": b"a." * (size // 2),
        "tables": b"[a.b]\n" * (size // 6),
        "array tables": b"[[a]]\n" * (size // 6),
        "TOML keys": b"".join(b"k%d=1\n" % i for i in range(size // 9)),
        "inline tables": b"a=" + b"{a=" * (size // 3),
        "keys": b"{" + keys + b"," + keys + b"}",
        "same key": b"{" + b'"a":1,' * (size // 6) + b'"a":1}',
        "list of lists": b"[" + b"[]," * (size // 3) + b"[]]",
        "empty objects": b"{}\n" * (size // 3),
        "commas": b"," * size,
        "latin-1": "é".encode("latin-1") * size,
        "byte order marks": b"\xef\xbb\xbf" * (size // 3),
        "conversations": b'[{"conversations":' + b'[{"a":' * (size // 6),
        "requests": b'{"requests": {' + keys,
        "trace": b'{"timestamp": 0, "input_length": 1, "output_length": ' + b"1" * size,
        "comma lines": b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + b",,\n" * (size // 3),
    }
