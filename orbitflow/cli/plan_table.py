"""A decision as a picture: a row for each request, a character for each layer."""

from __future__ import annotations

from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orbitflow.cli.tables import console
from orbitflow.explain.decision import DecisionShown, Fate, MemoryShown, NotShown, RequestShown
from orbitflow.scenario import Scenario
from orbitflow.units import format_bytes, format_count, format_seconds

_Characters: TypeAlias = tuple[str, str, str]

MOST_LAYERS = 80  # that get a character each
MOST_WAITING = 8  # that get a row each
_OTHER_COLUMNS = 72  # characters
_NARROWEST = 16
_DRAWN, _PLAIN = ("█", "▒", "░"), ("#", "+", ".")  # GPU, some layers on either side, host


def print_answers(scenario: Scenario, answers: list[DecisionShown | NotShown]) -> None:
    """Print what every policy decides, one below the other."""
    out, profile = console(), scenario.profile
    machine = (
        f"{profile.name}: {profile.model.name}, KV capacity "
        f"{format_count(scenario.limits.capacity_tokens)} tokens, SLO "
        f"{format_seconds(scenario.slo.tbt_limit_s)} between tokens ({scenario.slo.origin})"
    )
    out.print(escape(machine), soft_wrap=True)
    for notice in scenario.notices:
        out.print(Text(f"note: {notice}", style="yellow"), soft_wrap=True)
    for answer in answers:
        out.print()
        if isinstance(answer, NotShown):
            out.print(Text.assemble((answer.policy, "bold"), f": {answer.reason}"), soft_wrap=True)
        else:
            _print(answer, out)


def _print(shown: DecisionShown, out: Console) -> None:
    size = _layers_per_character(shown.layers, out)
    window = "to the end" if shown.window is None else f"for {format_count(shown.window)} passes"
    title = f"at {format_seconds(shown.now_s)}, decided at {format_seconds(shown.decided_s)}"
    moment = f" {title}," if shown.now_s or shown.decided_s else ""
    out.print(Text.assemble((shown.policy, "bold"), f":{moment} holds {window}"))
    out.print(_table(shown, size, _characters(out)))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for label, text in _lines(shown):
        grid.add_row(label, escape(text))
    out.print(grid)


def _table(shown: DecisionShown, size: int, characters: _Characters) -> Table:
    gpu, mixed, host = characters
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    legend = f"{gpu} on the GPU   {host} on the host"
    table.caption = legend if size == 1 else f"{legend}   {mixed} both; {size} layers a character"
    for name in ("request", "context", "ahead"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column(f"layers 0 to {shown.layers - 1}", no_wrap=True)
    for name in ("on host", "GPU KV", "streamed"):
        table.add_column(name, justify="right", no_wrap=True)
    waiting = [row for row in shown.requests if row.fate is Fate.WAITS]
    served = [row for row in shown.requests if row.fate is not Fate.WAITS]
    for row in (*served, *waiting[:MOST_WAITING]):
        table.add_row(*_cells(row, shown.layers, size, characters))
    if len(waiting) > MOST_WAITING:
        table.add_row("...", "", "", f"and {format_count(len(waiting) - MOST_WAITING)} more wait")
    return table


def _cells(row: RequestShown, layers: int, size: int, characters: _Characters) -> tuple[str, ...]:
    start = (str(row.id), format_count(row.context_tokens), _seconds(row.balance_s), str(row.fate))
    if row.fate in (Fate.WAITS, Fate.DROPPED):
        return (*start, "", "", "", "")
    return (
        *start,
        strip(row.host_layers, layers, size, characters),
        f"{len(row.host_layers)} of {layers}",
        format_bytes(row.gpu_bytes),
        format_bytes(row.streamed_bytes) if row.streamed_bytes else "",
    )


def strip(
    host_layers: tuple[int, ...], layers: int, size: int = 1, characters: _Characters = _DRAWN
) -> str:
    """Draw where the layers are, `size` of them to a character.

    >>> strip((3, 7), 8), strip((4, 5, 6), 8, 2)
    ('███░███░', '██░▒')
    """
    gpu, mixed, host = characters
    away = set(host_layers)
    drawn = ""
    for start in range(0, layers, size):
        group = range(start, min(start + size, layers))
        hosted = len(away.intersection(group))
        drawn += gpu if not hosted else host if hosted == len(group) else mixed
    return drawn


def _lines(shown: DecisionShown) -> list[tuple[str, str]]:
    lines = []
    if (decode := shown.decode) is not None:
        verdict = "in time" if decode.is_in_time else "too slow"
        lines.append(
            (
                "pass",
                f"{format_seconds(decode.pass_s)} for {_counted(decode.requests)}: compute "
                f"{format_seconds(decode.compute_s)}, stall {format_seconds(decode.stall_s)}; link "
                f"busy {format_seconds(decode.link_s)} with {format_bytes(decode.h2d_bytes)}; "
                f"limit {format_seconds(decode.tbt_limit_s)}: {verdict}",
            )
        )
    lines.append(("memory", _memory(shown.memory, shown.layers)))
    lines.append(("binding", str(shown.binding)))
    lines += [("why" if row == 0 else "", reason) for row, reason in enumerate(shown.why)]
    return lines


def _memory(memory: MemoryShown, layers: int) -> str:
    """Pages at the window's end, as tokens of all layers are what people count in."""
    tokens = memory.capacity_tokens / memory.gpu_limit_pages
    ring = memory.ring_pages
    used = f"GPU {format_count(memory.gpu_pages * tokens)} of {memory.capacity_tokens:,} tokens"
    extra = " on top" if memory.ring_is_extra else " in it"
    staged = f", ring {format_bytes(ring * memory.page_bytes)}{extra}" if ring else ", no ring"
    limit = memory.host_limit_pages
    of = "" if limit is None else f" of {format_bytes(limit * memory.page_bytes)}"
    host = f"; host {format_bytes(memory.host_pages * memory.page_bytes)}{of}"
    return f"{used} at the window's end{staged}{host}"


def _counted(requests: int) -> str:
    return "1 request" if requests == 1 else f"{format_count(requests)} requests"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else format_seconds(round(seconds, 9))


def _layers_per_character(layers: int, out: Console) -> int:
    room = MOST_LAYERS
    if out.is_terminal:
        room = max(_NARROWEST, min(room, out.width - _OTHER_COLUMNS))
    return -(-layers // room)


def _characters(out: Console) -> _Characters:
    return _DRAWN if out.encoding.lower().startswith("utf") else _PLAIN
