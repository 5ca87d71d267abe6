"""The options of `sim` for other commands: declared once, there, and read the same way."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from orbitflow.cli.sim import sim_command
from orbitflow.study.keys import POLICY, is_key, key_of, read_value

if TYPE_CHECKING:
    from orbitflow.config import RunConfig

_Command: TypeAlias = Callable[..., None]


def with_options_of_sim(
    wanted: Callable[[str], bool], *, own_first: bool = False
) -> Callable[[_Command], _Command]:
    """Give a command those options of `sim` that make up a configuration, before or after its own.

    Its own of the same name count; `wanted` says which of the others to take.
    """

    def decorate(command: _Command) -> _Command:
        own = inspect.signature(command, eval_str=True).parameters
        theirs = inspect.signature(sim_command, eval_str=True).parameters
        taken = [p for n, p in theirs.items() if is_key(n) and n not in own and wanted(n)]
        named = [p for p in own.values() if p.kind is not p.VAR_KEYWORD]

        listed = (*named, *taken) if own_first else (*taken, *named)

        def run(**options: Any) -> None:
            command(**options)

        signature = inspect.Signature(
            [p.replace(kind=p.KEYWORD_ONLY) for p in listed], return_annotation=None
        )
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        run.__doc__ = command.__doc__
        return run

    return decorate


def read_config(options: dict[str, Any]) -> RunConfig:
    """The configuration that these options stand for."""
    from orbitflow.config import RunConfig

    values: dict[str, Any] = {"policies": tuple(options.pop(POLICY, None) or ())}
    for name, value in options.items():
        key = key_of(name)
        values[key] = value
        if isinstance(value, str) and key != name:  # text with a unit
            values[key] = read_value(key, value, f"--{name.replace('_', '-')}")
    return RunConfig(**values)
