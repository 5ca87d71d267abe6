"""The window of a uniform policy where nothing has head-room, against counting up by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.standing import Server

from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT
from orbitflow.policy.registry import make_policy
from orbitflow.policy.uniform import UniformPolicy


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    name=st.sampled_from(["preempt-swap", "deepspeed", "static-3", "dynamic", "zero-inference"]),
    contexts=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    gpu_pages=st.integers(8, 300),
)
def test_the_window_is_what_counting_up_finds(
    name: str, contexts: list[int], gpu_pages: int
) -> None:
    policy = Server(name, gpu_pages).policy
    assert isinstance(policy, UniformPolicy)
    tokens = np.array(contexts, dtype=np.int64)
    for choice in policy.choices():
        if len(choice) < 8 or policy._charged_groups:  # else nothing grows
            window = 1
            while policy._grown(tokens, window, choice) <= gpu_pages:
                window += 1
            assert policy._first_too_long(tokens, choice) == window


def test_a_window_of_millions_is_found_at_once() -> None:
    """Eight layers have room for two pages of 10^6 tokens: the third begins 2 000 000 tokens on."""
    policy = make_policy("preempt-swap")
    assert isinstance(policy, UniformPolicy)
    policy.limits = KvLimits(8, 1_000_000, 16)
    assert policy._first_too_long(np.array([1], dtype=np.int64), RESIDENT) == 2_000_000
