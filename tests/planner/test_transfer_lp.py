"""The paper's pipeline, with a variable for every transfer, against its closed form.

tr_j seconds of link are spent while layer j computes or stalls; what layer j needs must have come
by its end of waiting. The least pass time of that linear program is

    T = L t_c + max(0, max_j (D_j - (j - 1) t_c)),   D_j needed up to layer j, counted from 1
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.optimize import linprog

from orbitflow.machine.pipeline import TransferDemand, paper_stalls


def _least_pass_s(layers: int, layer_s: float, needs: list[float]) -> float:
    """Variables: tr_1..tr_L, stall_1..stall_L. Layer j waits (stall_j), then computes; transfers
    of slot j run while it waits, and while it computes for later layers.
    """
    count = layers
    cost = np.concatenate([np.zeros(count), np.ones(count)])
    rows, limits = [], []
    for j in range(count):
        # Needed up to layer j: sent before it starts, which is all time before its compute.
        row = np.zeros(2 * count)
        row[: j + 1] = -1
        rows.append(row)
        limits.append(-sum(needs[: j + 1]))
    for j in range(count):
        # Slot j is the stall before layer j and the compute of the layer before it.
        row = np.zeros(2 * count)
        row[j], row[count + j] = 1, -1
        rows.append(row)
        limits.append(layer_s if j else 0.0)
    solved = linprog(cost, A_ub=np.array(rows), b_ub=np.array(limits), method="highs")
    assert solved.status == 0
    return layers * layer_s + float(solved.fun)


@pytest.mark.parametrize("seed", range(60))
def test_closed_form_equals_the_linear_program(seed: int) -> None:
    draw = random.Random(seed)
    layers, layer_s = draw.randint(1, 12), draw.uniform(0.1, 2.0)
    host = sorted(draw.sample(range(layers), draw.randint(1, layers)))
    seconds = [draw.uniform(0.0, 3.0) for _ in host]
    needs = [0.0] * layers
    for layer, x in zip(host, seconds, strict=True):
        needs[layer] = x
    demand = TransferDemand(tuple(host), np.array([seconds]), np.array([seconds]))
    stall = float(paper_stalls(demand, np.array([layer_s]))[0])
    least_s = _least_pass_s(layers, layer_s, needs)
    assert layers * layer_s + stall == pytest.approx(least_s, rel=1e-9)
