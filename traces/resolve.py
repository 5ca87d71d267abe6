"""From what a person typed to a trace, in this order, with a notice that says which it was:

a file that exists; a fetched public trace in the cache, if its checksum is right; for `azure_conv`
the bundled synthetic twin. Anything else is refused with the way to get it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from orbitflow.errors import TraceError, nearest
from orbitflow.traces.read import read_trace
from orbitflow.traces.synth import load_model, synthesize, twin_names
from orbitflow.traces.trace import Trace

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


def resolve(name_or_path: str) -> Trace:
    """Return the trace that a path or a name stands for.

    Raise a TraceError if there is none, or if the file is wrong.
    """
    if not name_or_path:
        raise TraceError(f"no trace named; give a file or a name ({_names()})")
    path = os.path.expanduser(name_or_path)
    if os.path.exists(path):
        return read_trace(path)
    public = _public(name_or_path)
    if public is None:
        raise _unknown(name_or_path)
    cached = cache_dir() / public.file_name
    if cached.exists():
        return _from_cache(public, cached)
    if public.name in twin_names():
        return _twin(public)
    raise TraceError(
        f"{public.name} is not on this machine; download {public.url} to {cached}, or pass its path"
    )


def _public(name: str) -> PublicTrace | None:
    """Find a public trace by name; a suffix such as .jsonl or .csv does not matter."""
    stem = name.lower()
    for suffix in (".jsonl", ".json", ".csv"):
        stem = stem.removesuffix(suffix)
    for public in PUBLIC_TRACES:
        if stem == public.name or stem in public.aliases:
            return public
    return None


def _from_cache(public: PublicTrace, cached: Path) -> Trace:
    import hashlib  # loads OpenSSL, which a run without a cached trace need not wait for

    try:
        digest = hashlib.sha256(cached.read_bytes()).hexdigest()
    except OSError as error:
        raise TraceError(f"{cached}: cannot be read ({error.strerror})") from None
    if digest != public.sha256:
        raise TraceError(
            f"{cached}: sha256 is {digest[:12]}..., expected {public.sha256[:12]}...; "
            f"delete the file or download {public.url} again"
        )
    trace = read_trace(cached)
    notice = f"{public.name}: the public trace from {cached} (sha256 verified)"
    return replace(trace, name=public.name, notices=(notice, *trace.notices))


def _twin(public: PublicTrace) -> Trace:
    model = load_model(public.name)
    trace = synthesize(model)
    notice = f"{public.name}: using the bundled {trace.source}"
    if model.fidelity:
        notice += (
            f"; KS to the real one: input {model.fidelity.ks_prompt_tokens:.4f}, "
            f"output {model.fidelity.ks_output_tokens:.4f}, gaps {model.fidelity.ks_gap_s:.4f}"
        )
    how = f"for the real trace, download {public.url} and pass its path"
    return replace(trace, notices=(notice, f"{public.name}: {how}"))


def _unknown(name: str) -> TraceError:
    hint = nearest(name, [public.name for public in PUBLIC_TRACES])
    return TraceError(f"{name}: no such file, nor the name of a trace; {hint}")


def _names() -> str:
    return ", ".join(public.name for public in PUBLIC_TRACES)
