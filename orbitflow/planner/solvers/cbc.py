"""CBC as a process of its own: PuLP 3 brings one, PuLP 4 finds that of cbcbox or of the PATH.

Started here and not by PuLP, which splits paths at spaces and on Ctrl-C leaves its files, and the
process, behind. The process runs in a temporary folder, under names without folders.

Its preprocessing is off, as that of 2.10.3 is wrong: given a start it calls worse plans, and even
relaxations, optimal; a continuous variable without lower bound it may take for an integer.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pulp

from orbitflow.planner.linear import Floats, LinearProgram
from orbitflow.planner.solvers.base import Effort, Outcome, Solver, Status

_GRACE_S = 5.0  # after its own time limit, until it is killed
_MODEL, _START, _SOLUTION = "model.mps", "start.sol", "answer.sol"


def _executable() -> str | None:
    """Where CBC is."""
    bundled = getattr(pulp, "PULP_CBC_CMD", None)  # gone in PuLP 4
    own = None if bundled is None else shutil.which(str(bundled.pulp_cbc_path))
    return own or shutil.which(str(pulp.COIN_CMD(msg=False).path))


def _missing() -> str | None:
    return None if _executable() else "no executable cbc"


def _run(program: LinearProgram, effort: Effort, start: Floats | None) -> Outcome:
    executable = _executable()
    if executable is None:
        return Outcome(Status.FAILED, None, "no executable cbc")
    with tempfile.TemporaryDirectory(prefix="orbitflow-cbc-") as name:
        folder = Path(name)
        (folder / _MODEL).write_text("\n".join(_mps(program)))
        if start is not None:
            (folder / _START).write_text("\n".join(_solution(start)))
        limit_s = None if effort.seconds is None else effort.seconds + _GRACE_S
        status = _wait_for([executable, *_arguments(effort, start)], folder, limit_s)
        if status is None:
            return Outcome(Status.FAILED, None, "does not heed its time limit")
        if status != 0:
            return Outcome(Status.FAILED, None, f"exit status {status}")
        if not (folder / _SOLUTION).exists():
            return Outcome(Status.FAILED, None, "wrote no solution")
        return _read((folder / _SOLUTION).read_text(), len(program.cost))


def _wait_for(command: list[str], folder: Path, limit_s: float | None) -> int | None:
    """The exit status of a process, which never outlives the call; None if it takes too long."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with _no_interrupts():  # between the fork and its being known, Ctrl-C would leave it behind
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:  # subprocess.run would not wait for it after Ctrl-C
        if process is not None:
            process.kill()
            process.wait()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block.

    Python runs signal handlers in the main thread, whichever thread the system gave the signal to,
    so blocking it in this thread would not do; in another one there is nothing to put off.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is None:  # None: it is not Python's to change
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _arguments(effort: Effort, start: Floats | None) -> list[str]:
    arguments = [_MODEL, "-threads", "0", "-ratio", repr(effort.gap)]  # 0: none but its own
    arguments += ["-preprocess", "off"]  # see above
    if effort.nodes is not None:
        arguments += ["-maxNodes", str(effort.nodes)]
    if effort.seconds is not None:
        arguments += ["-timeMode", "elapsed", "-sec", repr(effort.seconds)]
    if start is not None:
        arguments += ["-mips", _START]
    return [*arguments, "-solve", "-printingOptions", "all", "-solution", _SOLUTION]


def _mps(program: LinearProgram) -> Iterator[str]:
    """The problem as a file in free MPS; every bound is written, as defaults differ by reader."""
    yield "NAME plan FREE"
    yield "ROWS"
    yield " N cost"
    yield from (f" {_sense(*row)[0]} r{i}" for i, row in enumerate(_rows(program)))
    yield "COLUMNS"
    cost = (program.sign * program.cost).tolist()
    terms: list[list[str]] = [[f" c{j} cost {c!r}"] for j, c in enumerate(cost)]
    triples = (program.row_of.tolist(), program.columns.tolist(), program.coefficients.tolist())
    for i, j, coefficient in zip(*triples, strict=True):
        terms[j].append(f" c{j} r{i} {coefficient!r}")
    for j, is_integer in enumerate(program.is_integer.tolist()):
        if is_integer:
            yield f" begin{j} 'MARKER' 'INTORG'"
        yield from terms[j]
        if is_integer:
            yield f" end{j} 'MARKER' 'INTEND'"
    yield "RHS"
    yield from (f" RHS r{i} {_sense(*row)[1]!r}" for i, row in enumerate(_rows(program)))
    yield "BOUNDS"
    bounds = zip(program.lower.tolist(), program.upper.tolist(), strict=True)
    for j, (lower, upper) in enumerate(bounds):
        yield f" MI BND c{j}" if lower == -np.inf else f" LO BND c{j} {lower!r}"
        yield f" PL BND c{j}" if upper == np.inf else f" UP BND c{j} {upper!r}"
    yield "ENDATA\n"


def _rows(program: LinearProgram) -> Iterator[tuple[float, float]]:
    return zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True)


def _sense(lower: float, upper: float) -> tuple[str, float]:
    """Kind and right-hand side of a row; PuLP has no ranges."""
    if lower == upper:
        return "E", lower
    return ("L", upper) if lower == -np.inf else ("G", lower)


def _solution(values: Floats) -> Iterator[str]:
    """Values in the format of CBC's own solutions."""
    yield "Stopped on time - objective value 0"
    yield from (f"{j} c{j} {value!r} 0" for j, value in enumerate(values.tolist()))
    yield ""


def _read(text: str, size: int) -> Outcome:
    """A solution file. Its first line is the status; values without `objective` there are junk."""
    first, *lines = text.splitlines() or [""]
    if first.startswith(("Infeasible", "Integer infeasible")):
        return Outcome(Status.INFEASIBLE)
    is_optimal = first.startswith("Optimal")
    is_stopped = first.startswith("Stopped") and " - objective value" in first
    if not is_optimal and not is_stopped:
        return Outcome(Status.FAILED, None, first.lower() or "an empty solution")
    values = np.zeros(size)
    for line in lines:
        name, value = line.removeprefix("**").split()[1:3]
        if name.startswith("c"):
            values[int(name[1:])] = float(value)
    return Outcome(Status.OPTIMAL if is_optimal else Status.FEASIBLE, values)


CBC = Solver("CBC", "pip install cbcbox, or put cbc on the PATH", _missing, _run)
