"""The verbs of the command line, imported when they are asked for.

What a verb is for stands here as well, for the list in `orbitflow --help`; a test holds the two
together.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any, NamedTuple

import typer


class Verb(NamedTuple):
    """A command `NAME_command`, or a group of them `NAME_app`, in the module of its name."""

    name: str
    summary: str
    is_group: bool = False
    has_options: bool = False  # of a run's configuration

    def load(self) -> Any:
        """Import it."""
        kind = "app" if self.is_group else "command"
        return resolve_name(f"orbitflow.cli.{self.name}:{self.name}_{kind}")

    def add(self, app: typer.Typer, *, is_named_only: bool) -> None:
        """Make it part of a command line, or only its name."""
        if is_named_only:
            app.command(self.name, help=self.summary)(_nothing)
        elif self.is_group:
            app.add_typer(self.load(), name=self.name)
        elif self.has_options:
            from orbitflow.cli.options import Command

            app.command(self.name, cls=Command)(self.load())
        else:
            app.command(self.name)(self.load())


def _nothing() -> None:
    """Stand for a verb that is not asked for."""


VERBS = (
    Verb(
        "sim",
        "Simulate how KV-offloading policies would serve a trace, and compare them under SLOs.",
        has_options=True,
    ),
    Verb(
        "run",
        "Serve a trace for real, with a real model and real copies, and compare policies under "
        "SLOs.",
        has_options=True,
    ),
    Verb(
        "generate",
        "Generate greedily, with KV split over device and host, and print the text as it comes.",
        has_options=True,
    ),
    Verb(
        "calibrate",
        "Measure passes, prompts and copies on this machine and write a profile.",
        has_options=True,
    ),
    Verb("validate", "Compare a run with its simulation, figure by figure and pass by pass."),
    Verb(
        "plan",
        "Show one decision: whose KV lies where, layer by layer, what a pass takes, and why.",
        has_options=True,
    ),
    Verb("study", "Run a grid of simulations and compare its cells.", is_group=True),
    Verb(
        "report",
        "Make one HTML file of runs and studies: tables, distributions, stories over time, heat "
        "maps.",
    ),
    Verb(
        "trace",
        "Convert, inspect, slice, synthesize and fetch request traces.",
        is_group=True,
    ),
    Verb(
        "profile",
        "List and show machine profiles: how fast a GPU and its link serve a model.",
        is_group=True,
    ),
    Verb(
        "doctor", "Check the installation: versions, traces, profiles, GPU, and a small simulation."
    ),
)
