"""Token deposit: tokens generated early are banked and delivered at the SLO's pace.

    delivered_k = max(generated_k, delivered_{k-1} + tau),   delivered_0 = generated_0

which is ``k tau + running_max(generated_k - k tau)``. A token is late iff it was not there when its
reader was ready for it: generated_k > delivered_{k-1} + tau. The bank at time t is what is
generated but not yet delivered. Token deposit of arXiv 2601.10729; design section 4.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray

LATE_TOLERANCE_S = 1e-9


def deliver(generated_s: FloatArray, tau_s: float) -> FloatArray:
    """Delivery times of tokens generated at `generated_s`, at one token per `tau_s` at most.

    >>> deliver(np.array([0.0, 0.1, 0.2, 5.0]), 1.0).tolist()
    [0.0, 1.0, 2.0, 5.0]
    """
    pace = tau_s * np.arange(len(generated_s))
    delivered: FloatArray = np.maximum.accumulate(generated_s - pace) + pace
    return delivered


def late(generated_s: FloatArray, delivered_s: FloatArray, tau_s: float) -> npt.NDArray[np.bool_]:
    """Which tokens after the first were not there in time, shape (tokens - 1,)."""
    due = delivered_s[:-1] + tau_s
    result: npt.NDArray[np.bool_] = generated_s[1:] > due + LATE_TOLERANCE_S
    return result


def next_due_s(generated_s: FloatArray, tau_s: float) -> float:
    """When the reader of these tokens will want the next one, in seconds."""
    steps = tau_s * np.arange(len(generated_s))
    return float((generated_s - steps).max()) + tau_s * len(generated_s)


def banked(generated_s: FloatArray, tau_s: float, now_s: float) -> int:
    """Tokens generated but not yet delivered at `now_s`: for how many tau it can be left out."""
    return int((deliver(generated_s, tau_s) > now_s).sum())
