"""What computes something else than exact attention is refused before it begins."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from reference.served import LAYERS, PAGE, cost_model, server, tiny_decoder

from orbitflow.backend.executor import refuse_unserved
from orbitflow.errors import UserError
from orbitflow.memory import KvLimits
from orbitflow.policy.registry import make_policy, policy_names
from orbitflow.policy.stride import StaticStride


def test_a_policy_that_gathers_a_share_of_the_tokens_is_refused_in_one_line() -> None:
    with pytest.raises(
        UserError, match=r"--policy infinigen reads 20% .* use `orbitflow sim`"
    ) as e:
        refuse_unserved(make_policy("infinigen"))
    assert "\n" not in str(e.value)


def test_any_policy_that_says_it_is_lossy_is_refused() -> None:
    class Quantised(StaticStride):
        is_lossy = True

    with pytest.raises(UserError, match="--policy static-1 is lossy, and the backend computes"):
        refuse_unserved(Quantised(1))


def test_the_executor_refuses_it_by_itself() -> None:
    with pytest.raises(UserError, match="selects reads 20% of the KV on the host"):
        server("infinigen", 64)


def test_every_other_policy_is_served() -> None:
    for name in policy_names():
        policy = make_policy(name)
        policy.bind(KvLimits(LAYERS, PAGE, 640, 640), cost_model(tiny_decoder(), PAGE))
        if name != "infinigen":
            refuse_unserved(policy)
