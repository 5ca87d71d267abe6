"""Command-line options made from the configuration's fields, and those that commands share.

A command names the fields that it takes; types and defaults come from `config`, the rest from the
rows of `orbitflow.options`. `--help` shows the basic ones, `--help-all` every one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer
import typer.core

from orbitflow import options as rows
from orbitflow.config import Replay, RunConfig, refuse_removed
from orbitflow.errors import UserError
from orbitflow.options import (
    OUTPUT,
    REPLAY_OPTIONS,
    RUN_OPTIONS,
    WORKLOAD,
    OptionSpec,
    option_name,
    parameter_name,
    read_quantity,
    unit_of,
)

_Command: TypeAlias = Callable[..., None]
_POLICIES = "policies"
_FIELDS = {RunConfig: RUN_OPTIONS, Replay: REPLAY_OPTIONS}
_NOT_GIVEN = ("DEFAULT", "DEFAULT_MAP")
RUN_FIELDS = tuple(RUN_OPTIONS)
REPLAY_FIELDS = tuple(REPLAY_OPTIONS)
STUDY_FIELDS = tuple(name for name in RUN_FIELDS if name != "timeline")  # studies keep none
STUDY_SHOWN = (  # beside the options that studies have of their own
    "trace", "policy", "profile", "gpu_memory", "kv_capacity_tokens", "slo_scale",
    "slo_tbt", "rate_scale", "num_requests",
)  # fmt: skip

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print only JSON.", rich_help_panel=OUTPUT)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result.", rich_help_panel=OUTPUT)
]
RunOut: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="New folder for the results. Default: runs/<trace>-<n>.", rich_help_panel=OUTPUT
    ),
]
StudyOut: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the study; a study that is there goes on. Default: studies/<trace>-<n>.",
        rich_help_panel=OUTPUT,
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Simulations at a time; by default as many as there are CPUs.",
        rich_help_panel="Study",
    ),
]
StudyJitter: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Multiply every gap by 1 ± x, seeded; 0 <= x < 1. Default 0.01 with several seeds, "
        "else 0.",
        rich_help_panel=WORKLOAD,
        hidden=True,
    ),
]


def check_workers(workers: int | None) -> None:
    """Raise a UserError for a number that nothing can run on."""
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers} must be at least 1")


class Command(typer.core.TyperCommand):
    """A command that says what became of options and values that there were."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look for removed ones first: the parser would only say that it knows none."""
        for word, after in zip(args, [*args[1:], ""], strict=False):
            name, _, value = word.partition("=")
            if name.startswith("--"):
                refuse_removed(name[2:].replace("-", "_"), value or after)
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class Given:
    """The configuration's options as they were given, by field. `explicit` names, as parameters,
    all options that were not left at their defaults.
    """

    run: dict[str, Any]
    replay: dict[str, Any]
    explicit: frozenset[str]

    def config(self, **own: Any) -> RunConfig:
        """The configuration, with fields that the command has options of its own for."""
        return RunConfig(**{**self.run, **own})

    def backend(self, **own: Any) -> Replay:
        """The device and its model, likewise."""
        return Replay(**{**self.replay, **own})


def configured(
    run: Collection[str] = RUN_FIELDS,
    replay: Collection[str] = (),
    *,
    shown: Collection[str] | None = None,
    own_first: bool = False,
) -> Callable[[_Command], _Command]:
    """Give a command options for these fields of RunConfig and Replay, before or after its own.

    It is called with them as `given`. Its own of the same name count. `shown` are the parameters
    that `--help` lists of them, otherwise the basic ones.
    """

    def decorate(command: _Command) -> _Command:
        own = {
            name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
            if name != "given"
        }
        taken = {p.name: (source, field, p) for source, field, p in _parameters(run, replay, shown)}
        for name in own:
            taken.pop(name, None)
        theirs = [parameter for _, _, parameter in taken.values()]
        listed = [*own.values(), *theirs] if own_first else [*theirs, *own.values()]

        def call(ctx: typer.Context, help_all: bool, **options: Any) -> None:
            explicit = frozenset(n for n in (*own, *taken) if _is_explicit(ctx, n))
            refuse_contradictions(explicit)
            read: dict[type, dict[str, Any]] = {RunConfig: {}, Replay: {}}
            for name, (source, field, _) in taken.items():
                read[source][field] = _value(source, field, options.pop(name))
            command(**options, given=Given(read[RunConfig], read[Replay], explicit))

        signature = inspect.Signature([_CONTEXT, *listed, _HELP_ALL], return_annotation=None)
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        call.__doc__ = command.__doc__
        return call

    return decorate


def refuse_contradictions(explicit: Collection[str], keys: Collection[str] = ()) -> None:
    """Raise a UserError if two options were given of which one makes the other meaningless;
    `explicit` are parameters' names, `keys` fields that a study varies.
    """
    named = {
        field for field, spec in RUN_OPTIONS.items() if parameter_name(field, spec) in explicit
    }
    rows.refuse_contradictions(named.union(keys))


def split_policies(values: Sequence[str]) -> tuple[str, ...]:
    """Names of policies, given with commas or one by one. Raise a UserError for an empty one."""
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise UserError(f"--policy {','.join(values)!r} has an empty place: write a,b,c")
    return tuple(names)


def arguments_of_sim(config: RunConfig, *, tbt_limit_s: float) -> list[str]:
    """The words after `orbitflow sim` that run `config` with this limit between tokens.

    What is default is left out, and `--gpu-memory` where the KV capacity is given. Read back they
    are the same configuration, save for these two.
    """
    config = replace(config, slo_tbt_s=tbt_limit_s, slo_scale=RunConfig.slo_scale, timeline=False)
    if config.kv_capacity_tokens is not None:
        config = replace(config, gpu_memory_bytes=None)
    words: list[str] = []
    for field, spec in RUN_OPTIONS.items():
        value, option = getattr(config, field), option_name(field, spec)
        if value != getattr(RunConfig, field, None):
            words += [option] if value is True else [option, _written(field, value)]
    return words


def _written(field: str, value: Any) -> str:
    if field == _POLICIES:
        return ",".join(value)
    unit = {"_s": "s", "_bytes": "B"}.get(unit_of(field))
    return str(value) if unit is None else f"{value!r}{unit}"


def _parameters(
    run: Collection[str], replay: Collection[str], shown: Collection[str] | None
) -> Iterator[tuple[type, str, inspect.Parameter]]:
    for source, fields in ((RunConfig, run), (Replay, replay)):
        hints = get_type_hints(source)
        for field, spec in _FIELDS[source].items():
            if field in fields:
                default = getattr(source, field, inspect.Parameter.empty)
                is_shown = spec.is_basic
                if shown is not None:
                    is_shown = parameter_name(field, spec) in shown
                yield source, field, _parameter(field, spec, hints[field], default, is_shown)


def _parameter(
    field: str, spec: OptionSpec, kind: Any, default: Any, is_shown: bool
) -> inspect.Parameter:
    if field == _POLICIES:
        kind, default = list[str] | None, None
    elif unit_of(field):
        kind, default = str | None, None if default is None else f"{default:g}s"
    info = typer.Option(
        *((option_name(field, spec),) if kind is bool else ()),
        help=spec.help,
        rich_help_panel=spec.panel,
        hidden=not is_shown,
    )
    name, annotation = parameter_name(field, spec), Annotated[kind, info]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _value(source: type, field: str, value: Any) -> Any:
    if field == _POLICIES:
        return split_policies(value or ())
    if isinstance(value, str) and unit_of(field):
        return read_quantity(field, _FIELDS[source][field], value)
    return value


def _is_explicit(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name not in _NOT_GIVEN


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    rare = [parameter for parameter in ctx.command.params if getattr(parameter, "hidden", False)]
    for parameter in rare:
        parameter.hidden = False  # type: ignore[attr-defined]
    typer.echo(ctx.get_help())
    for parameter in rare:
        parameter.hidden = True  # type: ignore[attr-defined]
    raise typer.Exit


_CONTEXT = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
_HELP_ALL = inspect.Parameter(
    "help_all",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option(
            "--help-all", is_eager=True, callback=_show_all, help="Show every option and exit."
        ),
    ],
)
