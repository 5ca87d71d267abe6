"""Policies from outside the package: a class in a file, in a module, or behind an entry point.

    path/to/file.py:Class     package.module:Class     a name of the group `orbitflow.policies`

A reference is text, so that a configuration can carry it and every process imports the same class.
The file's path is made absolute, because another process may stand in another folder. A class is
made without arguments. What it calls itself names folders and columns, so it must be a plain name
that no policy of the package has.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING

from orbitflow.engine.policy import DataPlane, Lengths, Policy
from orbitflow.errors import PolicyNameError, nearest, one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "orbitflow.policies"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FILES: dict[tuple[str, int, int], ModuleType] = {}  # by path, time and size: a new one once edited


def is_reference(name: str) -> bool:
    """Whether a name says where a class is."""
    return ":" in name


def absolute(name: str) -> str:
    """The same reference from any folder; names of policies and modules as they are.

    >>> absolute("orbit"), absolute("package.module:Mine")
    ('orbit', 'package.module:Mine')
    """
    place, colon, kind = name.rpartition(":")
    return f"{_path(place)}:{kind}" if colon and _is_file(place) else name


def load_class(reference: str) -> type[Policy]:
    """The class that a reference names. Raise a PolicyNameError in one line if there is none, or
    if importing it fails.
    """
    place, _, name = reference.rpartition(":")
    module = _from_file(place, reference) if _is_file(place) else _from_module(place, reference)
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Policy):
        return found
    if found is not None:
        raise PolicyNameError(f"policy {reference}: {name} is no subclass of orbitflow.Policy")
    policies = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Policy)]
    theirs = [n for n in policies if getattr(module, n).__module__ == module.__name__]
    hint = nearest(name, theirs) if theirs else "it defines no policy"
    raise PolicyNameError(f"policy {reference}: {place} has no class {name!r}: {hint}")


def made_by(make: Callable[[], Policy], said: str) -> Policy:
    """A fresh policy, with everything declared that others read of it. Raise a PolicyNameError
    that begins with `said` if it cannot be made or declares too little.
    """
    try:
        policy = make()
    except Exception as error:
        line = one_line(error)
        raise PolicyNameError(
            f"{said} cannot be made without arguments ({_place(error)}{line})"
        ) from None
    if not hasattr(policy, "name"):
        policy.name = type(policy).__name__
    wanted = {"name": str, "lengths": Lengths, "data_plane": DataPlane, "admission": str}
    for attribute, kind in wanted.items():
        if not isinstance(getattr(policy, attribute, None), kind):
            what = "a text" if kind is str else f"an orbitflow.{kind.__name__}"
            raise PolicyNameError(f"{said}: declare {attribute!r}, {what}")
    if not _PLAIN.fullmatch(policy.name):
        raise PolicyNameError(
            f"{said} calls itself {policy.name!r}: write a name of at most 60 letters, digits, "
            "'.', '_' and '-', which folders can have"
        )
    return policy


def entry_points() -> dict[str, EntryPoint]:
    """What installed distributions offer in the group, by name. Nothing is imported. Raise a
    PolicyNameError if the entry points of some distribution cannot be read.
    """
    from importlib import metadata  # takes 25 ms

    try:
        return {point.name: point for point in metadata.entry_points(group=GROUP)}
    except Exception as error:  # of many kinds: importlib.metadata does not check the files
        raise PolicyNameError(
            f"the entry points of an installed distribution cannot be read ({one_line(error)}): "
            "uninstall the one that you installed last, or give path/to/file.py:Class"
        ) from None


def reference_of(point: EntryPoint) -> str:
    """Where an entry point's class is."""
    return point.value.replace(" ", "")


def source_digest(kind: type[Policy]) -> str:
    """Digest of the file that a class comes from; of its name, where no file is there."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None or not os.path.isfile(file):
        return sha256(f"{kind.__module__}:{kind.__qualname__}".encode()).hexdigest()[:16]
    with open(file, "rb") as source:
        return sha256(source.read()).hexdigest()[:16]


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _path(place: str) -> str:
    return os.path.abspath(os.path.expanduser(place))


def _from_file(place: str, reference: str) -> ModuleType:
    path = _path(place)
    try:
        state = os.stat(path)
    except OSError as error:
        raise PolicyNameError(f"policy {reference}: {path}: {error.strerror}") from None
    key = (path, state.st_mtime_ns, state.st_size)
    if key not in _FILES:
        stem = re.sub(r"\W", "_", os.path.basename(path).removesuffix(".py"))
        name = f"orbitflow_policy_{stem}_{sha256(repr(key).encode()).hexdigest()[:8]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PolicyNameError(f"policy {reference}: {path} is no Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        sys.path.insert(0, os.path.dirname(path))  # its neighbours, as for a script
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            said = f"{_place(error, path)}{one_line(error)}"
            raise PolicyNameError(f"policy {reference} cannot be imported: {said}") from None
        finally:
            sys.path.remove(os.path.dirname(path))
        _FILES[key] = module
    return _FILES[key]


def _from_module(place: str, reference: str) -> ModuleType:
    if not _MODULE.fullmatch(place):
        raise PolicyNameError(
            f"policy {reference}: write path/to/file.py:Class or package.module:Class"
        )
    try:
        return importlib.import_module(place)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise PolicyNameError(
                f"policy {reference}: no module is called {error.name!r}: install it, add its "
                "folder to PYTHONPATH, or write path/to/file.py:Class"
            ) from None
        said = f"{_place(error)}{one_line(error)}"
        raise PolicyNameError(f"policy {reference} cannot be imported: {said}") from None


def _place(error: BaseException, path: str | None = None) -> str:
    """`file:line: ` where an error was raised: the last line of the file at `path`, if given."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if path is None or frame.filename == path]
    frame = ours[-1] if ours else None
    return (
        "" if frame is None or frame.filename == __file__ else f"{frame.filename}:{frame.lineno}: "
    )
