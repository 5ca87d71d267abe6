"""What is still to come: quantiles of who lasted longer, the oracle, and nothing known yet."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from orbitflow.policy.output_lengths import FIRST_TOKENS, MEMORY, OutputLengths

from orbitflow.request import Request

ANY = Request(0, 0.0, 10, 700)


def test_before_anybody_has_finished() -> None:
    lengths = OutputLengths()
    assert lengths.left(ANY, 1) == FIRST_TOKENS
    assert lengths.left(ANY, 5 * FIRST_TOKENS) == 5 * FIRST_TOKENS


def test_by_hand() -> None:
    """Of 100, 200, .., 1,000 tokens; the sixth of ten is 600, of the four beyond 650 the second."""
    lengths = OutputLengths()
    for tokens in range(100, 1001, 100):
        lengths.finished(tokens)
    assert lengths.left(ANY, 0) == 600
    assert lengths.left(ANY, 650) == 800 - 650
    assert lengths.left(ANY, 1000) == 1000, "longer than anybody: as much again"


def test_the_oracle_knows() -> None:
    oracle = OutputLengths(is_oracle=True)
    oracle.finished(5)
    assert oracle.left(ANY, 100) == 600
    assert oracle.left(ANY, 700) == 1


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(0, 60))
def test_it_is_one_of_the_lengths_met(finished: list[int], generated: int) -> None:
    lengths = OutputLengths()
    for tokens in finished:
        lengths.finished(tokens)
    left = lengths.left(ANY, generated)
    assert left >= 1
    longer = {n - generated for n in finished if n > generated}
    assert left in longer if longer else left == max(1, generated)


def test_only_the_latest_count() -> None:
    lengths = OutputLengths()
    for tokens in [9] * MEMORY + [4] * MEMORY:
        lengths.finished(tokens)
    assert lengths.left(ANY, 0) == 4
    assert lengths.left(ANY, 4) == 4, "the nines are forgotten"


def test_chances_by_hand() -> None:
    """Of ten lengths 100 to 1,000: four are beyond 650, of these 700 and 800 end within 150."""
    lengths = OutputLengths()
    assert lengths.ends_within(ANY, 0, FIRST_TOKENS / 4) == 0.25, "nothing known yet"
    for tokens in range(100, 1001, 100):
        lengths.finished(tokens)
    assert lengths.ends_within(ANY, 650, 150) == 0.5
    assert lengths.ends_within(ANY, 650, 0) == 0
    assert lengths.ends_within(ANY, 1000, 250) == 0.25, "longer than anybody"
    oracle = OutputLengths(is_oracle=True)
    assert (oracle.ends_within(ANY, 100, 599), oracle.ends_within(ANY, 100, 600)) == (0, 1)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.integers(1, 50), max_size=60),
    st.integers(0, 60),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_chances_grow_with_time(
    finished: list[int], generated: int, one: float, other: float
) -> None:
    lengths = OutputLengths()
    for tokens in finished:
        lengths.finished(tokens)
    early, late = (lengths.ends_within(ANY, generated, tokens) for tokens in sorted((one, other)))
    assert 0 <= early <= late <= 1
