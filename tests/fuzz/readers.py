"""Every reader of the product, and the file of `samples` that it is tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from orbitflow.api.simulate import load_run
from orbitflow.machine.model import model_from_config
from orbitflow.machine.profile import load
from orbitflow.report.read_files import PolicyFiles
from orbitflow.report.read_runs import read_inputs
from orbitflow.report.report import make_report
from orbitflow.results.kept import FolderOutputs
from orbitflow.results.run_files import read_config_file
from orbitflow.study.grid import read_grid
from orbitflow.study.stored import read_study
from orbitflow.traces.formats import read_trace
from orbitflow.validate.compare import first_difference
from orbitflow.validate.passes import replay_run
from orbitflow.validate.recorded import read_run


class Reader(NamedTuple):
    """`read` is given the folder of all samples, in which `file` is damaged."""

    name: str
    file: str
    read: Callable[[Path], object]
    is_slow: bool = False


def _load_run(root: Path) -> None:
    result = load_run(root / "run")
    str(result)
    for policy in result.policies:
        result[policy].figures.get("")


def _requests(root: Path) -> None:
    FolderOutputs(root / "run").requests("dynamic")
    files = PolicyFiles(root / "run" / "dynamic")
    files.check_requests(0)
    assert set(files.requests) >= {"id", "ttft_s"}


def _steps(root: Path) -> None:
    FolderOutputs(root / "run").steps("dynamic")
    PolicyFiles(root / "run" / "dynamic").steps()


def _replay(root: Path) -> None:
    replay_run(read_run(root / "run"), "dynamic")


def _differences(root: Path) -> None:
    file = Path("dynamic", "decisions.jsonl")
    first_difference(root / "run" / file, root / "run" / "simulated" / file)


def _report(*names: str) -> Callable[[Path], object]:
    return lambda root: make_report([root / name for name in names])


def _inputs(name: str) -> Callable[[Path], object]:
    return lambda root: read_inputs([root / name])


def _trace(name: str) -> Reader:
    return Reader(f"trace {name}", f"{name}.trace", lambda root: read_trace(root / f"{name}.trace"))


_RUN = "run/dynamic"
READERS = (
    Reader("profile", "run/profile.json", lambda root: load(root / "run" / "profile.json")),
    Reader("model", "model/config.json", lambda root: model_from_config(str(root / "model"))),
    Reader("configuration", "run/config.toml", lambda r: read_config_file(r / "run/config.toml")),
    Reader("grid", "grid.toml", lambda root: read_grid([], root / "grid.toml")),
    Reader("definition", "study/study.json", lambda root: read_study(root / "study")),
    Reader("rows", "study/cells.jsonl", lambda root: read_study(root / "study")),
    Reader("summary", "run/summary.json", _load_run),
    Reader("summary of a report", "run/summary.json", _inputs("run")),
    Reader("answers", "capacity/capacity.json", _inputs("capacity")),
    Reader("requests", f"{_RUN}/requests.jsonl", _requests),
    Reader("steps", f"{_RUN}/steps.npz", _steps),
    Reader("decisions", f"{_RUN}/decisions.jsonl", _differences),
    Reader("journal", f"{_RUN}/journal.jsonl", _replay, is_slow=True),
    Reader("recorded configuration", "run/config.toml", _replay, is_slow=True),
    Reader("report summary", "run/summary.json", _report("run"), is_slow=True),
    Reader("report requests", f"{_RUN}/requests.jsonl", _report("run"), is_slow=True),
    Reader("report decisions", f"{_RUN}/decisions.jsonl", _report("run"), is_slow=True),
    Reader("report steps", f"{_RUN}/steps.npz", _report("run"), is_slow=True),
    Reader("report gaps", f"{_RUN}/tbt.npz", _report("run"), is_slow=True),
    Reader("report passes", f"{_RUN}/passes.npz", _report("run"), is_slow=True),
    Reader("report validation", "run/validation.json", _report("run"), is_slow=True),
    Reader("report rows", "study/cells.jsonl", _report("study"), is_slow=True),
    Reader("report definition", "study/study.json", _report("study"), is_slow=True),
    Reader("report answers", "capacity/capacity.json", _report("capacity"), is_slow=True),
    *map(
        _trace,
        (
            *("canonical", "mooncake", "azure-2023", "azure-2024", "burstgpt"),
            *("sharegpt", "orbitflow-paper"),
        ),
    ),
)
