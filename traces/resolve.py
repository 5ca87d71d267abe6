"""From what a person typed to a trace, in this order, with a notice that says which it was:

`demo`, which is bundled; `paper` or `paper:rate=5,seed=3`, drawn by the paper's recipe; a public
trace by its bare name; a file that exists; a public trace by its name with a suffix, such as
`azure_conv.jsonl`. Public traces come from the cache, if their checksum is right; `azure_conv` also
from the bundled synthetic twin. Anything else is refused with the way to get it.
So a name means the same in every folder, as those of profiles do: a file called `paper` is
`./paper`, and a notice says so where there is one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from orbitflow.errors import TraceError, UserError
from orbitflow.traces.csv_columns import read_column_names
from orbitflow.traces.formats import read_trace
from orbitflow.traces.paper_workload import is_paper_name, paper_trace
from orbitflow.traces.public import (
    PublicTrace,
    cache_dir,
    find_public,
    nearest_public,
    public_names,
    sha256_of,
)
from orbitflow.traces.rows import ReadOptions
from orbitflow.traces.synth import load_model, synthesize, twin_names
from orbitflow.traces.trace import Trace
from orbitflow.traces.transform import scaled
from orbitflow.units import TimeUnit

DEMO = "demo"
_DEFAULTS = ReadOptions()


def read_options(time_unit: TimeUnit | str | None, columns: str | None) -> ReadOptions:
    """Return how to read a file, from what a person said. Raise a UserError if it says nothing."""
    try:
        unit = None if time_unit is None else TimeUnit(time_unit)
    except ValueError:
        raise UserError(f"--time-unit {time_unit}: write {', '.join(TimeUnit)}") from None
    names = None if columns is None else read_column_names(columns)
    return ReadOptions(time_unit=unit, columns=names)


def resolve(
    name_or_path: str, *, limit: int | None = None, options: ReadOptions = _DEFAULTS
) -> Trace:
    """Return the trace that a path or a name stands for, or its first `limit` requests.

    Raise a TraceError if there is none, or if the file is wrong; a UserError if `options` say how
    to read a file and it is a name.
    """
    if not name_or_path:
        raise TraceError(f"no trace named; give a file or a name ({', '.join(public_names())})")
    path = os.path.expanduser(name_or_path)
    if _is_bare_name(name_or_path):
        _refuse(options, name_or_path)
        trace = _named(name_or_path, limit)
        if os.path.isfile(path):
            said = f"{name_or_path} is the trace of that name, not the file: that is ./{path}"
            trace = replace(trace, notices=(*trace.notices, said))
        return trace
    if os.path.exists(path) and not (os.path.isdir(path) and find_public(name_or_path)):
        return read_trace(path, limit=limit, options=options)
    if find_public(name_or_path):
        _refuse(options, name_or_path)
    return _named(name_or_path, limit)


def _refuse(options: ReadOptions, name: str) -> None:
    """Refuse what says how to read a file: that of a name is known."""
    if options.time_unit is not None:
        raise UserError(f"--time-unit {options.time_unit}: leave it out, {name} is no file")
    if options.columns is not None:
        raise UserError(f"--columns: leave it out, {name} is no file")


def _is_bare_name(name: str) -> bool:
    """Whether it is a name, and none that a file of a trace would have."""
    is_public = "." not in name and find_public(name) is not None
    return name == DEMO or is_paper_name(name) or is_public


def _named(name: str, limit: int | None) -> Trace:
    """The trace of a name, or the way to get it."""
    if name == DEMO:
        return _demo(limit)
    if is_paper_name(name):
        return _first(paper_trace(name), limit)
    public = find_public(name)
    if public is None:
        raise TraceError(f"{name}: no such file, nor the name of a trace; {nearest_public(name)}")
    cached = cache_dir() / public.file_name
    if cached.exists():
        return _from_cache(public, cached, limit)
    if public.name in twin_names():
        return _twin(public, limit)
    raise TraceError(
        f"{public.name} is not on this machine; `orbitflow trace fetch {public.name}` gets it, "
        "or pass the path of a copy"
    )


def _demo(limit: int | None) -> Trace:
    trace = read_trace(os.path.join(os.path.dirname(__file__), "data", "demo.jsonl"), limit=limit)
    return replace(trace, name=DEMO, source="bundled, synthetic: made for two CPU cores")


def _from_cache(public: PublicTrace, cached: Path, limit: int | None) -> Trace:
    digest = sha256_of(cached)
    if digest != public.sha256:
        raise TraceError(
            f"{cached}: sha256 is {digest[:12]}..., expected {public.sha256[:12]}...; "
            f"`orbitflow trace fetch {public.name}` replaces it"
        )
    trace = read_trace(cached, limit=limit)
    notice = f"{public.name}: the public trace from {cached} (sha256 verified)"
    return replace(trace, name=public.name, notices=(notice, *trace.notices))


def _twin(public: PublicTrace, limit: int | None) -> Trace:
    model = load_model(public.name)
    trace = synthesize(model)
    notice = f"{public.name}: using the bundled {trace.source}"
    if model.fidelity:
        notice += (
            f"; KS to the real one: input {model.fidelity.ks_prompt_tokens:.4f}, "
            f"output {model.fidelity.ks_output_tokens:.4f}, gaps {model.fidelity.ks_gap_s:.4f}"
        )
    trace = _first(trace, limit)
    how = f"`orbitflow trace fetch {public.name}` gets the real trace"
    return replace(trace, notices=(notice, f"{public.name}: {how}"))


def _first(trace: Trace, limit: int | None) -> Trace:
    return trace if limit is None else scaled(trace, num_requests=min(limit, len(trace)))
