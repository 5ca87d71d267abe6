"""The command line. Only typer is imported until a command runs, so that `--help` answers at once.

User errors print one line and exit 2, failures and errors of a user's policy exit 1, Ctrl-C exits
130; tracebacks only with --debug.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from orbitflow.cli.calibrate import calibrate_command
from orbitflow.cli.doctor import doctor_command
from orbitflow.cli.generate import generate_command
from orbitflow.cli.options import Command
from orbitflow.cli.plan import plan_command
from orbitflow.cli.profile import profile_app
from orbitflow.cli.report import report_command
from orbitflow.cli.run import run_command
from orbitflow.cli.sim import sim_command
from orbitflow.cli.study import study_app
from orbitflow.cli.trace import trace_app
from orbitflow.cli.validate import validate_command
from orbitflow.engine.signals import describe, end_by_exception, ended_by
from orbitflow.errors import OrbitFlowError, UserError, memory_note, os_note, policy_note, printable

_DEBUG = "--debug"
_INTERRUPTED = 130

app = typer.Typer(
    name="orbitflow",
    help="SLO-aware KV-cache offloading for long-context LLM serving: simulate, serve, compare.",
    epilog="Start with: orbitflow sim --trace azure_conv.jsonl",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help", "--help-all"]},
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        from orbitflow import __version__

        typer.echo(f"orbitflow {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show tracebacks instead of one-line errors.")
    ] = False,
) -> None:
    """SLO-aware KV-cache offloading for long-context LLM serving."""


app.command("sim", cls=Command)(sim_command)
app.command("run", cls=Command)(run_command)
app.command("generate", cls=Command)(generate_command)
app.command("calibrate", cls=Command)(calibrate_command)
app.command("validate")(validate_command)
app.command("plan", cls=Command)(plan_command)
app.add_typer(study_app, name="study")
app.command("report")(report_command)
app.add_typer(trace_app, name="trace")
app.add_typer(profile_app, name="profile")
app.command("doctor")(doctor_command)


def main() -> None:
    """Entry point of the `orbitflow` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a plain locale must not break a table
            stream.reconfigure(errors="backslashreplace")
    end_by_exception()
    try:
        code = app([a for a in sys.argv[1:] if a != _DEBUG], standalone_mode=False)
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
