"""What `orbitflow validate` and `orbitflow run --validate` do: compare, print, keep."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from orbitflow.codec import write_text
from orbitflow.errors import OrbitFlowError
from orbitflow.tables import console
from orbitflow.units import format_bytes, format_seconds
from orbitflow.validate.figures import Compared
from orbitflow.validate.recorded import read_run
from orbitflow.validate.validation import SCHEMA_VERSION, PassErrors, PolicyValidation, validate

_PASS_ROWS: tuple[tuple[str, Callable[[PassErrors], float | None]], ...] = (
    ("passes: error of their sum", lambda errors: errors.total),
    ("passes: mean error", lambda errors: errors.mean),
    ("passes: median |error|", lambda errors: errors.median_absolute),
    ("passes: p95 |error|", lambda errors: errors.p95_absolute),
)


def validate_folder(path: Path, *, as_json: bool, quiet: bool = False) -> None:
    """Validate a run. Raise an OrbitFlowError in the end if a replay decided anything else."""
    run = read_run(path)
    talks = not (as_json or quiet)
    found = validate(run, lambda name: _say(f"validating {name}") if talks else None)
    content = {
        "schema_version": SCHEMA_VERSION,
        "policies": {policy.policy: policy.to_json() for policy in found},
    }
    text = json.dumps(content, indent=2, allow_nan=False)
    write_text(path / "validation.json", text + "\n")
    if as_json:
        print(text)
    else:
        print_validation(found)
        console().print(Text(f"validation in {path / 'validation.json'}"))
    broken = [policy.policy for policy in found if policy.replay.divergence is not None]
    if broken:
        raise OrbitFlowError(
            f"{', '.join(broken)}: the replay of the journal decided something else than the run; "
            "this is a bug, or the journal was changed"
        )


def print_validation(found: Sequence[PolicyValidation]) -> None:
    """A table of errors, a column per policy, then what can only be said in words."""
    out = console()
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


def _cell(figure: Compared) -> str:
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
