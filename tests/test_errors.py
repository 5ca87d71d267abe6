"""The tree of errors, and the help for mistyped names."""

from __future__ import annotations

import pytest

from orbitflow.errors import (
    OrbitFlowError,
    PolicyError,
    PolicyNameError,
    ProfileError,
    TraceError,
    UserError,
    nearest,
)


@pytest.mark.parametrize("kind", [TraceError, ProfileError, PolicyNameError])
def test_wrong_input_is_a_user_error(kind: type[Exception]) -> None:
    assert issubclass(kind, UserError)


def test_a_broken_policy_is_not_the_users_fault() -> None:
    assert issubclass(PolicyError, OrbitFlowError)
    assert not issubclass(PolicyError, UserError)
    assert not issubclass(OrbitFlowError, ValueError)


NAMES = ["no-offload", "dynamic", "deepspeed", "static-1", "static-2", "static-4", "static-8"]


def test_one_near_name() -> None:
    assert nearest("dinamic", NAMES) == "did you mean dynamic?"


def test_several_near_names_the_nearest_first() -> None:
    said = nearest("static-11", NAMES)
    assert said.startswith("did you mean static-1 or ")
    assert said.count(" or ") == 2


@pytest.mark.parametrize("name", ["", "zzz"])
def test_nothing_near_lists_all_in_order(name: str) -> None:
    assert nearest(name, NAMES) == (
        "known: deepspeed, dynamic, no-offload, static-1, static-2, static-4, static-8"
    )


def test_names_may_come_from_an_iterator_and_unsorted() -> None:
    assert nearest("zz", iter(["b", "a"])) == "known: a, b"
