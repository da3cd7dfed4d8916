"""A net: layers one after the other, their parameters in one flat array, and how it is trained and used."""

from __future__ import annotations

import copy
import os
import warnings
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _calls, _gate, losses
from . import threads as sharing
from ._memory import empty, vector
from ._store import READING, TRAINING, WRITING, Guard, Store, claiming
from ._structs import Net, Plan, Tape
from .errors import PynnRuntimeError, PynnTypeError, PynnValueError
from .layers import KINDS, Dense, Dropout, Layer, check_chain, neighbours
from .optimizers import Optimizer
from .predictor import Predictor
from .training import Fit, History, Progress, Training, checked_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from ._memory import Floats
    from ._structs import Executor
    from .losses import Loss, Metric, MetricFunction, Metrics, Targets
    from .trace import Trace
    from .training import Data

STATE_FORMAT = 1
_ALONE = 1  # the default number of threads
_FEW, _FEW_PRODUCTS = 4096, 10**7  # of rows that are predicted the short way


class Sequential:
    """A net of layers, each of which takes what the one before it gives.

    It adopts the layers: values that a Dense has from its seed or that were set are copied into the flat
    array, the rest is drawn. A layer belongs to one net, once. A Sequential is itself a layer (`forward`,
    `backward`), but not of another Sequential.

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
        self._build(layers, int.from_bytes(os.urandom(8), "little") if seed is None else _gate.seed(seed))
        present = [layer._given() for layer in self._dense]
        for i, j in neighbours(self.layers):
            warnings.warn(
                f"layers {i} and {j} are dense with nothing between, so they are one linear map; "
                "net.folded() merges them",
                stacklevel=2,
            )
        self._initialise()
        for layer, values in zip(self._dense, present, strict=True):
            if values is not None:
                offset = self._net.offset(self.layers.index(layer))
                self._store.params[offset:][: len(values)] = values
        self._adopt()

    def _build(self, layers: tuple[Layer, ...], seed: int) -> None:
        """All but the values. Checks everything before a layer is touched."""
        for i, layer in enumerate(layers):
            if isinstance(layer, Sequential):
                raise PynnTypeError(f"layer {i} is a Sequential; build one Sequential from all the layers")
            if type(layer) not in KINDS:
                hint = "; write Sequential(*layers)" if isinstance(layer, (list, tuple)) else ""
                raise PynnTypeError(f"layer {i} must be a layer of pynn, not {layer!r}{hint}")
            if layer._in_net or any(layer is other for other in layers[:i]):
                raise PynnValueError(
                    f"layer {i}, {layer}, already belongs to a net; a layer belongs to one net, once"
                )
        check_chain(layers)
        self._layers = layers
        self._dense = [layer for layer in layers if isinstance(layer, Dense)]
        self._net = Net([layer._spec() for layer in layers])
        self._store = Store(self._net.param_count, seed)
        self._plan = Plan(self._net, self._store.params_c)
        self._training = Training(self._plan, self._store)
        self._tape: Tape | None = None
        self._few_rows = min(_FEW // max(self.inputs, self.outputs), _FEW_PRODUCTS // self._net.param_count)
        self._bounds: list[_calls.Bound] = []  # as many as threads have predicted few rows at once

    def _adopt(self) -> None:
        dropouts = 0
        for i, layer in enumerate(self.layers):
            layer._adopt(self._store, self._net.offset(i) if isinstance(layer, Dense) else dropouts)
            dropouts += isinstance(layer, Dropout)

    def _initialise(self) -> None:
        """All values: from the seed of the net, or of a layer that has one."""
        _calls.params_init(self._store.params, self._net, self._store.seed)
        for i, layer in enumerate(self.layers):
            if isinstance(layer, Dense) and layer.seed is not None:
                layer._initialise(self._store, self._net.offset(i))

    # ---- what it is ---------------------------------------------------------------------------------------

    @property
    def _guard(self) -> Guard:
        return self._store.guard

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In their order."""
        return self._layers

    @property
    def inputs(self) -> int:
        """I, the width of a row that goes in."""
        return self._net.inputs

    @property
    def outputs(self) -> int:
        """O, the width of a row that comes out."""
        return self._net.outputs

    @property
    def seed(self) -> int:
        """Of the initial values, the shuffling and the dropout masks."""
        return self._store.seed

    @property
    def epochs_done(self) -> int:
        """Epochs of all fits since the net was made or reset."""
        return self._training.epochs_done

    @property
    def steps_done(self) -> int:
        """Optimizer steps since the net was made or reset."""
        return self._store.trainer.steps

    @property
    def params(self) -> Floats:
        """All parameters, a flat view: dense by dense, W (I, O) and then b (O). Assigning copies in."""
        self._guard.look()
        return self._store.params[:]

    @params.setter
    @claiming(WRITING)
    def params(self, value: ArrayLike) -> None:
        self._tape = None
        self.params[:] = _gate.floats("params", value, (self._net.param_count,))

    @property
    def grads(self) -> Floats:
        """The gradient of each of `params`, a flat view; `loss_and_grad` and `backward` overwrite it."""
        self._guard.look()
        return self._store.grads[:]

    @grads.setter
    def grads(self, value: ArrayLike) -> None:
        self.grads[:] = _gate.floats("grads", value, (self._net.param_count,))

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
        return "\n".join([*table, f"{self._net.param_count} parameters, seed {self.seed}, {done}"])

    # ---- training -----------------------------------------------------------------------------------------

    @claiming(TRAINING)
    def fit(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        epochs: int = 10,
        batch_size: int | None = None,
        optimizer: Optimizer | str = "adam",
        loss: Loss | None = None,
        metrics: Iterable[Metric] | Mapping[str, MetricFunction] | Metric = (),
        validation_data: tuple[ArrayLike, ...] | None = None,
        callbacks: Iterable[object] = (),
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        clip_norm: float | None = None,
        seed: int | None = None,
        verbose: int | None = None,
        threads: int | str = 1,
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
                outputs that return a number, in a list or by name in a mapping. Accuracy is the share of
                outputs on the right side of 0.5 after Sigmoid, else of rows whose largest output is right. Of
                all training rows, with the parameters at the end of each epoch; unweighted.
            validation_data: (x, t) or (x, t, sample_weight), measured at the end of each epoch.
            callbacks: one, or several, see `pynn.callbacks`.
            shuffle: False takes the rows in their order.
            sample_weight: (n,), finite, at least 0, not all 0; None: 1 each.
            clip_norm: the longest gradient, above 0, as L2 norm over all parameters; None: any.
            seed: of the shuffling; None: that of the net.
            verbose: 1 shows progress on stderr, 0 does not; None: 1 on a terminal.
            threads: the most threads that share the work, at least 1, or "auto" for as many as there are
                processors that this process may use. Fewer are taken where a batch, or a tenth of the fit,
                has not the work for them (some 30 microseconds for each), down to the calling thread alone.
                They live as long as the fit. Results do not depend on them.

        Raises:
            DivergedError: the parameters are then those of the last epoch's end, the moments afresh.
            BusyError: the net is in use, or this is one of its own callbacks.
        """
        chosen_loss = losses.chosen_loss(loss, self.layers[-1])
        data = self._data(x, t, sample_weight, chosen_loss)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                raise PynnTypeError("validation_data must be (x, t) or (x, t, sample_weight)")
            weight = validation_data[2] if len(validation_data) == 3 else None
            validation = self._data(
                validation_data[0], validation_data[1], weight, chosen_loss, " of validation_data"
            )
        epochs = _gate.integer("epochs", epochs, 1)
        batch = min(_gate.integer("batch_size", 200 if batch_size is None else batch_size, 1), len(data[0]))
        seed = self.seed if seed is None else _gate.seed(seed)
        shuffle = _gate.boolean("shuffle", shuffle)
        chosen_metrics = losses.chosen_metrics(metrics, self.layers[-1], self.outputs)
        listeners, progress = checked_callbacks(callbacks), Progress(verbose, epochs)
        sharing.checked(threads)
        self._tape = None
        recipe, bound = self._training.prepare(optimizer, clip_norm)
        keys, measured = ["loss", *chosen_metrics], None
        if chosen_metrics or validation is not None:
            measured = partial(self._measured, data, validation, chosen_loss, chosen_metrics)
        history = History(keys if validation is None else keys + [f"val_{key}" for key in keys])
        fit = Fit(
            training=self._training,
            course=Run(self, epochs, -(-len(data[0]) // batch), history, recipe.learning_rate),
            data=data,
            loss=chosen_loss,
            optimizer=bound,
            epochs=epochs,
            batch=batch,
            seed=seed,
            shuffle=shuffle,
            callbacks=listeners,
            progress=progress,
            measured=measured,
        )
        return sharing.sharing(threads, self._net, min(batch, _tenth(len(data[0]) * epochs)), fit.run)

    @claiming(TRAINING)
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
        name = losses.chosen_loss(loss, self.layers[-1])
        rows, targets = self._data(x, t, sample_weight, name)
        recipe, bound = self._training.prepare(optimizer, clip_norm)
        self._tape = None
        return self._training.step(rows, targets, name, bound, recipe.learning_rate)

    @claiming(WRITING)
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
            Σ w_r loss_r / Σ w_r over the rows, and `grads`, a view that the next call overwrites; copy it to
            keep it.

        Raises:
            DivergedError: the loss is NaN or infinite; `grads` is then overwritten too.
        """
        name = losses.chosen_loss(loss, self.layers[-1])
        rows, targets = self._data(x, t, sample_weight, name)
        training = _gate.boolean("training", training)
        return self._training.gradient(rows, targets, name, training), self.grads

    @claiming(TRAINING)
    def update(self, optimizer: Optimizer | str, *, clip_norm: float | None = None) -> None:
        """One optimizer step with the gradients that stand in `grads`.

        Raises:
            DivergedError: the parameters are then those before, the moments afresh.
        """
        recipe, bound = self._training.prepare(optimizer, clip_norm)
        self._tape = None
        self._training.update(bound, recipe.learning_rate)

    @claiming(TRAINING)
    def reset(self, seed: int | None = None) -> None:
        """Starts over: draws all parameters, a Dense with a seed from its own; forgets moments and counts.

        Args:
            seed: becomes that of the net; None keeps it.
        """
        if seed is not None:
            self._store.seed = _gate.seed(seed)
        self._training.reset()
        self._tape = None
        self._store.grads[:] = 0
        self._initialise()

    # ---- as a layer ---------------------------------------------------------------------------------------

    @claiming(WRITING)
    def forward(self, x: ArrayLike, *, training: bool = False) -> Floats:
        """The outputs (B, O) for x (B, I), keeping what `backward` needs: x itself where it is float32, not a
        copy.

        Args:
            training: True drops out, with the mask of the next optimizer step.
        """
        rows = self._store.apart(self._rows(x))
        mask = self._training.mask(_gate.boolean("training", training))
        self._tape = None
        y, self._tape = _calls.forward(self._plan, rows, mask, "outputs")
        return y

    @claiming(WRITING)
    def backward(self, dy: ArrayLike) -> Floats:
        """The gradient of x (B, I) from that of the outputs (B, O) of the last `forward`; overwrites `grads`.

        Once for each forward. Training, and assigning `params`, take the forward back.

        Raises:
            RuntimeError: no `forward` before it.
        """
        dy = self._store.apart(_gate.floats("dy", dy, (None, self.outputs)))
        if self._tape is None:
            raise PynnRuntimeError("backward needs a forward before it, one for each")
        tape, rows = self._tape, len(self._tape.x)
        if len(dy) != rows:
            raise PynnValueError(f"dy must have the shape ({rows}, {self.outputs}), not {dy.shape}")
        self._tape = None
        dx = empty(*tape.x.shape)
        _calls.backward(self._store.grads, dx, dy, tape)
        return dx

    # ---- use ----------------------------------------------------------------------------------------------

    def predict(self, x: ArrayLike, *, threads: int | str = 1) -> Floats:
        """The outputs (n, O) for x (n, I). Row i depends on row i of x alone, in every bit.

        Args:
            threads: the most, as in `fit`. They live as long as the call, and fewer are taken where one would
                not have ten times the work that is worth one in a fit.
        """
        if threads is _ALONE and type(x) is np.ndarray and x.size <= self._few_rows * self._net.inputs:
            y = self._few(x)
            if y is not None:
                return y
        return self._shared(self._rows(x), "outputs", threads)

    def scores(self, x: ArrayLike, *, threads: int | str = 1) -> Floats:
        """The input (n, O) of the last Softmax or Sigmoid; the outputs if the net ends otherwise. `threads`
        as in `predict`.
        """
        return self._shared(self._rows(x), "scores", threads)

    def evaluate(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        loss: Loss | None = None,
        metrics: Iterable[Metric] | Mapping[str, MetricFunction] | Metric = (),
        sample_weight: ArrayLike | None = None,
        threads: int | str = 1,
    ) -> dict[str, float]:
        """The loss under "loss", and the metrics under their names; arguments as in `fit`, `threads` as in
        `predict`. No dropout.
        """
        name = losses.chosen_loss(loss, self.layers[-1])
        chosen_metrics = losses.chosen_metrics(metrics, self.layers[-1], self.outputs)
        data = self._data(x, t, sample_weight, name)
        return sharing.sharing(
            threads,
            self._net,
            _rows_of_a_step(len(data[0])),
            lambda executor: self._measure(*data, name, chosen_metrics, executor),
        )

    @claiming(READING)
    def predictor(self, batch: int = 1) -> Predictor:
        """A snapshot for predictions of `batch` rows, at least 1, at a time with little overhead."""
        return Predictor(self._net, self._store.params, _gate.integer("batch", batch, 1))

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
        return Trace(self.layers, *self._data(x, t, sample_weight, name), name)

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

    @claiming(READING)
    def __getstate__(self) -> dict[str, Any]:
        training = self._training
        return {
            "format": STATE_FORMAT,
            "layers": [(type(layer), layer._arguments()) for layer in self.layers],
            "seed": self.seed,
            "params": self._store.params.copy(),
            "state": self._store.trainer.get(),
            "moments": training.moments.copy(),
            "moments_of": training.moments_of,
            "epochs_done": training.epochs_done,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
            raise PynnValueError("this pickle of a Sequential is of another version of pynn, or corrupt")
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PynnValueError(f"this pickle of a Sequential is corrupt: {error}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self._build(
            tuple(kind(**arguments) for kind, arguments in state["layers"]), _gate.seed(state["seed"])
        )
        self._adopt()
        self._store.params[:] = _gate.floats("params", state["params"], (self._net.param_count,))
        (kind, count), (steps, *powers) = state["moments_of"], state["state"]
        moments = vector(_gate.integer("moments", count, 0, 2) * self._net.param_count)
        if np.shape(state["moments"]) != moments.shape:
            raise PynnValueError(f"{count} moments have the shape {np.shape(state['moments'])}")
        moments[:] = state["moments"]
        self._training.set_moments(moments, (str(kind), int(count)))
        beta1, beta2 = (_gate.real("a power", power, 0) for power in powers)
        self._store.trainer.set(_gate.integer("steps", steps, 0, 2**64 - 1), beta1, beta2)
        self._training.epochs_done = _gate.integer("epochs_done", state["epochs_done"], 0)

    # ---- what the methods above share ---------------------------------------------------------------------

    def _rows(self, x: ArrayLike, name: str = "x") -> Floats:
        return _gate.rows(name, x, self._net.inputs)

    def _data(
        self, x: ArrayLike, t: ArrayLike, weight: ArrayLike | None, loss: Loss, of: str = ""
    ) -> tuple[Floats, Targets]:
        """What has passed the gate; `of` says in errors whose it is."""
        rows = self._rows(x, f"x{of}")
        names = f"t{of}", f"sample_weight{of}"
        targets = losses.targets(loss, t, weight, len(rows), self._net.outputs, *names)
        return self._store.apart(rows), targets.apart(self._store)

    def _few(self, x: np.ndarray) -> Floats | None:
        """`predict` of an x that is quickly seen to be few rows that it can take, else None."""
        guard, claim = self._store.guard, (get_ident(), READING)
        try:
            guard.append(claim)
            if guard[0] is not claim:
                guard.check(claim)
            try:
                bound = self._bounds.pop()
            except IndexError:
                bound = _calls.Bound(self._plan, max(1, self._few_rows))
            y = bound.answer(x)
            self._bounds.append(bound)
        finally:
            guard.remove(claim)
        return y

    @claiming(READING)
    def _infer(self, x: Floats, end: str, executor: Executor | None = None) -> Floats:
        y = empty(len(x), self._net.outputs)
        _calls.predict(y, self._plan, x, end, executor)
        return y

    def _shared(self, x: Floats, end: str, threads: int | str) -> Floats:
        if type(threads) is int and threads == 1:
            return self._infer(x, end)
        return sharing.sharing(
            threads, self._net, _rows_of_a_step(len(x)), lambda executor: self._infer(x, end, executor)
        )

    def _measure(
        self, x: Floats, targets: Targets, loss: Loss, metrics: Metrics, executor: Executor | None
    ) -> dict[str, float]:
        """The loss and the metrics of any rows."""
        end = losses.end(loss)
        y = self._infer(x, end, executor)
        found = {"loss": losses.evaluated(loss, y, targets)}
        if metrics and end == "scores":
            y = losses.outputs(y, self.layers[-1])
        return found | losses.measured(metrics, targets, y)

    def _measured(
        self, data: Data, validation: Data | None, loss: Loss, metrics: Metrics, executor: Executor | None
    ) -> dict[str, float]:
        """At the end of an epoch: the metrics of all training rows, and all of the validation rows."""
        found: dict[str, float] = {}
        if metrics:
            found.update(losses.measured(metrics, data[1], self._infer(data[0], "outputs", executor)))
        if validation is not None:
            values = self._measure(*validation, loss, metrics, executor)
            found.update((f"val_{key}", value) for key, value in values.items())
        return found


class Run:
    """A fit that is going on, as callbacks see it.

    Attributes:
        net: the net that learns.
        epoch: epochs that it has done, in this fit and before.
        epochs: epochs of this fit.
        steps_per_epoch: optimizer steps of an epoch.
        history: the `History` up to now.
        learning_rate: of the next epoch, one number or one for each step; may be set.
        stop_reason: None; a text set here, or True from a callback, stops.
    """

    def __init__(
        self,
        net: Sequential,
        epochs: int,
        steps_per_epoch: int,
        history: History,
        learning_rate: float,
    ) -> None:
        self.net = net
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.history = history
        self.learning_rate: float | Sequence[float] = learning_rate
        self.stop_reason: str | None = None

    @property
    def epoch(self) -> int:
        return self.net.epochs_done


def _tenth(rows: int) -> int:
    """The rows of a step for which threads are worth their while if ten of them are worth their start."""
    return max(1, rows // 10)


def _rows_of_a_step(rows: int) -> int:
    """The same of a prediction, which is a third of a step."""
    return _tenth(rows // 3)


def _product(first: Layer, second: Layer) -> Dense:
    """One dense layer for two, computed in double."""
    assert isinstance(first, Dense)
    assert isinstance(second, Dense)
    dense = Dense(first.inputs, second.outputs, init=second.init)
    weight = second.weight.astype(np.float64)
    dense.weight = first.weight.astype(np.float64) @ weight
    dense.bias = first.bias.astype(np.float64) @ weight + second.bias
    return dense
