"""The synthetic twin against the real trace: marginals, dependence, bursts; and its determinism."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from orbitflow.errors import TraceError, UserError
from orbitflow.traces import Trace, read_trace
from orbitflow.traces.summary import burstiness
from orbitflow.traces.synth import DATA, load_model, synthesize


@pytest.fixture(scope="module")
def real(shared_traces: Path) -> Trace:
    return read_trace(shared_traces / "azure_conv_2023.csv")


@pytest.fixture(scope="module")
def fit_twin() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "fit_twin.py"
    spec = importlib.util.spec_from_file_location("fit_twin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 1, 2])
class TestLikeness:
    def test_distributions(self, real: Trace, seed: int) -> None:
        twin = synthesize(load_model("azure_conv"), seed=seed)
        assert len(twin) == len(real)
        for mine, theirs in (
            (twin.prompt_tokens, real.prompt_tokens),
            (twin.output_tokens, real.output_tokens),
            (np.diff(twin.arrival), np.diff(real.arrival)),
        ):
            assert stats.ks_2samp(mine, theirs).statistic <= 0.03
            assert mine.mean() == pytest.approx(theirs.mean(), rel=0.02)

    def test_dependence_of_output_on_input(self, real: Trace, seed: int) -> None:
        twin = synthesize(load_model("azure_conv"), seed=seed)
        mine, theirs = (
            stats.spearmanr(trace.prompt_tokens, trace.output_tokens).statistic
            for trace in (twin, real)
        )
        assert mine == pytest.approx(theirs, abs=0.05)

    def test_bursts(self, real: Trace, seed: int) -> None:
        twin = synthesize(load_model("azure_conv"), seed=seed)
        mine, theirs = burstiness(twin.arrival), burstiness(real.arrival)
        assert mine is not None
        assert theirs is not None
        assert mine.cv == pytest.approx(theirs.cv, rel=0.15)
        assert mine.lag1_autocorrelation is not None
        assert mine.lag1_autocorrelation >= 0.5

    def test_outputs_drift_as_slowly_as_the_real_ones(
        self, real: Trace, fit_twin: ModuleType, seed: int
    ) -> None:
        twin = synthesize(load_model("azure_conv"), seed=seed)
        assert fit_twin.output_drift(twin) == pytest.approx(fit_twin.output_drift(real), abs=0.03)

    def test_quiet_spells_have_longer_answers(self, real: Trace, seed: int) -> None:
        twin = synthesize(load_model("azure_conv"), seed=seed)
        mine, theirs = (
            stats.spearmanr(np.diff(trace.arrival), trace.output_tokens[1:]).statistic
            for trace in (twin, real)
        )
        assert mine == pytest.approx(theirs, abs=0.03)


def test_the_model_states_how_good_it_is(real: Trace, fit_twin: ModuleType) -> None:
    model = load_model("azure_conv")
    assert model.fidelity is not None
    measured = asdict(fit_twin.measure(real, synthesize(model)))
    assert asdict(model.fidelity) == pytest.approx(measured, abs=1e-4)
    assert model.requests == len(real)


def test_the_data_file_is_what_the_script_fits(real: Trace, fit_twin: ModuleType) -> None:
    model = load_model("azure_conv")
    assert (
        fit_twin.copula_of(real.prompt_tokens, real.output_tokens).tolist() == model.copula.tolist()
    )
    levels = fit_twin.quantile_levels()
    assert levels.tolist() == model.levels.tolist()
    table = np.quantile(real.prompt_tokens, levels)
    np.testing.assert_allclose(model.prompt_tokens, table, atol=0.06)


def test_the_file_says_whose_data_it_was_fitted_to() -> None:
    text = (DATA / "azure_conv.json").read_text(encoding="utf-8")
    for word in ("Azure Public Dataset", "CC-BY", "Patel et al., Splitwise", "sha256"):
        assert word in text


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 30_000])
def test_any_length(count: int) -> None:
    twin = synthesize(load_model("azure_conv"), count, seed=3)
    assert len(twin) == count
    assert twin.arrival[0] == 0
    assert twin.format == "synthetic"


def test_a_seed_fixes_every_byte() -> None:
    model = load_model("azure_conv")
    one, same, other = (synthesize(model, 500, seed=seed) for seed in (7, 7, 8))
    assert list(one.requests()) == list(same.requests())
    assert list(one.requests()) != list(other.requests())


def test_what_cannot_be_drawn() -> None:
    model = load_model("azure_conv")
    with pytest.raises(UserError, match="0 requests: must be 1 to"):
        synthesize(model, 0)
    with pytest.raises(UserError, match="seed -1"):
        synthesize(model, seed=-1)
    with pytest.raises(
        TraceError, match="no synthetic twin of 'azure_code'; did you mean azure_conv"
    ):
        load_model("azure_code")
