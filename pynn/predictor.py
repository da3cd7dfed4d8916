"""Prediction of few rows with as little around the C call as Python allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from .errors import PynnRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from ._core import Floats, Plan

_OWN: Any = object()


class Predictor:
    """A snapshot of a net, bound to buffers of its own; made by `Sequential.predictor`.

    `p(row)` checks its argument and returns a new array: (batch, O) for (batch, I), or (O,) for (I,) with
    batch=1. `p()` checks nothing: it runs `p.x` into `p.y`, and returns `p.y`, overwritten by the next call.
    Later training of the net does not change it. One thread at a time; each thread makes its own. Copies and
    pickles are snapshots of the same net, with buffers of their own.

    Attributes:
        x: (batch, I), to be filled before `p()`.
        y: (batch, O).
    """

    __slots__ = ("_bound", "_made_of", "_of_row", "_run", "_shapes", "_y")

    def __init__(self, plan: Plan, params: Floats, batch: int) -> None:
        own = _core.vector(plan.param_count)
        own[:] = params
        self._made_of = plan.specs, own, batch
        alone = batch == 1
        self._bound, more = (_core.Bound(plan, _core.pointer(own), batch, row=alone) for _ in range(2))
        self._run, self._y, self._of_row = self._bound.run(), self._bound.y, more.answer
        self._shapes = [(batch, plan.inputs), (plan.inputs,)][: 1 + alone]

    @property
    def x(self) -> Floats:
        return self._bound.x

    @property
    def y(self) -> Floats:
        return self._y

    def __call__(self, row: ArrayLike = _OWN) -> Floats:
        if row is _OWN:
            status = self._run()
            if status:
                _core.check(status)
            return self._y
        y = self._of_row(row)
        if y is None:
            a = _core.array("row", row)
            y = self._of_row(_core.floats("row", a, self._shapes[-1 if a.ndim == 1 else 0]))
            if y is None:
                raise PynnRuntimeError("row changes while it is read; another thread must be writing to it")
        return y

    def __reduce__(self) -> tuple[Callable[..., Predictor], tuple[Any, ...]]:
        return _restored, self._made_of


def _restored(specs: Sequence[Mapping[str, float]], params: Floats, batch: int) -> Predictor:
    """What pickle and copy make."""
    plan = _core.Plan(specs)
    flat = _core.floats("params", params, (plan.param_count,))
    return Predictor(plan, flat, _core.integer("batch", batch, 1))
