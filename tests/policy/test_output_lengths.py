"""What is still to come: quantiles of who lasted longer, the oracle, and nothing known yet."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.policy.orbit.options import DEFAULT
from orbitflow.policy.output_lengths import OutputLengths
from orbitflow.request import Request

ANY = Request(0, 0.0, 10, 700)


def _lengths(*, is_oracle: bool = False) -> OutputLengths:
    return OutputLengths(
        memory=DEFAULT.lengths,
        quantile=DEFAULT.quantile,
        first_tokens=DEFAULT.first_tokens,
        is_oracle=is_oracle,
    )


def _chance(lengths: OutputLengths, generated: int, tokens: float) -> float:
    outputs, so_far = np.array([float(ANY.output_tokens)]), np.array([float(generated)])
    return float(lengths.end_within(outputs, so_far, np.array([float(tokens)]))[0])


def test_before_anybody_has_finished() -> None:
    lengths = _lengths()
    assert lengths.left(ANY, 1) == DEFAULT.first_tokens
    assert lengths.left(ANY, 5 * DEFAULT.first_tokens) == 5 * DEFAULT.first_tokens


def test_by_hand() -> None:
    """Of 100, 200, .., 1,000 tokens; the sixth of ten is 600, of the four beyond 650 the second."""
    lengths = _lengths()
    for tokens in range(100, 1001, 100):
        lengths.finished(tokens)
    assert lengths.left(ANY, 0) == 600
    assert lengths.left(ANY, 650) == 800 - 650
    assert lengths.left(ANY, 1000) == 1000, "longer than anybody: as much again"


def test_the_oracle_knows() -> None:
    oracle = _lengths(is_oracle=True)
    oracle.finished(5)
    assert oracle.left(ANY, 100) == 600
    assert oracle.left(ANY, 700) == 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(0, 60))
def test_it_is_one_of_the_lengths_met(finished: list[int], generated: int) -> None:
    lengths = _lengths()
    for tokens in finished:
        lengths.finished(tokens)
    left = lengths.left(ANY, generated)
    assert left >= 1
    longer = {n - generated for n in finished if n > generated}
    assert left in longer if longer else left == max(1, generated)


def test_only_the_latest_count() -> None:
    lengths = _lengths()
    for tokens in [9] * DEFAULT.lengths + [4] * DEFAULT.lengths:
        lengths.finished(tokens)
    assert lengths.left(ANY, 0) == 4
    assert lengths.left(ANY, 4) == 4, "the nines are forgotten"


def test_chances_by_hand() -> None:
    """Of ten lengths 100 to 1,000: four are beyond 650, of these 700 and 800 end within 150."""
    lengths = _lengths()
    assert _chance(lengths, 0, DEFAULT.first_tokens / 4) == 0.25, "nothing known yet"
    for tokens in range(100, 1001, 100):
        lengths.finished(tokens)
    assert _chance(lengths, 650, 150) == 0.5
    assert _chance(lengths, 650, 0) == 0
    assert _chance(lengths, 1000, 250) == 0.25, "longer than anybody"
    oracle = _lengths(is_oracle=True)
    assert (_chance(oracle, 100, 599), _chance(oracle, 100, 600)) == (0, 1)


@given(
    st.lists(st.integers(1, 50), max_size=60),
    st.integers(0, 60),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_chances_grow_with_time(
    finished: list[int], generated: int, one: float, other: float
) -> None:
    lengths = _lengths()
    for tokens in finished:
        lengths.finished(tokens)
    early, late = (_chance(lengths, generated, tokens) for tokens in sorted((one, other)))
    assert 0 <= early <= late <= 1
