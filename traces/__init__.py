"""Traces: where requests come from.

A reader per file format yields rows, `read_trace` makes columns of them, and everything that
follows (scaling, summaries, simulation) sees only a `Trace`. To add a format: one file with a
`TraceFormat`, one line in `formats.py`.
"""

from orbitflow.traces.formats import read_trace
from orbitflow.traces.resolve import read_options, resolve
from orbitflow.traces.trace import Trace
from orbitflow.traces.transform import scaled
from orbitflow.traces.write import write_canonical

__all__ = ["Trace", "read_options", "read_trace", "resolve", "scaled", "write_canonical"]
