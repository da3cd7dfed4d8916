"""A net: layers one after the other, their parameters in one flat array, and how it is trained and used."""

from __future__ import annotations

import copy
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, losses
from ._store import Store
from .errors import BusyError, DivergedError, PynnRuntimeError, PynnTypeError, PynnValueError
from .layers import Dense, Dropout, Layer, check_widths, neighbours
from .optimizers import Optimizer, chosen
from .predictor import Predictor
from .training import History, Progress, Run, checked_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike

    from ._core import Floats
    from .losses import Loss, Metric, Metrics, Targets
    from .trace import Trace


class Sequential:
    """A net of layers, each of which takes what the one before it gives.

    It adopts the layers: values that a Dense already has are copied into the flat array, the rest is drawn. A
    layer belongs to one net, once. A Sequential is itself a layer (`forward`, `backward`), but not of another
    Sequential.

    Shapes: B or n rows, I inputs, O outputs. Arrays are float32, used in place where they are C-contiguous or
    have contiguous rows; other real dtypes and strides are converted once. Nothing broadcasts. NaN, infinity,
    wrong shapes and labels out of range raise a ValueError, dtypes that are not real numbers a TypeError, and
    nothing is changed. Targets are (n, O), or (n,) if O = 1; for cross-entropy also labels (n,), integers or
    whole numbers.

    One thread may train a net, or several predict with it; else BusyError, a RuntimeError.

    Args:
        layers: at least one Dense.
        seed: 0 to 2^64 - 1, of all that is random in the net; None draws one and keeps it.

    Warns:
        UserWarning: two dense layers with nothing between, which are one linear map; see `folded`.
    """

    def __init__(self, *layers: Layer, seed: int | None = 0) -> None:
        self._build(layers, int.from_bytes(os.urandom(8), "little") if seed is None else _core.seed(seed))
        present = [layer._flat() for layer in self._dense]
        self._adopt()
        self._draw()
        for layer, values in zip(self._dense, present, strict=True):
            if values is not None:
                self._store.params[layer._offset :][: len(values)] = values
        for i, j in neighbours(self.layers):
            warnings.warn(
                f"layers {i} and {j} are dense with nothing between, so they are one linear map; "
                "net.folded() merges them",
                stacklevel=2,
            )

    def _build(self, layers: tuple[Layer, ...], seed: int) -> None:
        """All but the values. Checks everything before a layer is touched."""
        for i, layer in enumerate(layers):
            if isinstance(layer, Sequential):
                raise PynnTypeError(f"layer {i} is a Sequential; build one Sequential from all the layers")
            if not isinstance(layer, Layer):
                hint = "; write Sequential(*layers)" if isinstance(layer, (list, tuple)) else ""
                raise PynnTypeError(f"layer {i} must be a layer of pynn, not {layer!r}{hint}")
            if layer._in_net or any(layer is other for other in layers[:i]):
                raise PynnValueError(
                    f"layer {i}, {layer}, already belongs to a net; a layer belongs to one net, once"
                )
        check_widths(layers)
        self.layers = layers
        self._dense = [layer for layer in layers if isinstance(layer, Dense)]
        self._plan = _core.Plan([layer._spec() for layer in layers])
        self._store = Store(self._plan.param_count, seed)
        self._moments = _core.empty(0)
        self._moments_of = ("", 0)
        self._epochs_done = 0
        self._fitting = False
        self._bound: tuple[Optimizer, float, _core.Optimizer] | None = None
        self._scratch: _core.Workspace | None = None
        self._saved: Floats | None = None
        self._tape: tuple[Floats, _core.Mask | None, _core.Workspace] | None = None

    def _adopt(self) -> None:
        dropouts = 0
        for i, layer in enumerate(self.layers):
            layer._adopt(self._store, self._plan.offset(i) if isinstance(layer, Dense) else dropouts)
            dropouts += isinstance(layer, Dropout)

    def _draw(self) -> None:
        _core.net_draw(self._store.params, self._plan, self._store.seed)
        for layer in self._dense:
            if layer.seed is not None:
                layer._draw()

    # ---- what it is ---------------------------------------------------------------------------------------

    @property
    def inputs(self) -> int:
        """I, the width of a row that goes in."""
        return self._plan.inputs

    @property
    def outputs(self) -> int:
        """O, the width of a row that comes out."""
        return self._plan.outputs

    @property
    def seed(self) -> int:
        """Of the initial values, the shuffling and the dropout masks."""
        return self._store.seed

    @property
    def epochs_done(self) -> int:
        """Epochs of all fits since the net was made or reset."""
        return self._epochs_done

    @property
    def steps_done(self) -> int:
        """Optimizer steps since the net was made or reset."""
        return self._store.state.steps

    @property
    def params(self) -> Floats:
        """All parameters, a flat view: dense by dense, W (I, O) and then b (O). Assigning copies in."""
        self._store.guard.check()
        return self._store.params[:]

    @params.setter
    def params(self, value: ArrayLike) -> None:
        self.params[:] = _core.floats("params", value, (self._plan.param_count,))

    @property
    def grads(self) -> Floats:
        """The gradient of each of `params`, a flat view; `loss_and_grad` and `backward` overwrite it."""
        self._store.guard.check()
        return self._store.grads[:]

    @grads.setter
    def grads(self, value: ArrayLike) -> None:
        self.grads[:] = _core.floats("grads", value, (self._plan.param_count,))

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))}, seed={self.seed})"

    def summary(self) -> str:
        """The layers, their widths and their parameters, as text to print."""
        lines = [("", "layer", "output", "parameters")]
        width = self.inputs
        for i, layer in enumerate(self.layers):
            count = 0
            if isinstance(layer, Dense):
                width, count = layer.outputs, (layer.inputs + 1) * layer.outputs
            lines.append((str(i), repr(layer), f"(B, {width})", str(count)))
        sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            f"{a:>{sizes[0]}}  {b:<{sizes[1]}}  {c:<{sizes[2]}}  {d:>{sizes[3]}}" for a, b, c, d in lines
        ]
        done = f"{self.epochs_done} epochs, {self.steps_done} steps done"
        return "\n".join([*table, f"{self._plan.param_count} parameters, seed {self.seed}, {done}"])

    # ---- training -----------------------------------------------------------------------------------------

    def fit(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        epochs: int = 10,
        batch_size: int | None = None,
        optimizer: Optimizer | str = "adam",
        loss: Loss | None = None,
        metrics: Iterable[Metric] | Metric = (),
        validation_data: tuple[ArrayLike, ...] | None = None,
        callbacks: Iterable[object] = (),
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        clip_norm: float | None = None,
        seed: int | None = None,
        verbose: int | None = None,
    ) -> History:
        """Trains, and goes on where the last fit ended: fit(epochs=10) twice gives the bits of
        fit(epochs=20).

        Epoch e, counted over all fits, takes the rows of `pynn.batches(n, batch_size, seed, e)`. Ctrl-C
        raises KeyboardInterrupt within 0.1 s or one step; the net is then between two steps, and the epoch
        not counted.

        Args:
            x: (n, I).
            t: targets of n rows.
            epochs: at least 1.
            batch_size: rows of a step, at least 1; None: 200. More than n means n.
            optimizer: `SGD`, `Adam` or `AdamW`, or "sgd", "adam", "adamw" for one with its defaults. Another
                kind than that of the last fit starts the moments afresh.
            loss: "squared_error", "half_squared_error", "mean_squared_error", "cross_entropy",
                "binary_cross_entropy"; None: cross_entropy after Softmax, binary_cross_entropy after Sigmoid,
                else mean_squared_error. Or a function of scores (B, O) and targets that returns the loss of
                each row (B,) and the unscaled gradient of the scores (B, O); Python then makes each step,
                which is slower. Scores are the input of a last Softmax or Sigmoid, else the outputs.
            metrics: "accuracy", "mean_squared_error", "mean_absolute_error", or functions of targets and
                outputs that return a number. Of all training rows, with the parameters at the end of each
                epoch; unweighted.
            validation_data: (x, t) or (x, t, sample_weight), measured at the end of each epoch.
            callbacks: see `pynn.callbacks`.
            shuffle: False takes the rows in their order.
            sample_weight: (n,), finite, at least 0, not all 0; None: 1 each.
            clip_norm: the longest gradient, above 0, as L2 norm over all parameters; None: any.
            seed: of the shuffling; None: that of the net.
            verbose: 1 shows progress on stderr, 0 does not; None: 1 on a terminal.

        Raises:
            DivergedError: the parameters are then those of the last epoch's end, the moments afresh.
            BusyError: the net is in use, or this is one of its own callbacks.
        """
        with self._training():
            chosen_loss = losses.chosen_loss(loss, self.layers[-1])
            data = self._data(x, t, sample_weight, chosen_loss, "x", "t")
            validation = None
            if validation_data is not None:
                if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                    raise PynnTypeError("validation_data must be (x, t) or (x, t, sample_weight)")
                weight = validation_data[2] if len(validation_data) == 3 else None
                validation = self._data(
                    validation_data[0],
                    validation_data[1],
                    weight,
                    chosen_loss,
                    "x of validation_data",
                    "t of validation_data",
                )
            recipe, bound = self._optimizer(optimizer, clip_norm)
            run = Run(
                net=self,
                data=data,
                validation=validation,
                loss=chosen_loss,
                metrics=losses.chosen_metrics(metrics, chosen_loss, self.outputs),
                optimizer=bound,
                learning_rate=recipe.learning_rate,
                epochs=_core.integer("epochs", epochs, 1),
                batch_size=_core.integer("batch_size", 200 if batch_size is None else batch_size, 1),
                seed=self.seed if seed is None else _core.seed(seed),
                shuffle=bool(shuffle),
            )
            listeners = checked_callbacks(callbacks)
            self._prepare_moments(bound)
            return run.train(listeners, Progress(verbose, run.epochs))

    def train_step(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | str = "adam",
        sample_weight: ArrayLike | None = None,
        clip_norm: float | None = None,
    ) -> float:
        """One optimizer step on a batch: forward with dropout, loss, backward, update. Arguments as in `fit`.

        Returns:
            The loss of the batch before the step.

        Raises:
            DivergedError: the parameters are then those before the step, the moments afresh.
        """
        with self._training():
            name = losses.chosen_loss(loss, self.layers[-1])
            rows, targets = self._data(x, t, sample_weight, name, "x", "t")
            recipe, bound = self._optimizer(optimizer, clip_norm)
            self._prepare_moments(bound)
            order, totals = np.arange(len(rows), dtype=np.uint32), _core.Totals()
            with self._undone_if_diverged():
                self._steps(
                    rows, targets, order, len(rows), np.array([recipe.learning_rate]), name, bound, totals
                )
            return totals.mean

    def loss_and_grad(
        self,
        x: ArrayLike,
        t: ArrayLike,
        loss: Loss | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        training: bool = False,
    ) -> tuple[float, Floats]:
        """The loss of a batch, and its gradient in every parameter. Arguments as in `fit`.

        Args:
            training: True drops out, with the mask of the next optimizer step.

        Returns:
            Σ w_r loss_r / Σ w_r over the rows, and `grads`, which the next call overwrites.

        Raises:
            DivergedError: the loss is NaN or infinite.
        """
        with self._store.guard.writing():
            name = losses.chosen_loss(loss, self.layers[-1])
            rows, targets = self._data(x, t, sample_weight, name, "x", "t")
            return self._gradient(rows, targets, name, training), self.grads

    def update(self, optimizer: Optimizer | str, *, clip_norm: float | None = None) -> None:
        """One optimizer step with the gradients that stand in `grads`.

        Raises:
            DivergedError: the parameters are then those before, the moments afresh.
        """
        with self._training():
            recipe, bound = self._optimizer(optimizer, clip_norm)
            self._prepare_moments(bound)
            with self._undone_if_diverged():
                self._apply(bound, recipe.learning_rate)

    def reset(self, seed: int | None = None) -> None:
        """Starts over: draws all parameters, a Dense with a seed from its own; forgets moments and counts.

        Args:
            seed: becomes that of the net; None keeps it.
        """
        with self._training():
            if seed is not None:
                self._store.seed = _core.seed(seed)
            self._draw()
            self._store.grads[:] = 0
            self._store.state.set(0, 1.0, 1.0)
            self._moments_of = ("", 0)
            self._epochs_done = 0
            self._tape = None

    # ---- as a layer ---------------------------------------------------------------------------------------

    def forward(self, x: ArrayLike, *, training: bool = False) -> Floats:
        """The outputs (B, O) for x (B, I), keeping what `backward` needs: x itself where it is float32, not a
        copy.

        Args:
            training: True drops out, with the mask of the next optimizer step.
        """
        rows = self._rows(x)
        with self._store.guard.writing():
            mask, workspace = self._mask(training), _core.Workspace(self._plan.pass_bytes(len(rows)))
            y = _core.forward(self._plan, self._store.params, rows, mask, "outputs", workspace)
            self._tape = rows, mask, workspace
        return y

    def backward(self, dy: ArrayLike) -> Floats:
        """The gradient of x (B, I) from that of the outputs (B, O) of the last `forward`; overwrites `grads`.

        Once for each forward, and with the parameters of then.

        Raises:
            RuntimeError: no `forward` before it.
        """
        with self._store.guard.writing():
            if self._tape is None:
                raise PynnRuntimeError("backward needs a forward before it, one for each")
            x, mask, workspace = self._tape
            dy = _core.floats("dy", dy, (len(x), self.outputs))
            self._tape = None
            dx = _core.empty(*x.shape)
            store = self._store
            _core.backward(store.grads, dx, dy, self._plan, store.params, x, mask, "outputs", workspace)
        return dx

    # ---- use ----------------------------------------------------------------------------------------------

    def predict(self, x: ArrayLike) -> Floats:
        """The outputs (n, O) for x (n, I). Row i depends on row i of x alone, in every bit."""
        return self._infer(self._rows(x), "outputs")

    def scores(self, x: ArrayLike) -> Floats:
        """The input (n, O) of the last Softmax or Sigmoid; the outputs if the net ends otherwise."""
        return self._infer(self._rows(x), "scores")

    def evaluate(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        loss: Loss | None = None,
        metrics: Iterable[Metric] | Metric = (),
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """The loss under "loss", and the metrics under their names; arguments as in `fit`. No dropout."""
        name = losses.chosen_loss(loss, self.layers[-1])
        chosen_metrics = losses.chosen_metrics(metrics, name, self.outputs)
        return self._measure(*self._data(x, t, sample_weight, name, "x", "t"), name, chosen_metrics)

    def predictor(self, batch: int = 1) -> Predictor:
        """A snapshot for predictions of `batch` rows, at least 1, at a time with little overhead."""
        with self._store.guard.reading():
            return Predictor(self._plan, self._store.params.copy(), _core.integer("batch", batch, 1))

    def trace(
        self, x: ArrayLike, t: ArrayLike, loss: str | None = None, *, sample_weight: ArrayLike | None = None
    ) -> Trace:
        """Every intermediate value and every gradient of a batch, named and in order: a `Trace`, to read or
        to print.

        For teaching, and to find dead units and layers that explode. Changes nothing. Arguments as in `fit`.
        """
        from .trace import Trace  # noqa: PLC0415  (few programs need it)

        name = losses.chosen_loss(loss, self.layers[-1])
        if not isinstance(name, str):
            raise PynnTypeError(f"trace needs the name of a loss, not {loss!r}")
        return Trace(self, *self._data(x, t, sample_weight, name, "x", "t"), name)

    def folded(self) -> Sequential:
        """The same function in a net without neighbouring dense layers: W3 = W1 W2, b3 = b1 W2 + b2; other
        bits.

        The new net has the seed of this one, and has not been trained. Without neighbours it is a copy.
        """
        layers = [copy.copy(layer) for layer in self.layers]
        while pairs := neighbours(layers):
            i, j = pairs[0]
            layers[i : j + 1] = [_product(layers[i], layers[j])]
        return Sequential(*layers, seed=self.seed)

    # ---- copies -------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        with self._store.guard.reading():
            return {
                "layers": [(type(layer), layer._arguments()) for layer in self.layers],
                "seed": self.seed,
                "params": self._store.params.copy(),
                "state": self._store.state.get(),
                "moments": self._moments.copy(),
                "moments_of": self._moments_of,
                "epochs_done": self._epochs_done,
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(tuple(kind(**arguments) for kind, arguments in state["layers"]), state["seed"])
        self._adopt()
        self.params[:] = state["params"]
        self._store.state.set(*state["state"])
        self._moments = state["moments"].copy()
        self._moments_of = state["moments_of"]
        self._epochs_done = state["epochs_done"]

    # ---- what the methods above share ---------------------------------------------------------------------

    def _rows(self, x: ArrayLike, name: str = "x") -> Floats:
        return _core.floats(name, x, (None, self.inputs), strided=True)

    def _data(
        self, x: ArrayLike, t: ArrayLike, weight: ArrayLike | None, loss: Loss, x_name: str, t_name: str
    ) -> tuple[Floats, Targets]:
        rows = self._rows(x, x_name)
        return rows, losses.targets(loss, t, weight, len(rows), self.outputs, t_name)

    def _infer(self, x: Floats, end: str) -> Floats:
        y = _core.empty(len(x), self.outputs)
        with self._store.guard.reading():
            _core.predict(y, self._plan, self._store.params, x, end)
        return y

    def _measure(self, x: Floats, targets: Targets, loss: Loss, metrics: Metrics) -> dict[str, float]:
        end = losses.end(loss)
        y = self._infer(x, end)
        found = {"loss": losses.evaluated(loss, y, targets)}
        if metrics and end == "scores":
            y = losses.outputs(y, self.layers[-1])
        return found | {name: float(metric(targets.values, y)) for name, metric in metrics.items()}

    def _mask(self, training: bool) -> _core.Mask | None:
        return (self.seed, self.steps_done, 0) if training else None

    def _gradient(self, x: Floats, targets: Targets, loss: Loss, training: bool) -> float:
        """The loss of a batch; the gradient goes to the store."""
        store, plan, mask = self._store, self._plan, self._mask(training)
        size = plan.pass_bytes(len(x))
        if not callable(loss):
            space = self._workspace(size)
            return _core.loss_and_grad(
                store.grads, plan, store.params, x, targets.c, mask, loss, store.state, space
            )
        space = _core.Workspace(size)  # the loss may use the net while this one waits for the way back
        scores = _core.forward(plan, store.params, x, mask, "scores", space)
        value, dscores = losses.called(loss, scores, targets)
        for quantity, fine in (("loss", np.isfinite(value)), ("gradient", np.isfinite(dscores).all())):
            if not fine:
                raise DivergedError(self.steps_done, None, quantity)
        _core.backward(store.grads, None, dscores, plan, store.params, x, mask, "scores", space)
        return value

    def _workspace(self, size: int) -> _core.Workspace:
        """Memory for one call, kept for the next."""
        if self._scratch is None or self._scratch.bytes < size:
            self._scratch = _core.Workspace(size)
        return self._scratch

    def _steps(
        self,
        x: Floats,
        targets: Targets,
        order: _core.Order,
        batch: int,
        rates: _core.Rates,
        loss: Loss,
        optimizer: _core.Optimizer,
        totals: _core.Totals,
    ) -> None:
        """A step for each learning rate on the next `batch` rows of the order, all in one call into C, unless
        the loss is a function of Python.
        """
        if not callable(loss):
            store, space = self._store, self._workspace(self._plan.train_bytes(optimizer, batch))
            _core.train_steps(
                store.params,
                self._moments,
                store.state,
                totals,
                self._plan,
                optimizer,
                x,
                targets.c,
                order,
                batch,
                rates,
                loss,
                store.seed,
                space,
            )
            return
        for k, rate in enumerate(rates):
            rows = order[k * batch : (k + 1) * batch]
            some = targets.take(rows)
            weight = some.weight()
            if weight > 0:
                totals.add(weight * self._gradient(x[rows], some, loss, training=True), weight)
                self._apply(optimizer, float(rate))

    def _apply(self, optimizer: _core.Optimizer, learning_rate: float) -> None:
        store = self._store
        _core.update(
            store.params, self._moments, store.state, store.grads, self._plan, optimizer, learning_rate
        )

    def _optimizer(
        self, optimizer: Optimizer | str, clip_norm: float | None
    ) -> tuple[Optimizer, _core.Optimizer]:
        """The recipe, and what the C library makes of it."""
        recipe = chosen(optimizer)
        clip = 0.0 if clip_norm is None else _core.real("clip_norm", clip_norm, 0)
        if clip_norm is not None and clip == 0:
            raise PynnValueError("clip_norm must be above 0, or None")
        if self._bound is None or self._bound[:2] != (recipe, clip):
            self._bound = recipe, clip, recipe._bind(clip)
        return recipe, self._bound[2]

    def _prepare_moments(self, optimizer: _core.Optimizer) -> None:
        """Moments of 0 for another kind of optimizer than before."""
        kind = optimizer.kind, optimizer.moments
        if kind != self._moments_of:
            self._moments_of = ("", 0)  # an interrupt must not leave a kind with the moments of another
            self._moments = _core.empty(optimizer.moments * self._plan.param_count)
            self._forget_moments()
            self._moments_of = kind

    def _forget_moments(self) -> None:
        self._moments[:] = 0
        self._store.state.set(self.steps_done, 1.0, 1.0)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """For this thread alone, and not within itself."""
        with self._store.guard.writing():
            if self._fitting:
                raise BusyError(
                    "this net is being trained; its callbacks and losses may use it but not train it"
                )
            try:
                self._fitting = True
                yield
            finally:
                self._fitting = False

    @contextmanager
    def _undone_if_diverged(self) -> Iterator[None]:
        """What diverges leaves the parameters and the count of steps that were, and the moments afresh."""
        if self._saved is None:
            self._saved = _core.empty(self._plan.param_count)
        self._saved[:] = self._store.params
        steps = self.steps_done
        try:
            yield
        except DivergedError:
            self._store.params[:] = self._saved
            self._store.state.set(steps, 1.0, 1.0)
            self._forget_moments()
            raise


def _product(first: Layer, second: Layer) -> Dense:
    """One dense layer for two, computed in double."""
    assert isinstance(first, Dense)
    assert isinstance(second, Dense)
    dense = Dense(first.inputs, second.outputs, init=second.init)
    weight = second.weight.astype(np.float64)
    dense.weight = first.weight.astype(np.float64) @ weight
    dense.bias = first.bias.astype(np.float64) @ weight + second.bias
    return dense
