"""Ctrl-C as a request to stop, not as an exception in the middle of a pass.

The first Ctrl-C asks; the second one interrupts whatever is going on, as ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_ctrl_c(ask: Callable[[], object]) -> Iterator[None]:
    """Have the first Ctrl-C call `ask`. Beside the main thread, which alone gets signals, and where
    Ctrl-C is ignored, do nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before in (None, signal.SIG_IGN):
        yield
        return

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        ask()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
