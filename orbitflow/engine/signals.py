"""Signals: what they raise, and places where what they raise would be lost.

SIGINT raises KeyboardInterrupt, as Python has it; SIGTERM and SIGHUP raise Terminated, which is
one, so that whatever cleans up after Ctrl-C cleans up after them. A handler may raise wherever
Python code runs: also inside a library that takes any exception for its own. There, signals are
held back.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


_came: list[int] = []


class Terminated(KeyboardInterrupt):
    """A signal asked this process to end."""


def end_by_exception() -> None:
    """Let SIGTERM and SIGHUP raise Terminated, unless somebody has said what they do (`nohup`)."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    raise Terminated(describe(number))


def ended_by() -> int:
    """The signal that ended this process: SIGTERM or SIGHUP if one came, else SIGINT."""
    return _came[-1] if _came else signal.SIGINT


def describe(number: int) -> str:
    """What a signal did, in words.

    >>> describe(15), describe(2)
    ('terminated by SIGTERM', 'interrupted')
    """
    name = signal.Signals(number).name
    return "interrupted" if number == signal.SIGINT else f"terminated by {name}"


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Run handlers of signals that come meanwhile afterwards. Python runs handlers in the main
    thread only: in others there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {}
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            handlers[number] = handler
            signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in dict.fromkeys(came):
            signal.raise_signal(late)
