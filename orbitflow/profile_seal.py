"""The seal of a measured profile: whether its numbers are still those that were measured.

    digest = sha256 of the profile without its digest, as JSON with sorted keys and no blanks

An edited profile works as any other; whoever shows it says so. A fact for people, not a signature.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from orbitflow.codec import encode
from orbitflow.machine.profile import Profile


def sealed(profile: Profile) -> Profile:
    """The profile with the digest of what it says now."""
    return replace(profile, digest=_digest(profile))


def is_edited(profile: Profile) -> bool:
    """Whether a measured profile was changed since; never true of what was not measured."""
    return profile.digest is not None and profile.digest != _digest(profile)


def _digest(profile: Profile) -> str:
    document = encode(replace(profile, digest=None))
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
