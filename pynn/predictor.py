"""Prediction of few rows with as little around the C call as Python allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _core

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._core import Floats, Plan


class Predictor:
    """A snapshot of a net, bound to buffers of its own; made by `Sequential.predictor`.

    `p(row)` checks its argument and returns a new array: (batch, O) for (batch, I), or (O,) for (I,) with
    batch=1. `p()` checks nothing: it runs `p.x` into `p.y`, and returns `p.y`, overwritten by the next call.
    Later training of the net does not change it. One thread at a time; each thread makes its own.

    Attributes:
        x: (batch, I), to be filled before `p()`.
        y: (batch, O).
    """

    __slots__ = ("_run", "_shapes", "_x", "_y")

    def __init__(self, plan: Plan, params: Floats, batch: int) -> None:
        self._x = _core.empty(batch, plan.inputs)
        self._y = _core.empty(batch, plan.outputs)
        self._x[:] = 0
        self._y[:] = 0
        self._shapes = (self._x.shape, (plan.inputs,)) if batch == 1 else (self._x.shape,)
        self._run = _core.bound_predict(self._y, plan, params, self._x)

    @property
    def x(self) -> Floats:
        return self._x

    @property
    def y(self) -> Floats:
        return self._y

    def __call__(self, row: ArrayLike | None = None) -> Floats:
        if row is None:
            self._run()
            return self._y
        if type(row) is not np.ndarray or row.dtype != np.float32 or row.shape not in self._shapes:
            row = _core.array("row", row)
            row = _core.floats("row", row, self._shapes[-1 if row.ndim == 1 else 0])
        self._x[:] = row
        if not np.isfinite(self._x).all():
            _core.floats("row", row)
        self._run()
        return np.array(self._y[0] if row.ndim == 1 else self._y)
