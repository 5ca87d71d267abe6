"""Every error a user can cause or meet.

OrbitFlowError            anything this package raises on purpose
├── UserError             wrong input: one line with value, limit and remedy; the CLI exits 2
│   ├── TraceError        a trace file that cannot be read (carries file and line)
│   ├── ProfileError      a profile or model that is unknown, broken or does not fit
│   └── PolicyNameError   a policy that is unknown, or cannot be imported or made
├── PolicyError           a policy broke its contract (its plan does not fit, names a stranger, ...)
└── BackendError          the real machine failed in mid-run (a copy worker died, a wait never ends)
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

POLICY_NOTE = "policy "  # how the note begins that says which policy raised an error


class OrbitFlowError(Exception):
    """Base of all errors raised on purpose."""


class UserError(OrbitFlowError):
    """Wrong input. The message is one line: what was given, what is allowed, what to do."""


class TraceError(UserError):
    """A trace that cannot be read or written."""


class ProfileError(UserError):
    """A profile, model or machine that is unknown, broken or impossible."""


class PolicyNameError(UserError):
    """A policy that nobody registered, or that cannot be imported, made or sent to a worker."""


class PolicyError(OrbitFlowError):
    """A policy returned a decision that the serving core must refuse."""


class BackendError(OrbitFlowError):
    """The real machine failed in the middle of a run, or its KV is not where it should be."""


def printable(text: str) -> str:
    """The text with control characters spelt out: a terminal would obey them.

    >>> printable("a" + chr(27) + "[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names come nearest to `name`, or list all of them.

    >>> nearest("dinamic", ["dynamic", "deepspeed"])
    'did you mean dynamic?'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"


def policy_note(error: BaseException) -> str | None:
    """The line that an error out of a user's policy has as a note (`orbitflow.engine.guard`), or
    that its cause has: SimPy raises errors of its processes anew.
    """
    notes = getattr(error, "__notes__", ())
    said = next((note for note in notes if note.startswith(POLICY_NOTE)), None)
    return said or (policy_note(error.__cause__) if error.__cause__ else None)


def os_note(error: OSError) -> str:
    """What the operating system refused, where, and what to do.

    >>> os_note(OSError(28, "No space left on device", "runs/a-1/x"))
    'runs/a-1/x: No space left on device: free space there, or name another folder'
    """
    if error.errno in _FULL:
        where = error.filename if error.filename is not None else "the disk"
        return f"{where}: {error.strerror}: free space there, or name another folder"
    if error.errno in _CLOSED:
        where = error.filename if error.filename is not None else "a file"
        return f"{where}: {error.strerror}: name a folder that you may write"
    return str(error)


_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def memory_note(error: MemoryError) -> str:
    """What was asked of memory, as far as it is known, and what to do."""
    asked = f" ({error})" if str(error) else ""
    return (
        f"out of memory{asked}: take fewer requests (--num-requests), a shorter --prefill-chunk or "
        "fewer workers"
    )


def one_line(error: BaseException) -> str:
    """An error's type and message, in one line.

    >>> one_line(ValueError("a\\nb"))
    'ValueError: a b'
    """
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")


def how_to_install(extra: str) -> str:
    """The command that installs an extra; the distribution is `orbitflow-serving`, in a clone `.`.

    >>> how_to_install("torch")
    "pip install -e '.[torch]' in a clone of OrbitFlow"
    """
    return f"pip install -e '.[{extra}]' in a clone of OrbitFlow"
