"""Losses and metrics, and the targets that they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _calls, _gate, _structs
from ._library import LOSSES
from ._memory import Floats, empty
from ._store import Store
from .errors import PynnTypeError, PynnValueError
from .layers import Layer

LossFunction = Callable[[Floats, NDArray[Any]], tuple[ArrayLike, ArrayLike]]
Loss = str | LossFunction
MetricFunction = Callable[[NDArray[Any], Floats], float]
Metric = str | MetricFunction
Metrics = dict[str, MetricFunction]

#: Losses that are computed from the scores before a last layer, and the kind of that layer.
LAST_LAYERS = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}

ROW_SUM_TOLERANCE = 1e-3


def chosen_loss(loss: Loss | None, last: Layer) -> Loss:
    """The loss, or that which follows from the last layer of the net."""
    if loss is None:
        return next((name for name, kind in LAST_LAYERS.items() if kind == last.kind), "mean_squared_error")
    if callable(loss):
        return loss
    name = _gate.known("loss", loss, LOSSES)
    if LAST_LAYERS.get(name, last.kind) != last.kind:
        raise PynnValueError(f"the loss {name!r} needs a last layer {LAST_LAYERS[name]}, not {last}")
    return name


def end(loss: Loss) -> str:
    """Where the pass ends that feeds the loss: "scores" or "outputs"."""
    return "scores" if callable(loss) or loss in LAST_LAYERS else "outputs"


def outputs(scores: Floats, last: Layer) -> Floats:
    """What a last layer makes of scores."""
    if last.kind == "softmax":
        return _calls.softmax_forward(scores)
    return _calls.activation_forward(scores, last._c) if last.kind == "sigmoid" else scores


class Targets:
    """Targets and sample weights of n rows that have passed the gate.

    Attributes:
        values: labels (n,), rows (n, O), or for a callable loss an array of n rows.
        weights: (n,) or None.
    """

    __slots__ = ("_bound", "_values", "weights")

    def __init__(self, values: NDArray[Any], weights: Floats | None) -> None:
        self._values = values
        self.weights = weights
        self._bound: _structs.Targets | None = None

    @property
    def values(self) -> NDArray[Any]:
        """A view for functions of others: they can neither write to it nor reshape what C reads."""
        view = self._values[...]
        view.flags.writeable = False
        return view

    @property
    def c(self) -> _structs.Targets:
        if self._bound is None:
            self._bound = _structs.Targets(self._values, self.weights)
        return self._bound

    def apart(self, store: Store) -> Targets:
        """Those that C may read while it writes to a store."""
        weights = self.weights if self.weights is None else store.apart(self.weights)
        values = store.apart(self._values)
        if values is self._values and weights is self.weights:
            return self
        return Targets(values, weights)

    def weight(self) -> float:
        """The sum of the weights."""
        return float(len(self._values) if self.weights is None else self.weights.sum(dtype=np.float64))

    def take(self, rows: NDArray[Any]) -> Targets:
        """Those of some rows."""
        return Targets(self._values[rows], None if self.weights is None else self.weights[rows])


def targets(
    loss: Loss,
    t: ArrayLike,
    sample_weight: ArrayLike | None,
    rows: int,
    outputs: int,
    name: str,
    weight_name: str = "sample_weight",
) -> Targets:
    """Checks targets for `rows` rows of a net; the names are what errors call them."""
    weights = None if sample_weight is None else _gate.weights(weight_name, sample_weight, rows)
    given = _gate.array(name, t)
    if given.ndim == 0 or len(given) != rows:
        raise PynnValueError(f"{name} must have {rows} rows, one for each of x, not the shape {given.shape}")
    if given.ndim == 1 and loss == "cross_entropy":
        return Targets(_gate.labels(name, given, rows, outputs), weights)
    if given.ndim == 1 and outputs == 1:
        given = given.reshape(rows, 1)
    if callable(loss):
        _gate.refuse(name, given, ~np.isfinite(given), "finite")
        return Targets(given, weights)
    if given.ndim == 2 and given.shape[1] == 1 != outputs and loss == "cross_entropy":
        raise PynnValueError(
            f"{name} must have the shape ({rows},) as labels, or ({rows}, {outputs}), not ({rows}, 1)"
        )
    if given.ndim == 1:
        raise PynnValueError(
            f"{name} must have the shape ({rows}, {outputs}), not ({rows},); labels are for cross_entropy"
        )
    values = _gate.floats(name, given, (rows, outputs), strided=True)
    if loss == "cross_entropy":
        _gate.refuse(name, values, values < 0, "at least 0, as probabilities")
        sums = values.sum(axis=1, dtype=np.float64)
        _gate.refuse(
            f"the sum of a row of {name}", sums, np.abs(sums - 1) > ROW_SUM_TOLERANCE, "1 within 0.001"
        )
    if loss == "binary_cross_entropy":
        _gate.refuse(name, values, (values < 0) | (values > 1), "from 0 to 1, as probabilities")
    return Targets(values, weights)


def loss_and_grad(
    y: ArrayLike, t: ArrayLike, loss: str, sample_weight: ArrayLike | None = None
) -> tuple[float, Floats]:
    """The loss of a batch and its gradient, for loops that are written by hand over layers.

    The loss is Σ_r w_r loss_r / Σ_r w_r over the rows; loss_r is, over the outputs of a row,
    "squared_error" Σ (y - t)², "half_squared_error" half of it, "mean_squared_error" 1/O of it,
    "cross_entropy" -Σ t log softmax(y), or "binary_cross_entropy" -Σ t log h + (1 - t) log(1 - h) with
    h = sigmoid(y).

    Args:
        y: (B, O): for the cross-entropies the scores, which is the input of the last Softmax or Sigmoid; else
            outputs.
        t: (B, O), or (B,) if O = 1; for cross_entropy labels (B,) or rows (B, O) that sum to 1 within 0.001.
        sample_weight: (B,), finite, at least 0, not all 0; None: 1 each.

    Returns:
        The loss, and dy (B, O).
    """
    y = _gate.floats("y", y, (None, None))
    name = _gate.known("loss", loss, LOSSES)
    checked = targets(name, t, sample_weight, len(y), y.shape[1], "t")
    dy = empty(*y.shape)
    return _calls.loss(y, checked.c, name, dy)[0], dy


def evaluated(loss: Loss, y: Floats, targets: Targets) -> float:
    """The loss of rows, from where their pass ends."""
    return called(loss, y, targets)[0] if callable(loss) else _calls.loss(y, targets.c, loss)[0]


def called(loss: LossFunction, scores: Floats, targets: Targets) -> tuple[float, Floats]:
    """A callable loss: its weighted mean, and the gradient of the scores scaled as the C library does it."""
    answer = loss(scores.copy(), targets.values)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise PynnTypeError("a callable loss must return two arrays: loss of each row (B,), dscores (B, O)")
    each = _gate.array("the loss of each row", answer[0]).astype(np.float64)
    dscores = _gate.array("dscores", answer[1])
    for name, found, needed in (
        ("the loss of each row", each, (len(scores),)),
        ("dscores", dscores, scores.shape),
    ):
        if found.shape != needed:
            raise PynnValueError(f"{name} must have the shape {needed}, not {found.shape}")
    weights = np.ones(len(scores)) if targets.weights is None else targets.weights.astype(np.float64)
    shares = weights / targets.weight()
    with np.errstate(all="ignore"):
        return float(np.sum(shares * each)), dscores.astype(np.float32) * shares.astype(np.float32)[:, None]


# ---- metrics ----------------------------------------------------------------------------------------------


def accuracy(t: NDArray[Any], y: Floats) -> float:
    """The share of rows whose largest output is the label, or the largest target."""
    t = _checked(t, y)
    return float(np.mean(np.argmax(y, axis=1) == (t if t.ndim == 1 else np.argmax(t, axis=1))))


def binary_accuracy(t: NDArray[Any], y: Floats) -> float:
    """The share of outputs on the same side of 0.5 as their target; 0.5 counts as above."""
    t = _checked(t, y)
    if t.ndim == 1:
        return accuracy(t, y)
    return float(np.mean((y >= 0.5) == (t >= 0.5)))


def mean_squared_error(t: NDArray[Any], y: Floats) -> float:
    """The mean of (y - t)² over rows and outputs."""
    return float(np.mean(np.square(_differences(t, y))))


def mean_absolute_error(t: NDArray[Any], y: Floats) -> float:
    """The mean of |y - t| over rows and outputs."""
    return float(np.mean(np.abs(_differences(t, y))))


def _differences(t: NDArray[Any], y: Floats) -> NDArray[np.float64]:
    """y - t, with labels as rows of 0 and 1."""
    t, difference = _checked(t, y), y.astype(np.float64)
    if t.ndim == 1:
        difference[np.arange(len(t)), t] -= 1
    else:
        difference -= t
    return difference


def _checked(t: NDArray[Any], y: Floats) -> NDArray[Any]:
    """Targets of a callable loss may be anything: those that a metric of pynn takes are labels or rows."""
    if t.ndim == 1:
        return _gate.labels("t", t, *y.shape)
    if t.shape != y.shape:
        raise PynnValueError(f"t must have the shape {y.shape} for a metric, not {t.shape}")
    return t


METRICS = {
    "accuracy": accuracy,
    "mean_squared_error": mean_squared_error,
    "mean_absolute_error": mean_absolute_error,
}


def chosen_metrics(
    metrics: Metric | Iterable[Metric] | Mapping[str, MetricFunction], last: Layer, outputs: int
) -> Metrics:
    """Metrics by name. Accuracy is that of 0.5 after Sigmoid, and needs classes: two outputs or a last layer
    that makes them.
    """
    found: Metrics = {}
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    if not isinstance(metrics, Iterable):
        raise PynnTypeError(f"metrics must be names or functions, not {metrics!r}")
    pairs = metrics.items() if isinstance(metrics, Mapping) else [(None, metric) for metric in metrics]
    for key, metric in pairs:
        if callable(metric):
            name = getattr(metric, "__name__", type(metric).__name__) if key is None else key
            function = metric
        else:
            name = _gate.known("metric", metric, METRICS)
            function = METRICS[name]
            if name == "accuracy" and last.kind == "sigmoid":
                function = binary_accuracy
            elif name == "accuracy" and outputs == 1 and last.kind != "softmax":
                raise PynnValueError("accuracy of one output needs a last layer sigmoid or softmax")
        if not isinstance(name, str) or name.startswith("val_"):
            raise PynnValueError(f"a metric cannot be called {name!r}")
        if name in found or name == "loss":
            raise PynnValueError(f"two metrics are called {name!r}")
        found[name] = function
    return found


def measured(metrics: Metrics, targets: Targets, y: Floats) -> dict[str, float]:
    """What the metrics say."""
    found = {}
    for name, metric in metrics.items():
        value: Any = metric(targets.values, y)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
            raise PynnTypeError(f"the metric {name!r} must return a number, not {value!r}")
        try:
            found[name] = float(value)
        except (TypeError, ValueError) as error:
            raise PynnTypeError(f"the metric {name!r} must return a number, not {value!r}") from error
    return found
