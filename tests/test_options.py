"""Every field of a configuration is an option with a row of its own, and no row is left over."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from orbitflow.config import Replay, RunConfig, refuse_removed
from orbitflow.errors import UserError
from orbitflow.options import (
    REPLAY_OPTIONS,
    RUN_OPTIONS,
    OptionSpec,
    option_name,
    parameter_name,
    read_quantity,
)

TABLES = [(RunConfig, RUN_OPTIONS), (Replay, REPLAY_OPTIONS)]


@pytest.mark.parametrize(("configuration", "table"), TABLES)
def test_a_row_for_every_field(configuration: Any, table: dict[str, OptionSpec]) -> None:
    assert list(table) == [field.name for field in fields(configuration)]
    names = [option_name(field, spec) for field, spec in table.items()]
    assert len(set(names)) == len(names)
    assert all(spec.help.endswith(".") for spec in table.values())


def test_what_stands_instead_of_another_names_an_option() -> None:
    names = {parameter_name(field, spec) for field, spec in RUN_OPTIONS.items()}
    others = {spec.instead_of for spec in RUN_OPTIONS.values()} - {""}
    assert others == {"slo_scale", "gpu_memory"}
    assert others <= names


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("policies", "--policy"),
        ("slo_tbt_s", "--slo-tbt"),
        ("slo_ttft_s", "--slo-ttft"),
        ("gpu_memory_bytes", "--gpu-memory"),
        ("kv_capacity_tokens", "--kv-capacity-tokens"),
        ("no_gate", "--no-gate"),
    ],
)
def test_the_unit_of_a_field_is_no_part_of_its_option(field: str, option: str) -> None:
    assert option_name(field, RUN_OPTIONS[field]) == option


def test_quantities_are_read_in_the_unit_of_the_field() -> None:
    assert read_quantity("slo_tbt_s", RUN_OPTIONS["slo_tbt_s"], "100ms") == 0.1
    assert read_quantity("gpu_memory_bytes", RUN_OPTIONS["gpu_memory_bytes"], "1GiB") == 2**30
    rate = REPLAY_OPTIONS["link_bytes_per_s"]
    assert read_quantity("link_bytes_per_s", rate, "0.4GB/s") == 4e8
    with pytest.raises(UserError, match=r"--link-bandwidth: '0\.4' has no unit"):
        read_quantity("link_bytes_per_s", rate, "0.4")


def test_what_was_removed_says_what_takes_its_place() -> None:
    refuse_removed("solver", "auto")
    with pytest.raises(UserError, match="--solver highs was removed"):
        refuse_removed("solver", "highs")
    with pytest.raises(UserError, match="--solver cbc was removed: leave --solver out"):
        refuse_removed("solver", "cbc")


def test_a_configuration_knows_no_command_line() -> None:
    import subprocess
    import sys

    code = "import sys, orbitflow.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"typer", "rich", "click", "numpy"}.isdisjoint(done.stdout.split())
