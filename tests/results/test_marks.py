"""The best of a column is what is written like the best, unless all are."""

from __future__ import annotations

from orbitflow.results.figures import best_as_written


def test_differences_that_are_not_printed_are_none() -> None:
    write = "{:.1f}".format
    assert best_as_written([99.61, 99.64], write, max) is None
    assert best_as_written([99.61, 99.64, 98.0], write, max) == "99.6"
    assert best_as_written([1.0, 2.0], write, min) == "1.0"


def test_one_value_or_none_is_not_marked() -> None:
    assert best_as_written([1.0], str, max) is None
    assert best_as_written([], str, max) is None
