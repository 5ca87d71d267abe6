"""How the machine differs from its profile: what `--perturb` asks for, to try the refiner on.

    link=0.5      the true link has half the profile's bandwidth
    compute=1.3   true passes take 1.3 times as long as the profile says
    noise=0.05    every pass takes up to 5 % more or less compute, evenly spread, by the run's seed

Policies see the profile; the simulator times passes with the perturbed one. Limits stay the
profile's.
"""

from __future__ import annotations

from typing import NamedTuple

from orbitflow.errors import UserError, nearest

MOST_NOISE = 0.9  # at 1 a pass might take no time


class Perturbation(NamedTuple):
    """Factors; 1 and 0 leave the machine as profiled."""

    link: float = 1.0  # on the bandwidth
    compute: float = 1.0  # on times
    noise: float = 0.0


def read_perturbation(text: str) -> Perturbation:
    """Read `key=value` pairs, separated by commas. Raise a UserError for what makes no sense."""
    values: dict[str, float] = {}
    for pair in text.split(","):
        key, equals, number = pair.strip().partition("=")
        if key not in Perturbation._fields:
            near = nearest(key, Perturbation._fields)
            raise UserError(f"--perturb {text!r}: no key {key!r}: {near}")
        if key in values:
            raise UserError(f"--perturb {text!r}: {key} is given twice: keep one")
        try:
            values[key] = float(number) if equals else float("nan")
        except ValueError:
            values[key] = float("nan")
        least, most = (0.0, MOST_NOISE) if key == "noise" else (0.01, 100.0)
        if not least <= values[key] <= most:
            raise UserError(
                f"--perturb {text!r}: {key} must be a number from {least:g} to {most:g}, "
                "such as link=0.5,compute=1.3,noise=0.05"
            )
    return Perturbation(**values)
