"""What `orbitflow validate` and `orbitflow run --validate` do: compare, print, keep."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from orbitflow.cli.tables import console
from orbitflow.codec import write_text
from orbitflow.errors import OrbitFlowError
from orbitflow.units import format_bytes, format_seconds
from orbitflow.validate.compare import ComparedFigure
from orbitflow.validate.recorded import read_run
from orbitflow.validate.validation import SCHEMA_VERSION, PassErrors, PolicyValidation, validate

_PASS_ROWS: tuple[tuple[str, Callable[[PassErrors], float | None]], ...] = (
    ("passes: error of their sum", lambda errors: errors.total),
    ("passes: mean error", lambda errors: errors.mean),
    ("passes: median |error|", lambda errors: errors.median_absolute),
    ("passes: p95 |error|", lambda errors: errors.p95_absolute),
)


class Found(NamedTuple):
    """A validation: by policy, as it is in validation.json, and whose replay went another way."""

    path: Path
    policies: list[PolicyValidation]
    content: dict[str, object]
    broken: list[str]


def run_validation(path: Path, *, as_json: bool) -> None:
    """What the command does. Raise an OrbitFlowError if a replay decided anything else."""
    found = validate_folder(path, _silent if as_json else _say)
    if as_json:
        print(json.dumps(found.content, indent=2, allow_nan=False))
    else:
        print_validation(found)
    refuse_broken(found.broken)


def validate_folder(path: Path, say: Callable[[str], object]) -> Found:
    """Validate a run, and leave validation.json in its folder."""
    run = read_run(path)
    found = validate(run, lambda name: say(f"validating {name}"))
    content: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "policies": {policy.policy: policy.to_json() for policy in found},
    }
    text = json.dumps(content, indent=2, allow_nan=False)
    write_text(path / "validation.json", text + "\n")
    broken = [policy.policy for policy in found if policy.replay.divergence is not None]
    return Found(path, found, content, broken)


def refuse_broken(broken: Sequence[str]) -> None:
    """Raise an OrbitFlowError if a replay went another way."""
    if broken:
        raise OrbitFlowError(
            f"{', '.join(broken)}: the replay of the journal decided something else than the run; "
            "this is a bug, or the journal was changed"
        )


def print_validation(made: Found) -> None:
    """A table of errors, a column per policy, then what can only be said in words."""
    out, found = console(), made.policies
    table = Table(
        title=Text("simulated against measured: relative errors; of shares, points"),
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for policy in found:
        table.add_column(Text(policy.policy), justify="right")
    names = [figure.name for figure in found[0].figures]
    for index, name in enumerate(names):
        table.add_row(name, *(_cell(policy.figures[index]) for policy in found))
    for label, value in _PASS_ROWS:
        table.add_row(label, *(_signed(value(policy.by_profile)) for policy in found))
    table.add_row(
        "the same, as the policy believed",
        *(_signed(policy.believed.median_absolute) for policy in found),
    )
    table.add_row("replay", *(_replay(policy) for policy in found))
    out.print(table)
    for policy in found:
        if policy.difference is None:
            out.print(Text(f"{policy.policy}: the simulation took every decision of the run"))
        else:
            said = policy.difference.explanation
            out.print(Text(f"{policy.policy}: {policy.difference.agreed} decisions agree; {said}"))
    out.print(Text(f"validation in {made.path / 'validation.json'}"))


def _silent(line: str) -> None:
    pass


def _cell(figure: ComparedFigure) -> str:
    if figure.measured is None or figure.error is None:
        return "n/a"
    if figure.is_share:
        return f"{100 * figure.measured:.1f} % {100 * figure.error:+.1f}"
    write = format_bytes if figure.name.endswith("bytes") else format_seconds
    return f"{write(figure.measured)} {_signed(figure.error)}"


def _signed(error: float | None) -> str:
    return "n/a" if error is None else f"{100 * error:+.1f} %"


def _replay(policy: PolicyValidation) -> str:
    divergence = policy.replay.divergence
    if divergence is None:
        return f"same, {policy.replay.steps} steps"
    return f"differs at {divergence.entry}"


def _say(line: str) -> None:
    print(line, file=sys.stderr)
