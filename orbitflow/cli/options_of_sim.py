"""A configuration as the options of `orbitflow sim` that stand for it; what is default is left out.

read_config(parse(arguments_of_sim(config))) == config, save for the SLO, which is written as tau.
"""

from __future__ import annotations

import inspect
from dataclasses import replace

from orbitflow.cli.sim import sim_command
from orbitflow.config import RunConfig
from orbitflow.study.keys import POLICY, is_key, key_of


def arguments_of_sim(config: RunConfig, *, tau_s: float) -> list[str]:
    """The words of a command line that runs `config` with `tau_s` as its limit between tokens."""
    config = replace(config, slo_tbt_s=tau_s, slo_scale=RunConfig.slo_scale)
    words: list[str] = []
    for name in inspect.signature(sim_command).parameters:
        if not is_key(name) or name == "timeline":
            continue
        option = "--" + name.replace("_", "-")
        if name == POLICY:
            words += [word for policy in config.policies for word in (option, policy)]
            continue
        key = key_of(name)
        value, default = getattr(config, key), getattr(RunConfig, key, None)
        if value == default:
            continue
        words += [option] if value is True else [option, _written(key, value)]
    return words


def _written(key: str, value: object) -> str:
    return f"{value!r}s" if key.endswith("_s") else str(value)
