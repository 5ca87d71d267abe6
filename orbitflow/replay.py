"""What `orbitflow run` is asked for beyond a simulation: the device, its model, and how fast time
goes. The only place where these defaults live.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitflow.errors import UserError
from orbitflow.options import LARGEST, SMALLEST


@dataclass(frozen=True)
class Replay:
    """How a trace is replayed on a real device. None: take the model's, or the device's own.

    Without slots, so that the class itself carries the defaults.
    """

    device: str = "cpu"
    model: str = "tiny-llama"
    dtype: str | None = None
    link_bytes_per_s: float | None = None
    time_scale: float = 1.0
    force: bool = False

    def __post_init__(self) -> None:
        """Raise a UserError for a value that no run can have."""
        if not self.model:
            raise UserError("--model is empty: give a directory or a preset, or leave it out")
        for option, value in (
            ("--time-scale", self.time_scale),
            ("--link-bandwidth", self.link_bytes_per_s),
        ):
            if value is not None and not SMALLEST <= value <= LARGEST * 1e6:
                raise UserError(f"{option} {value:g} must be above 0 and finite")
