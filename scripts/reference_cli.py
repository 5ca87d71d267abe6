"""The command line as a page: every command, its help and its options, from their declarations.

What typer draws depends on its version and the terminal; what is declared does not, so the page is
made of the signatures alone.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from orbitflow.cli import app

_WORDS = {int: "whole number", float: "number", str: "text", Path: "path"}
_EXAMPLE = "Example:"


def cli_page() -> str:
    """The text of docs/reference/cli.md."""
    lines = [
        "# Command line",
        "",
        "Every command of `orbitflow` and every option. `orbitflow COMMAND --help` shows the ones "
        "that most people need, `--help-all` all of them. `--debug` anywhere shows a traceback "
        "instead of a one-line error. Exit codes: 0; 1 where something failed; 2 where the command "
        "line or a file has to be corrected; 130 after Ctrl-C.",
        "",
    ]
    for name, command in commands(app, "orbitflow"):
        lines += _command(name, command)
    return "\n".join(lines).rstrip() + "\n"


def commands(of: typer.Typer, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, in the order in which `--help` lists them."""
    for command in of.registered_commands:
        yield f"{name} {command.name}", command.callback
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{name} {group.name}")


def examples(command: Any) -> list[str]:
    """The command lines that a command's help gives as examples."""
    return [p.removeprefix(_EXAMPLE).strip() for p in _paragraphs(command) if _is_example(p)]


def _is_example(paragraph: str) -> bool:
    return paragraph.startswith(_EXAMPLE)


def _paragraphs(command: Any) -> list[str]:
    text = inspect.cleandoc(command.__doc__ or "")
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]


def _command(name: str, command: Any) -> list[str]:
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    declared = [(p, *_declaration(p)) for p in parameters if p.annotation is not typer.Context]
    arguments = [(p, kind, i) for p, kind, i in declared if isinstance(i, ArgumentInfo)]
    options = [(p, kind, i) for p, kind, i in declared if isinstance(i, OptionInfo)]
    usage = "".join(
        f" {_metavar(p, i) if p.default is p.empty else f'[{_metavar(p, i)}]'}"
        for p, _, i in arguments
    )
    lines = [f"## {name}", "", f"`{name}{usage} [OPTIONS]`", ""]
    for paragraph in _paragraphs(command):
        if not _is_example(paragraph):
            lines += [paragraph, ""]
    if found := examples(command):
        lines += ["```", *found, "```", ""]
    if arguments:
        lines += ["| argument | what |", "|---|---|"]
        lines += [f"| `{_metavar(p, i)}` | {_cell(i.help)} |" for p, _, i in arguments]
        lines.append("")
    panels = dict.fromkeys(i.rich_help_panel or "" for _, _, i in options)
    for panel in panels:
        lines += [f"| {panel or 'option'} | takes | default | what |", "|---|---|---|---|"]
        lines += [_option(*o) for o in options if (o[2].rich_help_panel or "") == panel]
        lines.append("")
    return lines


def _declaration(parameter: inspect.Parameter) -> tuple[Any, Any]:
    assert get_origin(parameter.annotation) is Annotated, parameter
    kind, info = get_args(parameter.annotation)
    return kind, info


def _metavar(parameter: inspect.Parameter, info: Any) -> str:
    return str(info.metavar or parameter.name.upper())


def _option(parameter: inspect.Parameter, kind: Any, info: OptionInfo) -> str:
    written = ", ".join(f"`{name}`" for name in _names(parameter, info))
    takes, is_repeated = _takes(kind)
    takes += ", again for more" if is_repeated else ""
    return f"| {written} | {takes} | {_default(parameter.default)} | {_cell(info.help)} |"


def _names(parameter: inspect.Parameter, info: OptionInfo) -> tuple[str, ...]:
    # Inside Annotated, the first name that is declared arrives as the default.
    first = (info.default,) if isinstance(info.default, str) else ()
    return (*first, *(info.param_decls or ())) or ("--" + parameter.name.replace("_", "-"),)


def _takes(kind: Any) -> tuple[str, bool]:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = [k for k in get_args(kind) if k is not types.NoneType]
    if get_origin(kind) is list:
        return _takes(get_args(kind)[0])[0], True
    if kind is bool:
        return "", False
    if issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind), False
    return _WORDS[kind], False


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if value is None or value is False or value == [] or value == ():
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
