"""The traces that anyone may download but that are not ours to ship, and where copies of them lie.

To add one: a row with its address and the sha256 of the file, which is what makes it that trace.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orbitflow.errors import TraceError, nearest

_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class PublicTrace:
    """A trace that anyone may download, but that is not ours to ship."""

    name: str
    file_name: str
    url: str
    sha256: str
    aliases: tuple[str, ...] = ()


PUBLIC_TRACES: tuple[PublicTrace, ...] = (
    PublicTrace(
        name="azure_conv",
        file_name="azure_conv.csv",
        url=f"{_GITHUB}/Azure/AzurePublicDataset/master/data/AzureLLMInferenceTrace_conv.csv",
        sha256="2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
        aliases=("azure_conv_2023", "azurellminferencetrace_conv"),
    ),
    PublicTrace(
        name="mooncake",
        file_name="mooncake.jsonl",
        url=f"{_GITHUB}/kvcache-ai/Mooncake/main/FAST25-release/traces/conversation_trace.jsonl",
        sha256="b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
        aliases=("mooncake_conversation", "mooncake_conv"),
    ),
)


def cache_dir() -> Path:
    """Return the folder of fetched traces: $ORBITFLOW_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("ORBITFLOW_CACHE"):
        return Path(chosen)
    if users := os.environ.get("XDG_CACHE_HOME"):
        return Path(users) / "orbitflow"
    return Path(os.path.expanduser("~")) / ".cache" / "orbitflow"


def find_public(name: str) -> PublicTrace | None:
    """Find a public trace by name; a suffix such as .jsonl or .csv does not matter."""
    stem = name.lower()
    for suffix in (".jsonl", ".json", ".csv"):
        stem = stem.removesuffix(suffix)
    for public in PUBLIC_TRACES:
        if stem == public.name or stem in public.aliases:
            return public
    return None


def public_names() -> list[str]:
    return [public.name for public in PUBLIC_TRACES]


def nearest_public(name: str) -> str:
    """Say which public traces come nearest to a name that is none."""
    return nearest(name, public_names())


def sha256_of(path: Path) -> str:
    """Return the checksum of a file, read in blocks."""
    import hashlib  # loads OpenSSL, which a run without a cached trace need not wait for

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror})") from None
