"""The command line. Only typer and the verb that is asked for are imported, so that `--help`
answers at once.

User errors print one line and exit 2, failures and errors of a user's policy exit 1, Ctrl-C exits
130; tracebacks only with --debug.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import typer

from orbitflow.cli.verbs import VERBS
from orbitflow.engine.signals import describe, end_by_exception, ended_by
from orbitflow.errors import OrbitFlowError, UserError, memory_note, os_note, policy_note, printable

_DEBUG = "--debug"
_INTERRUPTED = 130
COMPLETION = "_ORBITFLOW_COMPLETE"  # the variable by which shells ask


def _version(wanted: bool) -> None:
    if wanted:
        from orbitflow import __version__

        typer.echo(f"orbitflow {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show tracebacks instead of one-line errors.")
    ] = False,
) -> None:
    """SLO-aware KV-cache offloading for long-context LLM serving."""


def make_app(wanted: str | None = None) -> typer.Typer:
    """The command line with all its verbs; with one `wanted`, only that one is imported, and the
    others are there by their names.
    """
    app = typer.Typer(
        name="orbitflow",
        help="SLO-aware KV-cache offloading for long-context LLM serving: simulate, serve, "
        "compare.",
        epilog="Start with: orbitflow sim --trace azure_conv.jsonl",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help", "--help-all"]},
        pretty_exceptions_enable=False,
        add_completion=True,
    )
    app.callback()(_common)
    for verb in VERBS:
        verb.add(app, is_named_only=wanted not in (None, verb.name))
    return app


@cache
def _whole() -> typer.Typer:
    return make_app()


def __getattr__(name: str) -> typer.Typer:
    """`app`, the whole command line, made when it is asked for."""
    if name == "app":
        return _whole()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _wanted(arguments: Sequence[str]) -> str | None:
    """The verb that is asked for, "" for the help that lists them; None if all must be there."""
    if COMPLETION in os.environ:
        return None
    verb = next((word for word in arguments if not word.startswith("-")), "")
    return verb if verb in {known.name for known in VERBS} or not verb else None


def main() -> None:
    """Entry point of the `orbitflow` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a plain locale must not break a table
            stream.reconfigure(errors="backslashreplace")
    end_by_exception()
    try:
        arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
        code = make_app(_wanted(arguments))(arguments, standalone_mode=False)
    except UserError as error:
        _fail(error, 2)
    except OrbitFlowError as error:
        _fail(error, 1)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; nothing more to say
        raise SystemExit(1) from None
    except OSError as error:
        _fail(error, 1, policy_note(error) or os_note(error))
    except MemoryError as error:
        _fail(error, 1, memory_note(error))
    except Exception as error:
        if said := policy_note(error):
            _fail(error, 1, said)
        if isinstance(error, RuntimeError) and "memory" in str(error):  # as torch says it
            _fail(error, 1, memory_note(MemoryError(str(error).splitlines()[0])))
        usage = getattr(error, "format_message", None)  # typer's complaints about the command line
        if usage is None:
            raise
        _fail(UserError(f"{usage().rstrip('.')}; see --help" if usage().strip() else ""), 2)
    if code == _INTERRUPTED:  # typer tells only so much of what it was
        number = ended_by()
        code = 128 + number
        print(f"orbitflow: {describe(number)}", file=sys.stderr)
    raise SystemExit(code)


def _fail(error: Exception, code: int, said: str | None = None) -> None:
    if _DEBUG in sys.argv:
        raise error
    if message := printable(" ".join((said or str(error)).split())):
        print(f"orbitflow: {message}", file=sys.stderr)
    raise SystemExit(code)
