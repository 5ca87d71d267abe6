"""The refiner in a run: a profile that is wrong costs tokens, learning wins them back."""

from __future__ import annotations

import numpy as np
import pytest
from reference.harness import Run, serve
from strategies import Machine, small_machine

from orbitflow.config import Tuning
from orbitflow.policy.orbitflow.policy import OrbitFlow
from orbitflow.request import Request
from orbitflow.results.metrics import pace
from orbitflow.sim.pass_work import Noise
from orbitflow.sim.step_executor import SimExecutor

TAU_S = 0.08
LINK_BYTES_PER_S = 4e6


def _requests() -> list[Request]:
    return [Request(i, 3.0 * i, 30 + 7 * (i % 5), 160) for i in range(40)]


def _run(
    believed: Machine, true: Machine, *, refine: bool = True, noise: Noise | None = None
) -> tuple[float, OrbitFlow, Run]:
    """Timely share of a run whose passes take what the true machine takes."""
    policy = OrbitFlow()
    policy.configure(Tuning(refine=refine))
    run = serve(
        policy, believed, _requests(), tbt_limit_s=TAU_S, max_batch=6,
        executor=lambda _, plane: SimExecutor(true.cost, plane, noise),
    )  # fmt: skip
    paced = [pace(f.token_times_s, TAU_S, deposit=True) for f in run.finished.values()]
    assert len(paced) == 40
    share = sum(p.due_s for p in paced) / sum(p.reading_s for p in paced)
    return share, policy, run


@pytest.mark.parametrize(("link", "compute"), [(2.0, 1.0), (3.0, 1.0), (2.0, 1.2)])
def test_most_of_what_a_wrong_profile_costs_is_won_back(link: float, compute: float) -> None:
    believed = small_machine(300, link_bytes_per_s=LINK_BYTES_PER_S)
    true = believed._replace(cost=believed.cost.slower(link=link, compute=compute))
    right, _, _ = _run(true, true)
    wrong, _, _ = _run(believed, true, refine=False)
    refined, policy, _ = _run(believed, true)
    assert right - wrong > 0.05, "the case must hurt"
    assert refined - wrong >= 0.8 * (right - wrong)
    assert policy.planning is not None
    assert 1 <= policy.planning.drifts <= 5


def test_noise_with_a_right_profile_asks_for_no_new_plans() -> None:
    machine = small_machine(300, link_bytes_per_s=LINK_BYTES_PER_S)
    _, quiet, _ = _run(machine, machine)
    counts = []
    for seed in range(5):
        _, noisy, _ = _run(machine, machine, noise=Noise(0.05, seed))
        assert noisy.planning is not None
        assert noisy.planning.drifts == 0
        counts.append(noisy.planning.searches)
    assert quiet.planning is not None
    assert np.mean(counts) == pytest.approx(quiet.planning.searches, rel=0.1)
