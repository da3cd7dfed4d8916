"""Prediction of few rows with as little around the C call as Python allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _calls, _gate
from ._library import LAYERS, check
from ._memory import pointer, vector
from ._structs import Net, Plan
from .errors import PynnRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from ._memory import Floats

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

    def __init__(self, net: Net, params: Floats, batch: int) -> None:
        own = vector(net.param_count)
        own[:] = params
        self._made_of = net.specs, own, batch
        plan, alone = Plan(net, pointer(own)), batch == 1
        self._bound = _calls.Bound(plan, batch)
        more = _calls.Bound(plan, batch, self._bound.memory, row=alone)
        self._run, self._y, self._of_row = self._bound.run(), self._bound.y, more.answer
        self._shapes = [(batch, net.inputs), (net.inputs,)][: 1 + alone]

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
                check(status)
            return self._y
        y = self._of_row(row)
        if y is None:
            a = _gate.array("row", row)
            y = self._of_row(_gate.floats("row", a, self._shapes[-1 if a.ndim == 1 else 0]))
            if y is None:
                raise PynnRuntimeError("row changes while it is read; another thread must be writing to it")
        return y

    def __reduce__(self) -> tuple[Callable[..., Predictor], tuple[Any, ...]]:
        return _restored, self._made_of


def _restored(specs: Sequence[Mapping[str, float]], params: Floats, batch: int) -> Predictor:
    """What pickle and copy make."""
    net = Net([_named(spec) for spec in specs])
    flat = _gate.floats("params", params, (net.param_count,))
    return Predictor(net, flat, _gate.integer("batch", batch, 1))


_VALUES = {LAYERS["leaky_relu"]: "slope", LAYERS["dropout"]: "p"}


def _named(spec: Mapping[str, float]) -> dict[str, float]:
    """A layer of a pickle; pynn 0.1 called the slope or the p of a layer, and the 0 of others, its value."""
    fields = dict(spec)
    value, name = fields.pop("value", None), _VALUES.get(int(fields["kind"]))
    if value is not None and name is not None:
        fields[name] = value
    return fields
