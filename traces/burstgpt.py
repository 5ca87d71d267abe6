"""BurstGPT: CSV of a campus's use of GPT models, arrivals in seconds, one line per request.

Wang et al., BurstGPT (2024). Columns are found by their names, as later files have `Session ID` and
`Elapsed time` too. Without response tokens a request failed: it is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orbitflow.errors import TraceError
from orbitflow.traces.fields import FieldError, length_of_text, quoted
from orbitflow.traces.rows import (
    ReadOptions,
    Source,
    TraceFormat,
    TraceRow,
    bad_line,
    numbered_lines,
)
from orbitflow.traces.stamps import StampClock
from orbitflow.units import TimeUnit

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


@dataclass(slots=True)
class _Tally:
    failed: int = 0
    without_prompt: int = 0


def _matches(head: str) -> bool:
    names = _names(head.lstrip().partition("\n")[0])
    return all(name in names for name in COLUMNS)


def _names(header: str) -> list[str]:
    return [name.strip() for name in header.split(",")]


def _open(path: Path, options: ReadOptions) -> Source:
    tally = _Tally()

    def notices() -> list[str]:
        counts = (
            f"{tally.failed:,} without response tokens (failures)" if tally.failed else "",
            f"{tally.without_prompt:,} without request tokens" if tally.without_prompt else "",
        )
        left_out = " and ".join(filter(None, counts))
        return [f"{path.name}: requests left out: {left_out}"] if left_out else []

    clock = StampClock(TimeUnit.S, options.time_unit, is_sure=True)
    return Source(_rows(path, tally, clock), notices=notices, clock=clock)


def _rows(path: Path, tally: _Tally, clock: StampClock) -> Iterator[TraceRow]:
    lines = numbered_lines(path)
    line, header = next(lines)  # a file without lines is refused before
    names = _names(header)
    at, prompt, output = (_place(path, line, names, name) for name in COLUMNS)
    for line, text in lines:
        fields = text.rstrip().split(",")
        if len(fields) != len(names):
            raise _ragged(path, line, text, names)
        try:
            at_s = clock.seconds_of_text("Timestamp", fields[at])
            if fields[output] == "0":
                tally.failed += 1
                continue
            if fields[prompt] == "0":
                tally.without_prompt += 1
                continue
            prompt_tokens = length_of_text("Request tokens", fields[prompt])
            output_tokens = length_of_text("Response tokens", fields[output])
        except FieldError as error:
            raise bad_line(path, line, error.what, error.expected) from None
        yield TraceRow(line, at_s, prompt_tokens, output_tokens)


def _place(path: Path, line: int, names: list[str], name: str) -> int:
    if names.count(name) == 1:
        return names.index(name)
    times = "no" if name not in names else "more than one"
    what = f"{times} column {name} in {quoted(','.join(names))}"
    raise bad_line(path, line, what, f"a header with {', '.join(COLUMNS)}")


def _ragged(path: Path, line: int, text: str, names: list[str]) -> TraceError:
    what = f"{len(text.strip().split(','))} fields: {quoted(text.strip())}"
    return bad_line(path, line, what, f"{len(names)}, as in the header")


BURSTGPT = TraceFormat(
    name="burstgpt",
    title=f"CSV with {', '.join(COLUMNS)}; seconds",
    matches=_matches,
    open=_open,
    time_unit=TimeUnit.S,
)
