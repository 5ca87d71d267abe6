"""A PuLP problem as arrays: minimise sign * (cost.x + offset), row_lower <= A x <= row_upper.

Solvers get arrays, as PuLP 3 hands a model to HiGHS one column at a time, and arrays can check an
answer without asking the solver. What is read here is alike in PuLP 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pulp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TOLERANCE = 1e-5  # from an integer; of a bound or row, relative to its largest number


@dataclass(frozen=True, slots=True)
class LinearProgram:
    """One problem with n variables and m rows."""

    sign: int  # -1 maximises
    offset: float
    cost: Floats  # (n,)
    lower: Floats
    upper: Floats
    is_integer: NDArray[np.bool_]
    row_lower: Floats  # (m,)
    row_upper: Floats
    row_starts: NDArray[np.int32]  # (m + 1,) into columns and coefficients
    columns: NDArray[np.int32]
    coefficients: Floats

    @property
    def row_of(self) -> NDArray[np.int64]:
        """The row of each coefficient."""
        return np.repeat(np.arange(len(self.row_lower)), np.diff(self.row_starts))

    def objective(self, values: Floats) -> float:
        """The objective as it was modelled."""
        return float(self.cost @ values + self.offset)

    def rounded(self, values: Floats) -> Floats:
        """The values with integers exact and nothing beyond its bounds."""
        near = np.where(self.is_integer, np.rint(values), values)
        return np.clip(near, self.lower, self.upper) + 0.0  # no -0.0

    def is_finite(self) -> bool:
        """Whether every number that must be finite is: HiGHS solves a NaN as if it were none."""
        bounds = np.concatenate([self.lower, self.upper, self.row_lower, self.row_upper])
        return bool(
            np.isfinite(self.cost).all()
            and np.isfinite(self.coefficients).all()
            and np.isfinite(self.offset)
            and not np.isnan(bounds).any()
        )

    def fault(self, values: Floats) -> str | None:
        """What is wrong with values that claim to be a solution; None if they are one."""
        if values.shape != self.cost.shape:
            return f"{values.size} values for {self.cost.size} variables"
        if not np.isfinite(values).all():
            return "a value is not a finite number"
        fraction = np.where(self.is_integer, np.abs(values - np.rint(values)), 0.0)
        if (fraction > TOLERANCE).any():
            at = int(fraction.argmax())
            return f"variable {at} is {values[at]:g}, not an integer"
        column = _beyond(values, self.lower, self.upper, np.abs(values))
        if column is not None:
            return f"variable {column} is {values[column]:g}, beyond its bounds"
        terms = self.coefficients * values[self.columns]
        sums, sizes = self._by_row(terms), self._by_row(np.abs(terms))
        row = _beyond(sums, self.row_lower, self.row_upper, sizes)
        if row is not None:
            limits = f"[{self.row_lower[row]:g}, {self.row_upper[row]:g}]"
            return f"row {row} is {sums[row]:g}, not within {limits}"
        return None

    def _by_row(self, terms: Floats) -> Floats:
        return np.bincount(self.row_of, terms, len(self.row_lower)).astype(float)


def _beyond(x: Floats, lower: Floats, upper: Floats, sizes: Floats) -> int | None:
    """Where x is furthest out of [lower, upper] for its size, if it is out at all."""
    with np.errstate(invalid="ignore"):  # inf - inf
        excess = np.maximum(lower - x, x - upper) / np.maximum(1.0, sizes)
    if not (excess > TOLERANCE).any():
        return None
    return int(excess.argmax())


def read_problem(problem: pulp.LpProblem, variables: Sequence[pulp.LpVariable]) -> LinearProgram:
    """Read a problem; `variables` orders its columns. ValueError if one is used but not listed."""
    place = {variable: at for at, variable in enumerate(variables)}
    cost = np.zeros(len(variables))
    starts, columns, coefficients = [0], [], []
    objective, rows = problem.objective, problem.constraints()
    try:
        for variable, coefficient in () if objective is None else objective.items():
            cost[place[variable]] = coefficient
        for row in rows:
            for variable, coefficient in row.items():
                columns.append(place[variable])
                coefficients.append(coefficient)
            starts.append(len(columns))
    except KeyError as error:
        raise ValueError(f"variable {error} of the problem is not listed") from None
    return LinearProgram(
        sign=-1 if problem.sense == pulp.LpMaximize else 1,
        offset=0.0 if objective is None else float(objective.constant),
        cost=cost,
        lower=_limits([v.lowBound for v in variables], -np.inf),
        upper=_limits([v.upBound for v in variables], np.inf),
        is_integer=np.array([v.cat == pulp.LpInteger for v in variables], dtype=bool),
        row_lower=_limits([row.getLb() for row in rows], -np.inf),
        row_upper=_limits([row.getUb() for row in rows], np.inf),
        row_starts=np.array(starts, dtype=np.int32),
        columns=np.array(columns, dtype=np.int32),
        coefficients=np.array(coefficients, dtype=float),
    )


def _limits(given: Sequence[float | None], absent: float) -> Floats:
    """Bounds, where None (PuLP 3) and an infinity (PuLP 4) both say that there is none."""
    return np.array([absent if limit is None else limit for limit in given], dtype=float)
