"""ShareGPT: turns become requests, words become tokens, arrivals are drawn; a list is streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitflow.errors import UserError
from orbitflow.traces import json_list, read_trace
from orbitflow.traces.json_list import numbered_objects
from orbitflow.traces.rows import ReadOptions
from orbitflow.traces.write import convert

Write = Callable[[str | bytes], Path]
ONE_TO_ONE = ReadOptions(tokens_per_word=1)


def talk(*messages: tuple[str, int]) -> dict[str, Any]:
    """A conversation in which people say so many words."""
    said = [{"from": speaker, "value": " word\n" * words} for speaker, words in messages]
    return {"id": "x", "conversations": said}


def lengths(path: Path, options: ReadOptions = ONE_TO_ONE) -> list[tuple[int, int]]:
    trace = read_trace(path, options=options)
    return list(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True))


def test_a_prompt_is_the_conversation_so_far(write: Write) -> None:
    talks = [
        talk(("human", 3), ("gpt", 5), ("human", 2), ("gpt", 7)),
        talk(("system", 10), ("user", 1), ("assistant", 4)),
    ]
    assert lengths(write(json.dumps(talks))) == [(3, 5), (10, 7), (11, 4)]


def test_only_an_answer_to_a_person_is_a_turn(write: Write) -> None:
    talks = [
        talk(("gpt", 5), ("human", 2), ("human", 3), ("system", 1), ("gpt", 7), ("gpt", 9)),
        talk(("human", 5)),
        talk(("human", 1), ("gpt", 1)),
    ]
    assert lengths(write(json.dumps(talks))) == [(11, 7), (1, 1)]


def test_the_notice_says_what_was_assumed(write: Write) -> None:
    talks = [
        talk(("human", 10), ("gpt", 0), ("human", 0), ("gpt", 4)),
        talk(),
        talk(("human", 0), ("gpt", 2)),
    ]
    path = write(json.dumps(talks))
    trace = read_trace(path)
    assert trace.format == "sharegpt"
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([13], [5])
    (notice,) = trace.notices
    for text in ("1.3 tokens per word", "1 requests/s (seed 0)", "each turn is one request",
                 "2 turns without words left out", "1 conversations without a turn",
                 "orbitflow trace convert"):  # fmt: skip
        assert text in notice


def test_arrivals_are_poisson_and_seeded(write: Write) -> None:
    path = write(json.dumps([talk(("human", 1), ("gpt", 1))] * 4000))
    first, again, other = (
        read_trace(path, options=ReadOptions(rate=5, seed=seed)).arrival for seed in (1, 1, 2)
    )
    assert first[0] == 0
    assert first.tobytes() == again.tobytes() != other.tobytes()
    gaps = np.diff(first)
    assert gaps.mean() == pytest.approx(0.2, rel=0.05)
    assert gaps.std() == pytest.approx(0.2, rel=0.05)
    faster = read_trace(path, options=ReadOptions(rate=10, seed=1)).arrival
    np.testing.assert_allclose(faster * 2, first, atol=1e-8)


def test_conversion_takes_the_options_and_refuses_them_elsewhere(
    write: Write, tmp_path: Path
) -> None:
    path, out = write(json.dumps([talk(("human", 10), ("gpt", 4))] * 3)), tmp_path / "out.jsonl"
    done = convert(path, out, rate=2, tokens_per_word=2, seed=3)
    assert lengths(out) == [(20, 8)] * 3
    assert "2 tokens per word" in done.notices[0]
    assert read_trace(out).arrival.tolist() == pytest.approx(
        read_trace(path, options=ReadOptions(rate=2, seed=3)).arrival.tolist()
    )
    with pytest.raises(UserError, match=r"--rate, --seed: .*out\.jsonl \(canonical\) has lengths"):
        convert(out, tmp_path / "again.jsonl", rate=2, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate 0.0: must be"),
        ({"rate": float("nan")}, "rate nan: must be"),
        ({"rate": float("inf")}, "rate inf: must be"),
        ({"tokens_per_word": 0.0}, "0.0 tokens per word: must be above 0"),
        ({"tokens_per_word": float("inf")}, "inf tokens per word"),
        ({"seed": -1}, "seed -1: must be at least 0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReadOptions(**options)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.text() | st.floats(allow_nan=False))),
    st.integers(1, 40),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sliding_buffer_sees_what_json_loads_sees(
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    items: list[dict[str, Any]],
    block: int,
    indent: int | None,
    ascii: bool,
) -> None:
    monkeypatch.setattr(json_list, "BLOCK_CHARACTERS", block)
    text = json.dumps(items, indent=indent, ensure_ascii=ascii)
    path = write(text.encode("utf-8", errors="replace"))
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert [item for _, item in numbered_objects(path)] == expected


def test_lines_are_counted(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_list, "BLOCK_CHARACTERS", 3)
    path = write('\n[\n{"a":\n1},\n\n{}, {}\n]')
    assert [line for line, _ in numbered_objects(path)] == [3, 6, 6]


def test_a_list_is_not_read_further_than_asked(write: Write) -> None:
    one = json.dumps(talk(("human", 50), ("gpt", 50)))
    path = write("[" + f"{one},\n" * 40_000 + "and then nonsense")
    assert len(read_trace(path, limit=100)) == 100
