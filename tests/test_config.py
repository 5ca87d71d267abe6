"""Every option is checked where it is kept, and every refusal can be acted upon."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.config import DeliveryPace, DepositRule, PipelineForm, RunConfig, to_toml
from orbitflow.errors import UserError
from orbitflow.options import LARGEST, SMALLEST

POSITIVE = {
    "slo_scale": "--slo-scale",
    "slo_tbt_s": "--slo-tbt",
    "slo_ttft_s": "--slo-ttft",
    "rate_scale": "--rate-scale",
    "context_scale": "--context-scale",
    "output_scale": "--output-scale",
    "link_scale": "--link-scale",
    "compute_scale": "--compute-scale",
    "token_value": "--token-value",
}
POSITIVE_WHOLE = {
    "gpu_memory_bytes": "--gpu-memory",
    "kv_capacity_tokens": "--kv-capacity-tokens",
    "host_memory_bytes": "--host-memory",
    "num_requests": "--num-requests",
}
AT_LEAST_ZERO = {
    "slo_ttft_scale": "--slo-ttft-scale",
    "lost_weight": "--lost-weight",
    "late_load": "--late-load",
    "max_batch": "--max-batch",
    "prefill_chunk": "--prefill-chunk",
    "seed": "--seed",
}


def make(**options: Any) -> RunConfig:
    return RunConfig(trace="t", **options)


def refusal(**options: Any) -> str:
    with pytest.raises(UserError) as refused:
        make(**options)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", POSITIVE)
def test_scales_and_limits_are_positive(name: str, value: float) -> None:
    message = refusal(**{name: value})
    assert POSITIVE[name] in message.split()
    assert str(value) in message
    assert "above 0" in message


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", POSITIVE_WHOLE)
def test_amounts_are_positive(name: str, value: int) -> None:
    message = refusal(**{name: value})
    assert POSITIVE_WHOLE[name] in message.split()
    assert str(value) in message
    assert "above 0" in message


@pytest.mark.parametrize("name", AT_LEAST_ZERO)
def test_some_may_be_zero_but_not_less(name: str) -> None:
    assert getattr(make(**{name: 0}), name) == 0
    message = refusal(**{name: -1})
    assert AT_LEAST_ZERO[name] in message.split()
    assert "-1" in message
    assert "at least 0" in message


@pytest.mark.parametrize(("name", "hint"), [("max_batch", "no limit"), ("prefill_chunk", "whole")])
def test_what_zero_means_is_said(name: str, hint: str) -> None:
    assert hint in refusal(**{name: -1})


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_an_infinite_scale_is_not_called_too_small(value: float) -> None:
    message = refusal(slo_ttft_scale=value)
    assert "--slo-ttft-scale" in message
    assert "finite" in message


@pytest.mark.parametrize("value", [-0.5, 1.0, 2.0, math.nan, math.inf])
def test_jitter_is_a_share_below_one(value: float) -> None:
    """Checked with the others, before a trace is read."""
    message = refusal(arrival_jitter=value)
    assert "--arrival-jitter" in message
    assert "less than 1" in message


def test_defaults_are_valid_and_as_documented() -> None:
    config = make()
    assert config.slo_scale == 1.5
    assert config.slo_ttft_s == 2
    assert config.slo_ttft_scale == 5
    assert config.prefill_chunk == 0
    assert config.seed == 0
    assert config.pace is DeliveryPace.SLO
    assert config.deposit is DepositRule.ALL
    assert config.pipeline is PipelineForm.RING


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().seed = 3  # type: ignore[misc]


def test_toml_has_every_option_that_is_set() -> None:
    config = make(
        policies=("no-offload", "static-2"),
        profile="a5000-roofline",
        gpu_memory_bytes=24 * 2**30,
        slo_tbt_s=0.1,
        rate_scale=1e-7,
        compute_scale=1e8,
        pace=DeliveryPace.IMMEDIATE,
    )
    read = tomllib.loads(to_toml(config, {"max_batch": 0, "nothing": None, "yes": True}))
    resolved = read.pop("resolved")
    assert resolved == {"max_batch": 0, "yes": True}
    options = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if value is not None
    }
    assert read == options
    assert read["pace"] == "immediate"


@pytest.mark.parametrize(
    "text",
    ["", 'say "hi"', "C:\\traces\\x", "\\", '\\"', "zürich 東京 🚀", "a\nb", "tab\there", "# no"],
)
def test_toml_keeps_text(text: str) -> None:
    read = tomllib.loads(to_toml(RunConfig(trace=text, policies=(text,)), {"trace_source": text}))
    assert read["trace"] == text
    assert read["policies"] == [text]
    assert read["resolved"]["trace_source"] == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_toml_keeps_any_text(text: str) -> None:
    """A file name may hold any character but NUL and the slash, control characters included."""
    assert tomllib.loads(to_toml(RunConfig(trace=text), {}))["trace"] == text


@given(st.floats(min_value=SMALLEST, max_value=LARGEST))
def test_toml_keeps_any_number(value: float) -> None:
    assert tomllib.loads(to_toml(make(rate_scale=value), {}))["rate_scale"] == value
