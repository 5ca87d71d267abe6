"""`orbitflow trace`: convert, inspect, slice, synthesize and fetch traces.

Only typer is imported here, everything else where it is used: `orbitflow --help` must stay quick.
Tables go to stdout, notices to stderr, and --json prints nothing but JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from orbitflow.cli.options import AsJson
from orbitflow.units import TimeUnit, parse_moment, parse_option, parse_seconds

TimeUnitOption: TypeAlias = Annotated[
    TimeUnit | None,
    typer.Option(help="The unit of time stamps. Default: the one of the file's format."),
]
ColumnsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The file is CSV with these columns: time=start,prompt=tokens_in,output=tokens_out, "
        "and id=... if there is one."
    ),
]

trace_app = typer.Typer(
    name="trace",
    help="Convert, inspect, slice, synthesize and fetch request traces.",
    no_args_is_help=True,
)


@trace_app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A trace file of a known format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    format: Annotated[
        str,
        typer.Option(
            help="auto looks at the content; otherwise a name such as azure-2024, sharegpt or "
            "orbitflow-paper."
        ),
    ] = "auto",
    step_time: Annotated[
        str | None,
        typer.Option(help="Length of an engine step, such as 50ms, where arrivals count steps."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second, for a file of text without arrivals.  [1]"),
    ] = None,
    tokens_per_word: Annotated[
        float | None, typer.Option(help="For a file of text without lengths.  [1.3]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the arrivals that are drawn for a file of text.  [0]")
    ] = None,
    time_unit: TimeUnitOption = None,
    columns: ColumnsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert a trace to canonical JSON lines, whatever its format.

    Example: orbitflow trace convert AzureLLMInferenceTrace_conv.csv conv.jsonl
    """
    from orbitflow.traces import read_options
    from orbitflow.traces.write import convert

    options = read_options(time_unit, columns)
    step_s = None if step_time is None else parse_option("--step-time", step_time, parse_seconds)
    done = convert(
        source,
        out,
        format=format,
        step_s=step_s,
        rate=rate,
        tokens_per_word=tokens_per_word,
        seed=seed,
        time_unit=options.time_unit,
        columns=options.columns,
        overwrite=force,
    )
    _written(out, done.requests, done.notices, as_json=as_json)


@trace_app.command("inspect")
def inspect_command(
    name_or_path: Annotated[str, typer.Argument(help="A file, or a name such as azure_conv.")],
    time_unit: TimeUnitOption = None,
    columns: ColumnsOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what a trace holds: lengths, rate, burstiness, and which file it came from."""
    from orbitflow.cli.trace_table import print_trace, trace_as_json
    from orbitflow.traces import read_options, resolve
    from orbitflow.traces.summary import summarize

    trace = resolve(name_or_path, options=read_options(time_unit, columns))
    summary = summarize(trace)
    _say(trace.notices)
    if as_json:
        typer.echo(trace_as_json(trace, summary))
    else:
        print_trace(trace, summary)


@trace_app.command("slice")
def slice_command(
    name_or_path: Annotated[
        str, typer.Argument(metavar="TRACE", help="A file, or a name such as azure_conv.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    begin: Annotated[
        str, typer.Option("--from", help="Leave out what arrives before, such as 10m or 90s.")
    ] = "0",
    end: Annotated[
        str | None, typer.Option("--to", help="Leave out what arrives then or later, such as 1h.")
    ] = None,
    time_unit: TimeUnitOption = None,
    columns: ColumnsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a part of a trace, such as what follows a ramp-up; times count from its first request.

    Example: orbitflow trace slice azure_conv --from 10m --to 1h -o middle.jsonl
    """
    from orbitflow.traces import read_options, resolve, write_canonical
    from orbitflow.traces.transform import between

    from_s = parse_option("--from", begin, _since_the_first)
    to_s = None if end is None else parse_option("--to", end, _since_the_first)
    trace = resolve(name_or_path, options=read_options(time_unit, columns))
    part = between(trace, from_s, to_s)
    write_canonical(part, out, overwrite=force)
    notice = f"{trace.name}: {len(part):,} of {len(trace):,} requests"
    _written(out, len(part), [*trace.notices, notice], as_json=as_json)


def _since_the_first(text: str) -> float:
    """Read a time since the first request; m is minutes here."""
    number = text.strip().removesuffix("m")
    return parse_moment(f"{number}min" if number != text.strip() else text)


@trace_app.command("synth")
def synth_command(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    like: Annotated[str, typer.Option(help="The trace whose twin to draw.")] = "azure_conv",
    num_requests: Annotated[
        int | None, typer.Option(help="How many requests; by default as many as the original.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    rate_scale: Annotated[float, typer.Option(help="Multiply the arrival rate.")] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a synthetic twin of a public trace, as canonical JSON lines."""
    from orbitflow.traces.synth import load_model, synthesize
    from orbitflow.traces.transform import scaled
    from orbitflow.traces.write import write_canonical

    model = load_model(like)
    trace = scaled(synthesize(model, num_requests, seed), rate_scale=rate_scale)
    write_canonical(trace, out, overwrite=force)
    notice = f"fitted to {model.title}, {model.licence}; cite {model.citation}"
    _written(out, len(trace), [notice], as_json=as_json, source=trace.source)


@trace_app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="A public trace: azure_conv or mooncake.")],
    url: Annotated[
        str | None, typer.Option(help="Another address of the same file; its sha256 is checked.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Download it even if it is there already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download a public trace into the cache, where its name finds it; resumes what broke off."""
    from orbitflow.traces.fetch import fetch

    progress = _Progress()
    try:
        done = fetch(name, url=url, force=force, progress=progress, say=lambda text: _say([text]))
    finally:
        progress.end()
    if as_json:
        about = {"path": str(done.path), "is_new": done.is_new, "size_bytes": done.size_bytes}
        typer.echo(json.dumps(about, indent=2))
        return
    was = "fetched" if done.is_new else "is there already"
    _say([f"{done.path}: {was}, {done.size_bytes:,} bytes, sha256 verified"])


@trace_app.command("paper")
def paper_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, such as p.json.")],
    rate: Annotated[
        float, typer.Option(help="Arrival rate, as a multiple of the base rate.")
    ] = 2.0,
    cv: Annotated[float, typer.Option(help="Coefficient of variation of the gaps.")] = 1.0,
    batch: Annotated[int, typer.Option(help="Batch size; the KV capacity follows from it.")] = 4,
    context: Annotated[float, typer.Option(help="Multiply all lengths.")] = 1.0,
    num_requests: Annotated[int, typer.Option(help="How many requests.")] = 52,
    mix: Annotated[
        str,
        typer.Option(
            help="Weights of the classes input x output of short, medium and long, such as "
            "SS:1+ML:3; main: as in the authors' main trace."
        ),
    ] = "main",
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a workload by the OrbitFlow paper's recipe, arrivals in engine steps.

    Example: orbitflow trace paper p.json --rate 5 --cv 4

    The same as a name, without a file: orbitflow sim --trace paper:rate=5,cv=4
    """
    from orbitflow.errors import UserError
    from orbitflow.traces.paper_workload import Recipe, draw, paper_name, read_mix
    from orbitflow.traces.write import write_paper

    try:
        weights = read_mix(mix)
    except ValueError:
        raise UserError(f"--mix {mix}: write weights of classes, such as SS:1+ML:3") from None
    recipe = Recipe(num_requests, rate, cv, batch, context, weights)
    trace = draw(recipe, seed)
    write_paper(trace, out, overwrite=force)
    capacity = f"batch {trace.max_batch}, KV capacity {trace.kv_capacity_tokens:,} tokens"
    notice = f"{paper_name(recipe, seed)}: {capacity}"
    _written(out, len(trace), [notice], as_json=as_json, source=trace.source)


class _Progress:
    """A line on stderr that counts up, where stderr is a terminal."""

    def __init__(self) -> None:
        self.shown = ""

    def __call__(self, done: int, total: int | None) -> None:
        share = "" if not total else f" of {total / 1e6:,.1f} ({done / total:.0%})"
        text = f"{done / 1e6:,.1f}{share} MB"
        if text == self.shown or not sys.stderr.isatty():
            return
        self.shown = text
        typer.echo(f"\r{text}", err=True, nl=False)

    def end(self) -> None:
        if self.shown:
            typer.echo(err=True)


def _say(notices: Iterable[str]) -> None:
    for notice in notices:
        typer.echo(notice, err=True)


def _written(
    path: Path, requests: int, notices: Iterable[str], *, as_json: bool, source: str = ""
) -> None:
    """Say what has been written, or print it as JSON."""
    if as_json:
        about = {"path": str(path), "requests": requests, "notices": list(notices)}
        typer.echo(json.dumps(about, indent=2))
        return
    _say(notices)
    _say([f"{path}: {requests:,} requests written" + (f", {source}" if source else "")])
