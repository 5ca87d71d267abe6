"""`infinigen`: all KV on the host; each layer fetches only the tokens that seem to matter (lossy).

While layer l - 1 runs, a tenth of the KV (part of each key) that stays on the GPU tells which
tokens layer l will look at; the CPU gathers them, 20 % of the context, and they cross the link:

    T = L t_c + t_out + max(0, x_0 - t_out) + max(0, x_1 - t_c)
      + sum over l >= 2 of (gather_l + max(0, x_l - rest of t_c after attention))

Layers 0 and 1 are fetched whole. t_c counts attention over what is fetched and over the kept keys.
Source: InfiniGen (OSDI 2024), its speed-up code, which builds on FlexGen without overlap.

Simplified: always the cap of 20 % of the tokens, which the published scripts set, where the real
system takes fewer if few stand out; the kept keys are charged for all layers; what the loss does to
the answers is not modelled, so its times are those of a different result.
"""

from __future__ import annotations

from orbitflow.machine.pipeline import HostRead, Overlap
from orbitflow.placement import HostLayers, stride
from orbitflow.policy.uniform import UniformPolicy

SELECT = HostRead(fetched_share=0.2, kept_share=0.1, whole_layers=2)


class InfiniGen(UniformPolicy):
    """Everything on the host, a fifth of it fetched."""

    is_lossy = True

    def __init__(self) -> None:
        super().__init__("infinigen", Overlap.BARRIER, ring_groups=2, host_read=SELECT)

    def choices(self) -> tuple[HostLayers, ...]:
        """All layers."""
        return (stride(self.limits.layers, 0),)
