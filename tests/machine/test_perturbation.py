"""`--perturb`: what it reads, what it refuses, and that only the machine changes."""

from __future__ import annotations

import numpy as np
import pytest
from reference.harness import serve
from strategies import small_machine

from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.machine.perturbation import Perturbation, read_perturbation
from orbitflow.request import Request
from orbitflow.scenario import build_scenario
from orbitflow.sim.pass_work import Noise
from orbitflow.sim.step_executor import SimExecutor


def test_reads_what_the_help_shows() -> None:
    assert read_perturbation("link=0.5,compute=1.3,noise=0.05") == Perturbation(0.5, 1.3, 0.05)
    assert read_perturbation(" link=2 ") == Perturbation(2.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no key ''"),
        ("lnk=2", "link"),
        ("link", "must be a number"),
        ("link=fast", "must be a number"),
        ("link=0", "0.01 to 100"),
        ("link=-1", "0.01 to 100"),
        ("compute=nan", "must be a number"),
        ("noise=1", "0 to 0.9"),
        ("link=2,link=3", "given twice"),
    ],
)
def test_refuses_the_rest_in_one_line(text: str, word: str) -> None:
    with pytest.raises(UserError, match="--perturb") as told:
        RunConfig(trace="azure_conv", perturb=text)
    assert word in str(told.value)
    assert "\n" not in str(told.value)


def test_policies_and_limits_keep_the_profile() -> None:
    plain = build_scenario(RunConfig(trace="azure_conv", num_requests=50))
    odd = build_scenario(
        RunConfig(trace="azure_conv", num_requests=50, perturb="link=0.5,compute=1.3,noise=0.1")
    )
    assert odd.believed == plain.believed == plain.true
    assert odd.slo.tbt_limit_s == plain.slo.tbt_limit_s
    assert odd.true.decode_pass_s(3, 700) == pytest.approx(1.3 * plain.true.decode_pass_s(3, 700))
    assert odd.true.prefill_s(300) == pytest.approx(1.3 * plain.true.prefill_s(300))
    assert odd.true.h2d.bytes_per_s[0] == pytest.approx(0.5 * plain.true.h2d.bytes_per_s[0])
    assert odd.noise == 0.1


def test_noise_belongs_to_passes() -> None:
    noise, same, other = Noise(0.1, 3), Noise(0.1, 3), Noise(0.1, 4)
    whole = noise.factors(0, 1000)
    assert np.array_equal(whole[400:700], same.factors(400, 300))
    assert not np.array_equal(whole, other.factors(0, 1000))
    assert whole.min() >= 0.9
    assert whole.max() <= 1.1
    assert whole.mean() == pytest.approx(1.0, abs=0.01)
    assert np.array_equal(noise.factors(1 << 16, 10), whole[:10])


@pytest.mark.parametrize("policy", ["no-offload", "dynamic"])
def test_passes_take_their_factor_of_compute(policy: str) -> None:
    machine = small_machine(2000)
    noise = Noise(0.1, 5)
    run = serve(
        policy,
        machine,
        [Request(0, 0.0, 40, 30)],
        executor=lambda m, plane: SimExecutor(m.cost, plane, noise),
    )
    times = run.finished[0].token_times_s
    plain = [machine.cost.decode_pass_s(1, 41 + j) for j in range(29)]
    factors = noise.factors(0, 30)  # the prompt's pass is the first
    assert np.diff(times) == pytest.approx(np.array(plain) * factors[1:])
