"""Names of policies."""

from __future__ import annotations

import pytest
from orbitflow.engine.policy import Lengths, Policy

from orbitflow.errors import PolicyNameError
from orbitflow.policy.registry import DEFAULT_POLICIES, expand, make_policy, policy_names
from orbitflow.policy.stride import StaticStride


def test_the_policies_of_the_first_issue_are_there() -> None:
    assert {
        "no-offload",
        "deepspeed",
        "dynamic",
        "static-1",
        "static-2",
        "static-4",
        "static-8",
    } <= (set(policy_names()))


@pytest.mark.parametrize("name", policy_names())
def test_every_policy_says_what_it_is(name: str) -> None:
    policy = make_policy(name)
    assert isinstance(policy, Policy)
    assert policy.name == name
    assert isinstance(policy.lengths, Lengths)
    assert policy.admission
    assert make_policy(name) is not policy


def test_any_stride_may_be_asked_for() -> None:
    policy = make_policy("static-7")
    assert isinstance(policy, StaticStride)
    assert (policy.name, policy.distance) == ("static-7", 7)


@pytest.mark.parametrize("name", ["static-0", "static--1", "static-", "static-1.5", "static-01"])
def test_strides_that_make_no_sense(name: str) -> None:
    with pytest.raises(PolicyNameError, match="did you mean static-"):
        make_policy(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinamic", "'dinamic': did you mean dynamic?"),
        ("no_offload", "did you mean no-offload?"),
        ("deep-speed", "did you mean deepspeed"),
        ("zzz", "known: deepspeed, dynamic, flexgen, flexgen-plus, infinigen"),
        ("", "'': known: deepspeed"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, said: str) -> None:
    with pytest.raises(PolicyNameError) as refusal:
        make_policy(name)
    assert said in str(refusal.value)


def test_nothing_named_gives_the_defaults() -> None:
    assert expand(()) == list(DEFAULT_POLICIES)
    assert "no-offload" in DEFAULT_POLICIES
    assert "dynamic" in DEFAULT_POLICIES


def test_all_and_repetitions() -> None:
    assert expand(["all"]) == policy_names()
    assert expand(["dynamic", "no-offload", "dynamic"]) == ["dynamic", "no-offload"]
    assert expand(["dynamic", "all"])[0] == "dynamic"
    assert sorted(expand(["dynamic", "all", "all"])) == sorted(policy_names())
    assert expand(["static-7", "all"]) == ["static-7", *policy_names()]


def test_one_wrong_name_refuses_them_all() -> None:
    with pytest.raises(PolicyNameError, match="zzz"):
        expand(["dynamic", "zzz"])
