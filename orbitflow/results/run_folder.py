"""The folder of a run: its files, and how they are read back. Formats: `docs/formats.md`.

A file INCOMPLETE stands in the folder from the first moment until everything else is written.
Whatever interrupts the run (an error, Ctrl-C, a power cut) leaves it there, so half a run cannot be
taken for a whole one. The same inputs and seed give the same bytes; wall-clock figures go to
`env.json` only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, get_type_hints

from orbitflow import __version__
from orbitflow.bound.bound import Bound
from orbitflow.column_file import ColumnFile, column_file
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.files import write_whole
from orbitflow.results.bound_share import bound_figures
from orbitflow.results.summary import SCHEMA_VERSION, PolicyReport
from orbitflow.scenario import Scenario

INCOMPLETE = "INCOMPLETE"


class OutputFolder:
    """A folder in which files are opened by name, such as ``orbit/steps.npz``. A file that is there
    already is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[ColumnFile]:
        """Open an .npz file to append blocks of rows to; it appears when all are written."""
        with column_file(self._target(name)) as out:
            yield out

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file to append lines to."""
        with self._target(name).open("w", buffering=1 << 16, encoding="utf-8") as out:
            yield out

    def _target(self, name: str) -> Path:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


class _Taken(UserError):
    """The folder exists already."""


class RunFolder(OutputFolder):
    """A new folder for one run. Raise a UserError if it exists or cannot be made."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._parents = [p for p in path.parents if not os.path.lexists(p)]  # made with it
        try:
            path.mkdir(parents=True)
            (path / INCOMPLETE).write_text("This run has not finished.\n")
        except FileExistsError:
            raise _Taken(f"--out {path} exists: name a new folder, or remove it") from None
        except OSError as error:
            self._remove_parents()
            raise UserError(
                f"--out {path} cannot be made ({error.strerror}): name a folder that you may write"
            ) from None

    @classmethod
    def numbered(cls, trace_name: str, root: Path = Path("runs")) -> RunFolder:
        """The first ``runs/<trace>-<n>`` that is free, also if two runs begin at once."""
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in trace_name)[:60] or "run"
        for number in itertools.count(1):
            path = root / f"{stem}-{number}"
            if not path.exists():
                with contextlib.suppress(_Taken):
                    return cls(path)
        raise AssertionError("unreachable: the numbers do not end")

    def write_text(self, name: str, text: str) -> None:
        """Write one file whole."""
        write_whole(self.path / name, text, errors="backslashreplace")

    def write_json(self, name: str, value: object) -> None:
        """Write one JSON file, indented for people."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def incomplete(self, error: BaseException) -> None:
        """Say in the mark why the run stopped, if the disk still takes it."""
        is_interrupt = isinstance(error, KeyboardInterrupt)
        why = (
            "interrupted" if is_interrupt else " ".join(f"{type(error).__name__}: {error}".split())
        )
        with contextlib.suppress(OSError):
            (self.path / INCOMPLETE).write_text(f"This run has not finished: {why}\n")

    def discard(self) -> None:
        """Remove the folder of a run that never began."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._remove_parents()

    def _remove_parents(self) -> None:
        for parent in self._parents:
            with contextlib.suppress(OSError):
                parent.rmdir()

    def complete(self) -> None:
        """Take the mark away: everything is written."""
        (self.path / INCOMPLETE).unlink()


def summary(
    scenario: Scenario, reports: Mapping[str, PolicyReport], bound: Bound | None = None
) -> dict[str, object]:
    """The content of `summary.json`, with the upper bound if there is one."""
    load, slo, profile, trace = scenario.load, scenario.slo, scenario.profile, scenario.trace
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "trace": {
            "name": trace.name,
            "source": trace.source,
            "format": trace.format,
            "requests": len(trace),
            "prompt_tokens": int(trace.prompt_tokens.sum()),
            "output_tokens": int(trace.output_tokens.sum()),
            "span_s": load.span_s,
            "rate_scale": scenario.rate_scale,
            "offered_load": {
                "prefill": load.prefill,
                "decode": load.decode,
                "kv_mean": load.kv_mean,
                "kv_peak": load.kv_peak,
                "kv_time_over": load.kv_time_over,
            },
        },
        "slo": {
            "tau_s": slo.tau_s,
            "origin": slo.origin,
            "ttft_s": slo.ttft_s,
            "ttft_scale": slo.ttft_scale,
        },
        "profile": {
            "name": profile.name,
            "model": profile.model.name,
            "device": profile.provenance.device,
            "method": profile.provenance.method,
            "simplified": list(profile.simplified),
            "layers": scenario.limits.layers,
            "token_layer_bytes": profile.model.kv_bytes_per_token_per_layer,
            "kv_capacity_tokens": scenario.limits.capacity_tokens,
            "host_pages": scenario.limits.host_pages,
            "page_tokens": scenario.limits.page_tokens,
            "max_batch": scenario.max_batch,
        },
        **({} if bound is None else {"bound": bound_figures(bound)}),
        "policies": {name: report.figures for name, report in reports.items()},
    }


def resolved(scenario: Scenario) -> dict[str, object]:
    """What the options came to, for `config.toml`."""
    return {
        "policies": scenario.policies,
        "trace_source": scenario.trace.source,
        "profile": scenario.profile.name,
        "model": scenario.profile.model.name,
        "rate_scale": scenario.rate_scale,
        "max_batch": scenario.max_batch or 0,
        "kv_capacity_tokens": scenario.limits.capacity_tokens,
        "slo_tbt_s": scenario.slo.tau_s,
    }


def environment(command: list[str], started: str) -> dict[str, object]:
    """What ran where; the start of `env.json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "command": command,
        "started": started,
        "python": sys.version.split()[0],
        "numpy": version("numpy"),
        "simpy": version("simpy"),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def read_document(path: Path, schema_version: int = SCHEMA_VERSION) -> Mapping[str, Any]:
    """Read a JSON object that has a `schema_version`. Raise a UserError if it cannot be read, or
    has another one.
    """
    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = document["schema_version"]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): run it again") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no document of orbitflow: run it again") from None
    if found != schema_version:
        writer = document.get("orbitflow_version")
        by = "" if writer is None else f", written by orbitflow {writer}"
        raise UserError(
            f"{path} has schema_version {found}{by}; orbitflow {__version__} reads "
            f"{schema_version}: run it again"
        )
    return document


@dataclass(frozen=True, slots=True)
class RecordedConfig:
    """What a run was asked for, and what that came to."""

    config: RunConfig
    policies: tuple[str, ...]
    kv_capacity_tokens: int
    max_batch: int | None
    tau_s: float
    is_backend: bool


def read_config_file(path: Path) -> RecordedConfig:
    """Read a `config.toml`. Raise a UserError if it is none, or lacks something."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise UserError(f"cannot read {path} ({failure.strerror}): name a run's folder") from None
    except ValueError as failure:
        raise UserError(f"{path} is not TOML: {failure}") from None
    try:
        resolved = document["resolved"]
        return RecordedConfig(
            RunConfig(**_options(document)),
            tuple(resolved["policies"]),
            int(resolved["kv_capacity_tokens"]),
            int(resolved["max_batch"]) or None,
            float(resolved["slo_tbt_s"]),
            "backend" in document,
        )
    except (KeyError, TypeError, ValueError) as failure:
        raise UserError(
            f"{path} is no run's configuration that orbitflow {__version__} reads ({failure!r}): "
            "run it again, or use the version that env.json names"
        ) from None


def _options(document: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(RunConfig)
    names = [field.name for field in fields(RunConfig) if field.name in document]
    return {name: _typed(hints[name], document[name]) for name in names}


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, StrEnum) else value
