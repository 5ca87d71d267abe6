"""ShareGPT: conversations as text, in one JSON list; neither lengths nor arrivals.

A turn is an answer to what a person wrote, and one request: its prompt is the whole conversation so
far. Tokens are estimated (`words.py`), arrivals a Poisson process of a stated rate, in the order
of the file. What was assumed is said in one notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitflow.traces.fields import A_LENGTH, FieldError, quoted
from orbitflow.traces.json_list import numbered_objects
from orbitflow.traces.rows import ReadOptions, Source, TraceFormat, TraceRow, bad_line
from orbitflow.traces.trace import MAX_TOKENS
from orbitflow.traces.words import NOTHING, TOKENS_PER_CHARACTER, Amount, amount_of

PEOPLE = frozenset(("human", "user"))
MODELS = frozenset(("gpt", "chatgpt", "assistant", "model", "bing", "bard"))
"""Who answers; anybody else, such as `system`, only adds to the conversation."""

_DRAWN_AT_ONCE = 1024


@dataclass(slots=True)
class _Tally:
    without_words: int = 0
    without_turns: int = 0


def _matches(head: str) -> bool:
    text = head.lstrip()
    return text.startswith("[") and text[1:].lstrip().startswith("{") and '"conversations"' in text


def _open(path: Path, options: ReadOptions) -> Source:
    tally = _Tally()

    def notices() -> list[str]:
        left_out = (
            f"; {tally.without_words:,} turns without words left out" if tally.without_words else ""
        )
        if tally.without_turns:
            left_out += f"; {tally.without_turns:,} conversations without a turn"
        return [
            f"{path.name}: text without lengths and arrivals: taken as an estimate of "
            f"{TOKENS_PER_CHARACTER:g} tokens per character of scripts without spaces, else "
            f"{options.tokens_per_word:g} tokens per word and a Poisson process of "
            f"{options.rate:g} requests/s (seed {options.seed}); each turn is one request whose "
            f"prompt is the conversation so far{left_out}; `orbitflow trace convert` has options "
            "for all of it"
        ]

    return Source(_rows(path, options, tally), notices=notices)


def _rows(path: Path, options: ReadOptions, tally: _Tally) -> Iterator[TraceRow]:
    arrivals = _poisson(options.rate, options.seed)
    for count, (line, item) in enumerate(numbered_objects(path), 1):
        try:
            turns = _turns(item)
            tally.without_turns += not turns
            for prompt, output in turns:
                if NOTHING in (prompt, output):
                    tally.without_words += 1
                    continue
                prompt_tokens = _tokens(prompt, options.tokens_per_word)
                output_tokens = _tokens(output, options.tokens_per_word)
                yield TraceRow(line, next(arrivals), prompt_tokens, output_tokens)
        except FieldError as error:
            what = f"conversation {count:,}: {error.what}"
            raise bad_line(path, line, what, error.expected) from None


def _turns(item: dict[str, Any]) -> list[tuple[Amount, Amount]]:
    """Return, for each answer to a person, the text before it and its own."""
    messages = item.get("conversations")
    if type(messages) is not list:
        what = (
            "no field conversations" if messages is None else f"conversations is {quoted(messages)}"
        )
        raise FieldError(what, 'a list of messages with "from" and "value"')
    turns: list[tuple[Amount, Amount]] = []
    so_far = NOTHING
    is_asked = False
    for message in messages:
        speaker, amount = _message(message)
        if speaker in MODELS and is_asked:
            turns.append((so_far, amount))
        is_asked = speaker in PEOPLE or (is_asked and speaker not in MODELS)
        so_far = so_far.plus(amount)
    return turns


def _message(message: Any) -> tuple[str, Amount]:
    """Return who speaks, and how much."""
    if type(message) is dict:
        speaker, value = message.get("from"), message.get("value")
        if type(speaker) is str and type(value) is str:
            return speaker, amount_of(value)
    raise FieldError(f"a message is {quoted(message)}", '"from" and "value", both text')


def _tokens(amount: Amount, tokens_per_word: float) -> int:
    tokens = amount.tokens(tokens_per_word)
    if tokens > MAX_TOKENS:
        raise FieldError(f"{amount.words:,} words would be {tokens:,} tokens", A_LENGTH)
    return tokens


def _poisson(rate: float, seed: int) -> Iterator[float]:
    """Draw arrival times without end; the first request comes at 0."""
    rng = np.random.Generator(np.random.PCG64(seed))
    at_s = 0.0
    while True:
        for gap in rng.standard_exponential(_DRAWN_AT_ONCE).tolist():
            yield at_s
            at_s += gap / rate


SHAREGPT = TraceFormat(
    name="sharegpt",
    title="JSON list of objects with conversations; text",
    matches=_matches,
    open=_open,
    is_text=True,
)
