"""Texts of languages without spaces: characters count, not the one word that they look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.traces import read_trace
from orbitflow.traces.words import Amount, amount_of

Write = Callable[[str | bytes], Path]


@pytest.mark.parametrize(
    ("text", "words", "characters"),
    [
        ("缓存卸载", 0, 4),
        ("日本語のテスト、です。", 0, 11),
        ("ﾃｽﾄ", 0, 3),
        ("สวัสดีครับ", 0, 7),  # three marks combine
        ("ສະບາຍດີ", 0, 6),
        ("ភាសា", 0, 2),
        ("မြန်မာ", 0, 3),
        ("𠀀𠀁", 0, 2),
        ("把KV cache放到host上", 3, 4),
        ("한국어 단어 둘", 3, 0),
        ("привет, мир; café", 3, 0),
        ("你好　世界", 0, 4),
        ("", 0, 0),
        (" \n\t", 0, 0),
    ],
)
def test_amounts(text: str, words: int, characters: int) -> None:
    assert amount_of(text) == Amount(words, characters)


@given(st.text(st.characters(max_codepoint=0x0DFF)))
def test_elsewhere_words_are_what_space_separates(text: str) -> None:
    assert amount_of(text) == Amount(len(text.split()), 0)


@given(st.lists(st.integers(0x4E00, 0x9FFF), max_size=50))
def test_every_han_character_counts(codes: list[int]) -> None:
    assert amount_of("".join(map(chr, codes))) == Amount(0, len(codes))


def test_a_conversation_in_chinese(write: Write) -> None:
    said = [
        {"from": "human", "value": "请写一篇文章" * 6},
        {"from": "gpt", "value": "键值缓存是" * 140},
    ]
    trace = read_trace(write(json.dumps([{"conversations": said}], ensure_ascii=False)))
    assert 25 <= trace.prompt_tokens[0] <= 40
    assert 450 <= trace.output_tokens[0] <= 800
    assert "an estimate of 0.8 tokens per character of scripts without spaces" in trace.notices[0]
