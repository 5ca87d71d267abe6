"""`run_study`: a grid of simulations on several processes, and what `orbitflow study run` makes of
it.

Workers import policies again, by name or reference; an object travels pickled. So do traces and
profiles by name or path: a worker reads them itself.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from orbitflow.api.frames import Kind, columns_of, frame_of
from orbitflow.api.options import (
    AnyPolicy,
    Options,
    PathLike,
    config_of,
    policies_of,
    read_option,
    whole,
)
from orbitflow.api.result import html_table, table
from orbitflow.engine.policy import Policy
from orbitflow.errors import PolicyNameError, UserError, one_line
from orbitflow.options import refuse_contradictions
from orbitflow.study.folder import StudyFolder
from orbitflow.study.grid import Axis, Grid
from orbitflow.study.keys import POLICY, Value, key_of
from orbitflow.study.parquet import column_of
from orbitflow.study.runner import run_study as run_missing
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Study, plan_study
from orbitflow.study.summary import CellResult, results, summary

_SHOWN = ("slo_attainment", "timely_share", "goodput_rps", "ttft_s.p95")


class StudyResult:
    """The cells of a study, each over its seeds.

    `content` is the document of `summary.json`, `path` the study's folder if there is one,
    `errors` what failed, each line once.
    """

    def __init__(
        self, study: Study, rows: Sequence[Row], found: Sequence[CellResult], path: Path | None
    ) -> None:
        self.content = summary(study, found)
        self.notices = study.notices
        self.path = path
        self._rows = rows
        self._found = found

    @property
    def failed(self) -> int:
        """How many simulations failed."""
        return sum(result.failed for result in self._found)

    @property
    def errors(self) -> tuple[str, ...]:
        """Why some failed."""
        return tuple(dict.fromkeys(error for result in self._found for error in result.errors))

    def __len__(self) -> int:
        return len(self._found)

    def frame(self, kind: Kind | None = None) -> Any:
        """One row per cell: what was varied, how many seeds went well, and the means of all figures
        by dotted name, each with the half width of its 95 % interval as `<name>.half_width`.
        """
        return frame_of(columns_of([_cell_row(result) for result in self._found]), kind)

    def runs(self, kind: Kind | None = None) -> Any:
        """One row per simulation: the columns of `cells.parquet`."""
        return frame_of(columns_of([_run_row(row) for row in self._rows]), kind)

    def __repr__(self) -> str:
        return f"{self._title()}\n{table(self._cells())}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self._title())}</p>{html_table(self._cells())}"

    def _title(self) -> str:
        seeds = f" x {n} seeds" if (n := self.content["seeds"]) != 1 else ""
        failed = f", {self.failed} simulations failed" if self.failed else ""
        return f"{len(self)} cells{seeds}{failed}"

    def _cells(self) -> list[tuple[str, ...]]:
        keys = list(self._found[0].cell.values)
        rows = [(*map(str, (r.cell.values[key] for key in keys)), *_shown(r)) for r in self._found]
        return [(*keys, *_SHOWN), *rows]


def run_study(
    trace: PathLike,
    policies: AnyPolicy | Sequence[AnyPolicy] = (),
    *,
    grid: Mapping[str, Sequence[Value] | Value] | None = None,
    seeds: int = 1,
    profile: PathLike | None = None,
    bound: bool = False,
    workers: int | None = None,
    out: PathLike | None = None,
    **options: Unpack[Options],
) -> StudyResult:
    """Simulate every cell of a grid, as `orbitflow study run` does.

    `grid` has the values of each option that varies, such as `{"slo_scale": [1, 2]}`; policies vary
    as well. Every cell is run with `seeds` seeds, on `workers` processes (as many as there are
    CPUs). With `out` the study is kept, and one that was begun there is gone on with; else nothing
    is left behind. Simulations that fail are counted, and told in a warning.

    Raise a UserError for wrong input, and for a policy that workers cannot be given: an object that
    cannot be pickled, or whose class is defined in the script or notebook itself.
    """
    if grid is not None and not isinstance(grid, Mapping):
        raise UserError(f"grid is {grid!r}: give a mapping such as {{'slo_scale': [1, 2]}}")
    axes = dict(grid or {})
    if POLICY in axes:
        raise UserError("policies vary by policies=[...]: leave grid['policy'] out")
    asked = policies_of(policies)
    for given, what, written in (
        (trace, "trace", "orbitflow.write_trace makes a file of a Trace"),
        (profile, "profile", "orbitflow calibrate and orbitflow profile show --json write files"),
    ):
        if given is not None and not isinstance(given, str | os.PathLike):
            raise UserError(
                f"the {what} of a study is read by its workers: give a name or a path, not a "
                f"{type(given).__name__} ({written})"
            )
    if options.get("timeline"):
        raise UserError("studies keep no timelines: leave timeline=True out")
    processes = _cpus() if workers is None else whole("workers", workers)
    if processes < 1:
        raise UserError(f"workers={processes} must be at least 1")
    jitter = options.pop("arrival_jitter", None)
    name = None if profile is None else os.fspath(profile)
    varied = Grid(tuple(_axis(key, values) for key, values in axes.items()))
    chosen = [name for name, value in options.items() if value is not None]
    refuse_contradictions([*chosen, *varied.keys], lambda field, _: field)
    study = plan_study(
        config_of(os.fspath(trace), asked.names, name, options),
        varied,
        seeds=whole("seeds", seeds),
        arrival_jitter=jitter,
        bounded=bound,
        guests={label: _pickled(label, given) for label, given in asked.guests.items()},
    )
    with _folder(study, out) as folder:
        run_missing(study, folder, workers=processes, on_row=lambda row: None)
        found = results(study, folder.rows)
        rows = [folder.rows[job_id(job)] for job in study.simulations()]
        folder.write_summary(summary(study, found))
    result = StudyResult(study, rows, found, None if out is None else Path(out))
    if result.failed:
        said = f"{result.failed} of {len(rows)} simulations failed: {result.errors[0]}"
        warnings.warn(said, stacklevel=2)
    return result


@contextlib.contextmanager
def _folder(study: Study, out: PathLike | None) -> Iterator[StudyFolder]:
    if out is not None:
        with StudyFolder(Path(out), study) as folder:
            yield folder
        return
    with TemporaryDirectory() as parent, StudyFolder(Path(parent) / "study", study) as folder:
        yield folder


def _axis(name: str, values: Sequence[Value] | Value) -> Axis:
    key = key_of(name, "grid")
    read = [_plain(read_option(key, value), name) for value in _values(values)]
    if not read:
        raise UserError(f"grid[{name!r}] has no values: give a list such as [1, 2]")
    return Axis(key, tuple(dict.fromkeys(read)))


def _plain(value: object, name: str) -> Value:
    """A value as the rows of a study have it."""
    if isinstance(value, StrEnum):
        return str(value)
    if not isinstance(value, str | int | float | bool):
        raise UserError(f"grid[{name!r}] has {value!r}: give plain values")
    return value


def _values(values: Sequence[Value] | Value) -> Sequence[Value]:
    return (
        list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    )


def _pickled(label: str, given: Policy | type[Policy]) -> bytes:
    """What workers are sent: something that makes the policy when it is called or unpickled."""
    kind = given if isinstance(given, type) else type(given)
    if kind.__module__ == "__main__":
        raise PolicyNameError(
            f"policy {label}: workers cannot import {kind.__qualname__} from a script or notebook: "
            f"put it into a file and give 'file.py:{kind.__name__}'"
        )
    try:
        return pickle.dumps(given() if isinstance(given, type) else given)
    except Exception as error:
        said = one_line(error)
        raise PolicyNameError(
            f"policy {label} cannot be pickled for the workers of a study ({said}): put its class "
            f"into a file and give 'file.py:{kind.__name__}'"
        ) from None


def _cell_row(result: CellResult) -> dict[str, object]:
    row: dict[str, object] = {**result.cell.values}
    row |= {"ok": result.ok, "failed": result.failed, "slo_tbt_s": result.slo_tbt_s}
    for name, estimate in result.figures.items():
        row[column_of(name)] = estimate.mean
        row[f"{column_of(name)}.half_width"] = estimate.half_width
    return row


def _run_row(row: Row) -> dict[str, object]:
    own = {name: row[name] for name in ("seed", "status", "error", "slo_tbt_s")}
    figures = {column_of(name): value for name, value in (row["figures"] or {}).items()}
    return {**row["cell"], **own, **figures}


def _shown(result: CellResult) -> tuple[str, ...]:
    means = [result.figures.get(name) for name in _SHOWN]
    return tuple("n/a" if mean is None else f"{mean.mean:.4g}" for mean in means)


def _cpus() -> int:
    from orbitflow.cli.progress import usable_cpus

    return usable_cpus()
