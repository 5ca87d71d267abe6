"""One Hypothesis profile for the whole suite: the same examples every time, and no deadline, which
a busy machine would miss.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("orbitflow", deadline=None, derandomize=True)
settings.load_profile("orbitflow")
