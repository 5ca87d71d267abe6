"""Every wrong file gives one line: where, what is wrong with which value, what was expected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitflow.errors import TraceError
from orbitflow.traces import json_list, read_trace

Write = Callable[[str | bytes], Path]
GOOD = '{"timestamp": 0, "input_length": 5, "output_length": 6}\n'
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
BURSTGPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n"
)
SHAREGPT = (
    '[{"id": "a", "conversations": [{"from": "human", "value": "hi there"},\n'
    ' {"from": "gpt", "value": "oh \\ud83d\\ude00 well"}]}\n]'
)
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


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2024-05-10 00:00:01.5+00:00,374", "2 fields: "),
        ("2024-05-10 00:00:01.5+00:00,374,44,5", "4 fields: "),
        ("2024-05-10 00:00:01.5+02:00,374,44", "TIMESTAMP is '2024-05-10 00:00:01.5+02:00'"),
        ("2024-05-10 00:00:01.5,374,44", "TIMESTAMP is '2024-05-10 00:00:01.5'; expected such as"),
        ("2024-05-10 00:00:01.1234567890+00:00,374,44", "TIMESTAMP is"),
        ("2024-02-30 00:00:01.5+00:00,374,44", "TIMESTAMP is '2024-02-30 00:00', which no"),
        ("2024-05-10 00:00:01.5+00:00,374,-1", "GeneratedTokens is '-1'"),
        ("2024-05-10 00:00:01.5+00:00,374,0,0", "4 fields: "),
        ("2024-05-10 00:00:01.5+00:00,0,", "ContextTokens is 0; expected a whole number"),
        ("2024-05-10 00:00:0", "1 fields: '2024-05-10 00:00:0'"),
    ],
)
def test_azure_2024_rows(write: Write, row: str, what: str) -> None:
    good = AZURE.partition("\n")[0] + "\n2024-05-10 00:00:00.009930+00:00,2162,5\n"
    assert refusal(write(good + row)).startswith(f":3: {what}")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("7,ChatGPT,472,18,490", "5 fields: '7,ChatGPT,472,18,490'; expected 6, as in the header"),
        ("7,ChatGPT,472,18,490,log,", "7 fields: "),
        ("-1,ChatGPT,472,18,490,log", "Timestamp is '-1'; expected a number from 0 to 1e+11"),
        ("nan,ChatGPT,472,18,490,log", "Timestamp is 'nan'"),
        ("1e12,ChatGPT,472,18,490,log", "Timestamp is '1e12'"),
        ("1e999,ChatGPT,472,18,490,log", "Timestamp is '1e999'"),
        ("1_0,ChatGPT,472,18,490,log", "Timestamp is '1_0'"),
        ("x,ChatGPT,472,0,490,log", "Timestamp is 'x'"),
        ("7,ChatGPT,4.5,18,490,log", "Request tokens is '4.5'"),
        ("7,ChatGPT,472,-18,490,log", "Response tokens is '-18'"),
        ("7,ChatGPT,472,1000000001,490,log", "Response tokens is 1000000001"),
    ],
)
def test_burstgpt_rows(write: Write, row: str, what: str) -> None:
    assert refusal(write(BURSTGPT + row + "\n")).startswith(f":3: {what}")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("Response tokens", "Answer", "no column Response tokens in 'Timestamp,Model,"),
        ("Model", "Timestamp", "more than one column Timestamp in "),
    ],
)
def test_burstgpt_header(write: Write, old: str, new: str, what: str) -> None:
    path = write(BURSTGPT.replace(old, new))
    assert refusal(path, "burstgpt").startswith(f":1: {what}")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (SHAREGPT[:-1], ":3: the file ends in the middle of the list; it is truncated"),
        (SHAREGPT[:-20], ":1: the file ends in the middle of the list; it is truncated"),
        (SHAREGPT.replace("]}\n", "]},\n"), ":3: ']'; expected an object"),
        (SHAREGPT + "[]", ":3: '[]' after the end of the list; expected nothing"),
        (SHAREGPT.replace("]}\n", "]} {}\n"), ":2: '{}"),
        (SHAREGPT.replace("[{", "[7, {", 1), ":1: '7, {"),
        (SHAREGPT.replace('"human"', "human"), ":1: not JSON (Expecting value)"),
        (SHAREGPT.replace('"hi there"', '"hi\nthere"'), ":1: not JSON (Invalid control character"),
        (SHAREGPT.replace('"hi there"', "12"), ":1: conversation 1: a message is {'from': 'human'"),
        (SHAREGPT.replace('"hi there"', "[" * 99_999), ":1: not JSON ("),
        (SHAREGPT.replace('"hi there"', "9" * 9_999), ":1: not JSON ("),
        (
            '[{"id": "conversations"}]',
            ":1: conversation 1: no field conversations; expected a list",
        ),
        ('[{"conversations": {}}]', ":1: conversation 1: conversations is {}"),
    ],
)
def test_sharegpt_text(write: Write, text: str, what: str) -> None:
    assert refusal(write(text), "sharegpt").startswith(what)


@pytest.mark.parametrize("block", [1, 2, 7, 64])
@pytest.mark.parametrize("length", range(1, len(SHAREGPT.rstrip()), 5))
def test_every_truncation_of_a_list_is_seen(
    write: Write, monkeypatch: pytest.MonkeyPatch, block: int, length: int
) -> None:
    monkeypatch.setattr(json_list, "BLOCK_CHARACTERS", block)
    assert "it is truncated" in refusal(write(SHAREGPT[:length]), "sharegpt")


def test_an_object_without_end_is_not_read_to_the_end(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_list, "BLOCK_CHARACTERS", 16)
    monkeypatch.setattr(json_list, "MOST_CHARACTERS", 100)
    text = SHAREGPT.replace("hi there", "word " * 1000)
    assert "an object of over 100 characters" in refusal(write(text), "sharegpt")


@pytest.mark.parametrize("text", [BURSTGPT.replace(",18,", ",0,"), "[]", '[{"conversations": []}]'])
def test_a_file_without_requests_says_why(write: Write, text: str) -> None:
    path = write(text)
    with pytest.raises(TraceError, match="no requests; expected at least one"):
        read_trace(path, "auto" if text.startswith("T") else "sharegpt")


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


@pytest.mark.parametrize(
    ("good", "line"),
    [(GOOD, 2), (AZURE, 3), (PAPER, 2), (BURSTGPT, 3), (SHAREGPT[:-3] + ",", 2), ("", 1)],
)
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
    assert (
        "one of: orbitflow-paper, mooncake, canonical, azure-2024, azure-2023, burstgpt, sharegpt"
        in (message)
    )


def test_a_format_named_wrongly(write: Write) -> None:
    with pytest.raises(TraceError, match="unknown trace format 'azure'; did you mean azure-202"):
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
