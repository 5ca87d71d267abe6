"""A profile for the CPU backend that nobody measured: quick, and near enough for tests of what does
not depend on time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.line_passes import DecodeFit, PrefillFit
from orbitflow.machine.profile import LinkFit, save


def write_cpu_profile(path: Path, model: str, rate: float = 0.4e9) -> None:
    """Write a profile of this machine's CPU under that preset, or config.json."""
    from orbitflow.backend.machine import find_machine
    from orbitflow.backend.model.architecture import read_architecture

    machine = find_machine("cpu", rate)
    base = resolve_profile("a5000-roofline", model)
    link = LinkFit(0.0, (1.0,), (rate,))
    profile = replace(
        base,
        name="by hand",
        model=read_architecture(model).with_dtype("float32").spec,
        page_tokens=16,
        decode=DecodeFit(0.003, 0.001, 1e-6, 0.001),
        prefill=PrefillFit(0.002, 2e-4, 0.0),
        h2d=link,
        d2h=link,
        host_memory_bytes=None,
        provenance=replace(base.provenance, device=machine.name),
    )
    save(profile, path)
