"""What the backend serves: policies whose attention is exact, and on a GPU is the GPU's.

It attends to all tokens of a request, wherever they lie. A policy that reads only a share of the
tokens on the host (`HostRead.selects`) would be given other answers than it asks for, and other
times; `orbitflow sim` models its times.
"""

from __future__ import annotations

from orbitflow.engine.policy import DataPlane, Policy

from orbitflow.errors import UserError


def refuse_unserved(policy: Policy, *, on_cpu: bool = True) -> None:
    """Raise a UserError if the backend cannot do what a policy asks for."""
    read = policy.data_plane.host_read
    if read.attends and not on_cpu:
        raise UserError(
            f"--policy {policy.name} attends to KV with the CPU, which is there with --device cpu "
            "only: use `orbitflow sim`, or leave it out"
        )
    if policy.is_lossy or read.selects:
        raise UserError(_refusal(f"--policy {policy.name}", read.fetched_share))


def refuse_selection(data_plane: DataPlane) -> None:
    """Raise a UserError if only a share of the KV on the host is to be read."""
    read = data_plane.host_read
    if read.selects:
        raise UserError(_refusal("a data plane that selects", read.fetched_share))


def _refusal(what: str, share: float) -> str:
    reads = f"reads {share:.0%} of the KV on the host" if share < 1 else "is lossy"
    return (
        f"{what} {reads}, and the backend computes exact attention only: "
        "use `orbitflow sim`, or leave it out"
    )
