"""Every wrong file gives one line: where, what is wrong with which value, what was expected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitflow.errors import TraceError
from orbitflow.traces import read_trace

Write = Callable[[str | bytes], Path]
GOOD = '{"timestamp": 0, "input_length": 5, "output_length": 6}\n'
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
PAPER = '{"requests": {"request_0": {"input_length": 5, "output_length": 6, "arrival_time": 0}}}'


def refusal(path: Path, format: str = "auto") -> str:
    with pytest.raises(TraceError) as caught:
        read_trace(path, format)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert len(message) < len(str(path)) + 250
    return message.removeprefix(str(path))


@pytest.mark.parametrize("field", ["input_length", "output_length"])
@pytest.mark.parametrize(
    "value", ["-1", "0", "1.5", "5.0", "true", '"12"', "null", "[]", "NaN", "1e999", "1" + "0" * 30]
)
def test_lengths(write: Write, field: str, value: str) -> None:
    number = "5" if field == "input_length" else "6"
    bad = GOOD.replace(f'"{field}": {number}', f'"{field}": {value}')
    message = refusal(write(GOOD + bad))
    assert message.startswith(f":2: {field} is ")
    assert message.endswith("expected a whole number from 1 to 1,000,000,000")


@pytest.mark.parametrize(
    "value", ["-1", "NaN", "Infinity", "-Infinity", "true", '"0"', "null", "1e18"]
)
def test_stamps(write: Write, value: str) -> None:
    bad = GOOD.replace('"timestamp": 0', f'"timestamp": {value}')
    assert refusal(write(GOOD + bad)).startswith(":2: timestamp is ")


@pytest.mark.parametrize("field", ["slo_tbt_ms", "slo_ttft_ms"])
@pytest.mark.parametrize("value", ["0", "-5", "NaN", "Infinity", "false", '"fast"', "1e-323"])
def test_limits(write: Write, field: str, value: str) -> None:
    message = refusal(write(GOOD + GOOD.replace("}", f', "{field}": {value}}}')))
    assert message.startswith(f":2: {field} is ")
    assert message.endswith("expected a finite number of milliseconds, more than 0")


@pytest.mark.parametrize("field", ["timestamp", "input_length", "output_length"])
def test_missing_fields(write: Write, field: str) -> None:
    assert refusal(write(GOOD + GOOD.replace(field, "other"))).startswith(f":2: no field {field};")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"timestamp": 0, "input_len', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"input_length": ' + "9" * 5000 + "}", "not JSON"),
        (GOOD.strip() + ",", "not JSON"),
        ("[1, 2]", "not an object"),
        ("12", "not an object"),
    ],
)
def test_lines_that_are_no_object(write: Write, line: str, what: str) -> None:
    assert refusal(write(GOOD + "\n" + line)).startswith(f":3: {what}: ")


def test_a_truncated_first_line(write: Write) -> None:
    assert refusal(write('{"timestamp": 0, "input_len')).startswith(":1: not JSON")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2023-11-16 18:15:47.0,374", "2 fields: '2023-11-16 18:15:47.0,374'; expected TIMESTAMP,"),
        ("2023-11-16 18:15:47.0,374,44,1", "4 fields"),
        ("2023-11-16T18:15:47.0,374,44", "TIMESTAMP is '2023-11-16T18:15:47.0'; expected such as"),
        ("2023-11-16 18:15:61.0,374,44", "TIMESTAMP is"),
        ("2023-11-16 29:15:01.0,374,44", "TIMESTAMP is '2023-11-16 29:15', which no calendar has"),
        ("2023-02-30 18:15:01.0,374,44", "TIMESTAMP is '2023-02-30 18:15', which no calendar has"),
        (",374,44", "TIMESTAMP is ''"),
        ("2023-11-16 18:15:47.0,0,44", "ContextTokens is 0; expected a whole number"),
        ("2023-11-16 18:15:47.0,-3,44", "ContextTokens is '-3'; expected a whole number"),
        ("2023-11-16 18:15:47.0,374,4.5", "GeneratedTokens is '4.5'"),
        ("2023-11-16 18:15:47.0,374,nan", "GeneratedTokens is 'nan'"),
        ("2023-11-16 18:15:47.0,374,²", "GeneratedTokens is"),
        ("2023-11-16 18:15:47.0,374,99999999999999999999", "GeneratedTokens is"),
        ("2023-11-16 18:15:47.0,374,2000000000", "GeneratedTokens is 2000000000"),
    ],
)
def test_azure_rows(write: Write, row: str, what: str) -> None:
    assert refusal(write(AZURE + row + "\n")).startswith(f":3: {what}")


def test_a_header_and_nothing_else(write: Write) -> None:
    assert "no requests; expected at least one" in refusal(write(AZURE.splitlines()[0]))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"input_length": 5', '"input_length": 0', "request 'request_0': input_length is 0;"),
        ('"arrival_time": 0', '"arrival_time": -1', "request 'request_0': arrival_time is -1;"),
        (', "arrival_time": 0', "", "request 'request_0': no field arrival_time"),
        ('{"requests"', '{"batch_size": 0, "requests"', "batch_size is 0;"),
        (
            '{"requests"',
            '{"num_gpu_blocks_override": "x", "requests"',
            "num_gpu_blocks_override is",
        ),
        (
            '{"input_length": 5, "output_length": 6, "arrival_time": 0}',
            "7",
            "request 'request_0': it",
        ),
    ],
)
def test_paper_values(write: Write, old: str, new: str, what: str) -> None:
    assert refusal(write(PAPER.replace(old, new))).startswith(f": {what}")


def test_paper_without_requests(write: Write) -> None:
    assert "no requests" in refusal(write('{"requests": {}}'))


def test_paper_truncated(write: Write) -> None:
    assert refusal(write("{\n" + PAPER[1:-10])).startswith(":2: not JSON (")


@pytest.mark.parametrize(("good", "line"), [(GOOD, 2), (AZURE, 3), (PAPER, 2), ("", 1)])
def test_bytes_that_are_no_text(write: Write, good: str, line: int) -> None:
    if good == PAPER:
        good = PAPER.replace("{", "{\n", 1)
        content = good.encode().replace(b"request_0", b"\xffequest_0")
    else:
        content = good.encode() + b"\xff\xfe\n"
    assert refusal(write(content)).startswith(f":{line}: byte 0xff is not UTF-8")


@pytest.mark.parametrize("content", ["", "\n", "  \n\t\n"])
def test_empty(write: Write, content: str) -> None:
    assert refusal(write(content)) == ": the file is empty; expected at least one request"


@pytest.mark.parametrize("content", ["id,when\n1,2\n", '{"foo": 1}\n', "PK\x03\x04", "[1, 2]"])
def test_an_unknown_format_says_what_was_tried(write: Write, content: str) -> None:
    message = refusal(write(content))
    assert "not a known trace format" in message
    assert "one of: orbitflow-paper, mooncake, canonical, azure-2023" in message


def test_a_format_named_wrongly(write: Write) -> None:
    with pytest.raises(TraceError, match="unknown trace format 'azure'; did you mean azure-2023"):
        read_trace(write(AZURE), "azure")
    assert refusal(write(GOOD), "azure-2023").startswith(":1: the header is ")
    assert refusal(write(AZURE), "canonical").startswith(":1: not JSON")
    assert "no object named requests" in refusal(write(GOOD), "orbitflow-paper")


def test_no_file_to_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.csv") == ": no such file; expected a trace file"
    assert refusal(tmp_path) == ": is a folder; expected a trace file"
    assert "cannot be read (File name too long)" in refusal(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe or device" in refusal(tmp_path / "pipe")
