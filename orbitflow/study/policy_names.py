"""What tables of studies call policies.

The rows of a study name a policy of a file by its absolute path, so that any process finds it.
People are shown the file's name and the class, and as many folders before them as it takes to tell
two files apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from orbitflow.errors import PolicyNameError
from orbitflow.policy.registry import make_policy


def short_names(policies: Iterable[str]) -> dict[str, str]:
    """What to show for each policy; names and `package.module:Class` stay.

    >>> short_names(["orbit", "/a/b/mine.py:One", "/a/b/mine.py:Two"])
    {'orbit': 'orbit', '/a/b/mine.py:One': 'mine.py:One', '/a/b/mine.py:Two': 'mine.py:Two'}
    >>> list(short_names(["/a/b/mine.py:One", "/a/c/mine.py:One"]).values())
    ['b/mine.py:One', 'c/mine.py:One']
    """
    wanted = list(dict.fromkeys(policies))
    parts = {policy: policy.split(os.sep) for policy in wanted}
    shown = {}
    for policy in wanted:
        others = [parts[other] for other in wanted if other != policy]
        own, count = parts[policy], 1
        while any(other[-count:] == own[-count:] for other in others):
            count += 1
        shown[policy] = os.sep.join(own[-count:])
    return shown


def shown_policy(policy: str, short: str) -> str:
    """A policy's short name, marked if it is lossy, or if nobody can tell any more: the file of a
    policy may be gone when its study is looked at.
    """
    try:
        return f"{short} (lossy)" if make_policy(policy).is_lossy else short
    except PolicyNameError:
        return f"{short} (cannot be imported now)"
