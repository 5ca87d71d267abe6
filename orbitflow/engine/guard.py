"""What a policy of a user does wrong gets one line, with the place in the user's file.

`ask` calls a policy's method. Its errors go on as they are, with the line as a note, which the
command line prints in place of a traceback.
`decide` also looks at the types of the decision. Both leave the policies of the package alone:
their errors are bugs of ours, whose tracebacks are wanted, and mypy checks their decisions.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

from orbitflow.engine.policy import Decision, Policy, View
from orbitflow.errors import POLICY_NOTE, OrbitFlowError, PolicyError, one_line
from orbitflow.placement import Placement

P = ParamSpec("P")
R = TypeVar("R")


def is_outside(policy: Policy) -> bool:
    """Whether a policy's class is of the user, not of this package."""
    return type(policy).__module__.partition(".")[0] != "orbitflow"


def ask(hook: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a method of a policy. What one from outside raises has a note with file and line."""
    try:
        return hook(*args, **kwargs)
    except OrbitFlowError:
        raise
    except Exception as error:
        policy: Policy = hook.__self__  # type: ignore[attr-defined]
        if is_outside(policy):
            said = f"{hook.__name__} raised {one_line(error)}{_place(hook, error)}"
            error.add_note(f"{POLICY_NOTE}{policy.name}: {said}")
        raise


def decide(policy: Policy, view: View) -> Decision:
    """Ask a policy what to do. Raise a PolicyError if the decision of one from outside has a wrong
    type, or names layers that are not there.
    """
    decision = ask(policy.decide, view)
    if is_outside(policy):
        _check(decision, policy.name, view.limits.layers)
    return decision


def _check(decision: Any, name: str, layers: int) -> None:
    if not isinstance(decision, Decision):
        raise PolicyError(
            f"policy {name}: decide returned {decision!r:.80}: return an orbitflow.Decision"
        )
    for field in ("admit", "pause", "resume", "drop"):
        ids = getattr(decision, field)
        if not (isinstance(ids, tuple) and all(isinstance(i, Integral) for i in ids)):
            raise _wrong(name, field, ids, "give a tuple of request ids, such as (3,)")
    window, placement = decision.window, decision.placement
    if window is not None and not isinstance(window, Integral):
        raise _wrong(name, "window", window, "give a whole number of passes, or None")
    if not isinstance(placement, Placement):
        raise _wrong(name, "placement", placement, "give an orbitflow.Placement")
    for host in (placement.default, *placement.exceptions.values()):
        if not _is_ascending(host, layers):
            raise _wrong(
                *(name, "placement", host),
                f"give a tuple of ascending layer numbers from 0 to {layers - 1}",
            )


def _is_ascending(host: Any, layers: int) -> bool:
    if not (isinstance(host, tuple) and all(isinstance(layer, Integral) for layer in host)):
        return False
    return list(host) == sorted({*host}) and (not host or (host[0] >= 0 and host[-1] < layers))


def _wrong(name: str, field: str, value: object, remedy: str) -> PolicyError:
    return PolicyError(f"policy {name}: its decision has {field}={value!r:.80}: {remedy}")


def _place(hook: Callable[..., Any], error: Exception) -> str:
    """` (file:line)`: the last line of the method's file that was running."""
    file = hook.__func__.__code__.co_filename  # type: ignore[attr-defined]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f" ({file}:{lines[-1]})" if lines else ""
