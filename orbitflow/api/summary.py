"""The types of `Result.summary`; they are those that reports hold a `summary.json` to."""

from __future__ import annotations

from orbitflow.results.typed_summary import PolicySummary, Summary, from_json

__all__ = ["PolicySummary", "Summary", "from_json"]
