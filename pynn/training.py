"""How a net learns: steps, epochs, history, callbacks, progress."""

from __future__ import annotations

import math
import numbers
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from . import _core, losses, network
from ._store import Store
from .errors import DivergedError, PynnTypeError, PynnValueError
from .losses import Loss, Metrics, Targets
from .optimizers import Optimizer, chosen

Data = tuple[_core.Floats, Targets]

SLICE_SECONDS = 0.05  # one call into C; between two calls Ctrl-C is heard and progress shown


class Trainer:
    """What the training of a net keeps from call to call: the moments, and memory.

    Attributes:
        moments: those of the kind of optimizer `moments_of`, one array after the other.
        epochs_done: of all fits.
    """

    def __init__(self, plan: _core.Plan, store: Store) -> None:
        self.plan = plan
        self.store = store
        self.epochs_done = 0
        self._bound: tuple[Optimizer | str, float | None, Optimizer, _core.Optimizer] | None = None
        self._scratch: _core.Workspace | None = None
        self._saved: tuple[_core.Floats, int] | None = None
        self._one_step: tuple[_core.Order, Any, _core.Rates, Any] | None = None
        self.totals = _core.Totals()
        self.set_moments(_core.empty(0), ("", 0))

    def set_moments(self, moments: _core.Floats, kind: tuple[str, int]) -> None:
        self.moments_of = ("", 0)  # an interrupt must not leave a kind with the moments of another
        self.moments = moments
        self.moments_c = _core.pointer(moments)
        self.moments_of = kind

    def prepare(
        self, optimizer: Optimizer | str, clip_norm: float | None
    ) -> tuple[Optimizer, _core.Optimizer]:
        """The recipe and what the C library makes of it, with moments of 0 for another kind than before."""
        bound = self._bound
        if bound is None or bound[0] is not optimizer or bound[1] is not clip_norm:
            recipe = chosen(optimizer)
            clip = 0.0 if clip_norm is None else _core.real("clip_norm", clip_norm, 0, above=True)
            self._bound = bound = optimizer, clip_norm, recipe, recipe._bind(clip)
        kind = bound[3].kind, bound[3].moments
        if kind != self.moments_of:
            moments = _core.vector(bound[3].moments * self.plan.param_count)
            moments[:] = 0
            self.store.state.set(self.store.state.steps, 1.0, 1.0)
            self.set_moments(moments, kind)
        return bound[2], bound[3]

    def reset(self) -> None:
        """Forgets moments and counts."""
        self.set_moments(_core.empty(0), ("", 0))
        self.store.state.set(0, 1.0, 1.0)
        self.epochs_done = 0

    def workspace(self, size: int) -> _core.Workspace:
        """Memory for one call, kept for the next."""
        if self._scratch is None or self._scratch.bytes < size:
            self._scratch = _core.Workspace(size)
        return self._scratch

    def save(self) -> None:
        """Where `undo` goes back to."""
        if self._saved is None:
            self._saved = _core.empty(self.plan.param_count), 0
        saved = self._saved[0]
        np.copyto(saved, self.store.params)
        self._saved = saved, self.store.state.steps

    def undo(self) -> None:
        """After a divergence: the parameters and the count of steps as saved, and the moments afresh."""
        assert self._saved is not None
        self.store.params[:] = self._saved[0]
        self.store.state.set(self._saved[1], 1.0, 1.0)
        self.moments[:] = 0

    def mask(self, training: bool) -> _core.Mask | None:
        """Of the next optimizer step."""
        return (self.store.seed, self.store.state.steps, 0) if training else None

    def gradient(self, x: _core.Floats, targets: Targets, loss: Loss, training: bool) -> float:
        """The loss of a batch; the gradient goes to the store."""
        store, plan, mask = self.store, self.plan, self.mask(training)
        size = plan.pass_bytes(len(x))
        if not callable(loss):
            space = self.workspace(size)
            return _core.loss_and_grad(
                store.grads, plan, store.params, x, targets.c, mask, loss, store.state, space
            )
        space = _core.Workspace(size)  # the loss may use the net while this one waits for the way back
        scores = _core.forward(plan, store.params, x, mask, "scores", space)
        value, dscores = losses.called(loss, scores, targets)
        for quantity, fine in (("loss", math.isfinite(value)), ("gradient", np.isfinite(dscores).all())):
            if not fine:
                raise DivergedError(store.state.steps, None, quantity)
        _core.backward(store.grads, None, dscores, plan, store.params, x, mask, "scores", space)
        return value

    def apply(self, optimizer: _core.Optimizer, learning_rate: float) -> None:
        """A step with the gradients of the store."""
        store = self.store
        _core.update(
            store.params_c, self.moments_c, store.state, store.grads, self.plan, optimizer, learning_rate
        )

    def step(
        self, x: _core.Floats, targets: Targets, loss: Loss, bound: _core.Optimizer, rate: float
    ) -> float:
        """One step on all rows; their loss before it."""
        if self._one_step is None or len(self._one_step[0]) < len(x):
            order, rates = np.arange(len(x), dtype=np.uint32), np.empty(1)
            self._one_step = order, _core.order_pointer(order), rates, _core.rates_pointer(rates)
        order, order_c, rates, rates_c = self._one_step
        rates[0] = rate
        training = Training(self, (x, targets), loss, bound, len(x), None)
        self.totals.clear()
        self.save()
        try:
            training.run(order, order_c, rates, rates_c, 0, 1)
        except DivergedError:
            self.undo()
            raise
        return self.totals.mean


class Training:
    """Steps of a trainer on rows of data, with all that does not change from step to step."""

    __slots__ = ("_batch", "_data", "_loss", "_optimizer", "_steps", "_trainer")

    def __init__(
        self,
        trainer: Trainer,
        data: Data,
        loss: Loss,
        optimizer: _core.Optimizer,
        batch: int,
        executor: _core.Executor | None,
    ) -> None:
        self._trainer, self._data, self._loss = trainer, data, loss
        self._optimizer, self._batch = optimizer, batch
        self._steps: _core.Steps | None = None
        if not callable(loss):
            store, plan, (x, targets) = trainer.store, trainer.plan, data
            workers = 1 if executor is None else executor.c.workers
            self._steps = _core.Steps(
                store.params_c,
                trainer.moments_c,
                store.state,
                trainer.totals,
                plan,
                optimizer,
                x,
                targets.c,
                batch,
                loss,
                store.seed,
                executor,
                trainer.workspace(plan.train_bytes(optimizer, batch, workers)),
            )

    def run(
        self, order: _core.Order, order_c: Any, rates: _core.Rates, rates_c: Any, first: int, end: int
    ) -> None:
        """The steps `first` to `end` - 1 of an epoch, in one call into C unless the loss is a function of
        Python: step k takes rates[k] and the rows from order[k batch] on. Pointers to both come with them.
        """
        if self._steps is not None:
            self._steps.run(order_c, rates_c, first, end)
            return
        trainer, batch, (x, targets) = self._trainer, self._batch, self._data
        for k in range(first, end):
            rows = order[k * batch : min((k + 1) * batch, len(x))]
            some = targets.take(rows)
            weight = some.weight()
            if weight > 0:
                loss = trainer.gradient(x[rows], some, self._loss, training=True)
                trainer.totals.add(weight * loss, weight)
                trainer.apply(self._optimizer, float(rates[k]))


class History(Mapping[str, "list[float]"]):
    """What a fit has measured: one number for each of its epochs under each key.

    Keys: "loss", the mean over the rows of the epoch, each as it was when its batch was taken; each metric,
    of all training rows at the end of the epoch; and "val_loss" and "val_" + metric, of the validation data
    then.

    Attributes:
        stop_reason: why the fit stopped early; None if it did not.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._values: dict[str, list[float]] = {key: [] for key in keys}
        self.stop_reason: str | None = None

    def __getitem__(self, key: str) -> list[float]:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"History({self._values})"


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
        net: network.Sequential,
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


@dataclass
class Fit:
    """A fit whose arguments are checked. `run` does all epochs."""

    net: network.Sequential
    trainer: Trainer
    data: Data
    validation: Data | None
    loss: Loss
    metrics: Metrics
    optimizer: _core.Optimizer
    learning_rate: float
    epochs: int
    batch: int
    seed: int
    shuffle: bool
    callbacks: Sequence[object]
    progress: Progress

    def run(self, executor: _core.Executor | None) -> History:
        rows = len(self.data[0])
        steps = -(-rows // self.batch)
        keys = ["loss", *self.metrics]
        history = History(keys if self.validation is None else keys + [f"val_{key}" for key in keys])
        run = Run(self.net, self.epochs, steps, history, self.learning_rate)
        training = Training(self.trainer, self.data, self.loss, self.optimizer, self.batch, executor)
        order, rates = np.arange(rows, dtype=np.uint32), np.empty(steps)
        memory = order, _core.order_pointer(order), rates, _core.rates_pointer(rates)
        slice_ = 1
        with self.progress:
            self._tell(run, "on_fit_begin")
            for number in range(1, self.epochs + 1):
                if run.stop_reason is not None:
                    break
                if self.shuffle:
                    _core.permute(order, self.seed, run.epoch)
                _fill(rates, run.learning_rate)
                slice_ = self._epoch(training, memory, number, slice_)
                entry = {"loss": self.trainer.totals.mean, **self._measured(executor)}
                for key, value in entry.items():
                    history[key].append(value)
                self.progress.epoch(number, entry)
                self._tell(run, "on_epoch_end")
            if len(history["loss"]) < self.epochs:
                history.stop_reason = run.stop_reason
            self._tell(run, "on_fit_end")
        return history

    def _epoch(
        self,
        training: Training,
        memory: tuple[_core.Order, Any, _core.Rates, Any],
        number: int,
        slice_: int,
    ) -> int:
        """One epoch, in slices of about SLICE_SECONDS; the steps of the next slice."""
        trainer, steps, done = self.trainer, len(memory[2]), 0
        totals, progress = trainer.totals, self.progress
        totals.clear()
        trainer.save()
        try:
            while done < steps:
                until = min(done + slice_, steps)
                started = perf_counter()
                training.run(*memory, done, until)
                seconds = max(perf_counter() - started, 1e-9)
                slice_ = max(1, min(2 * slice_, int(SLICE_SECONDS * (until - done) / seconds)))
                done = until
                if progress.shown:
                    progress.step(number, done, steps, totals.mean)
        except DivergedError:
            trainer.undo()
            raise
        trainer.epochs_done += 1
        return slice_

    def _measured(self, executor: _core.Executor | None) -> dict[str, float]:
        """The metrics, and all that is known of the validation data."""
        found: dict[str, float] = {}
        if self.metrics:
            y = self.net._infer(self.data[0], _core.OUTPUTS, executor)
            found.update(losses.measured(self.metrics, self.data[1], y))
        if self.validation is not None:
            values = self.net._measure(*self.validation, self.loss, self.metrics, executor)
            found.update((f"val_{key}", value) for key, value in values.items())
        return found

    def _tell(self, run: Run, moment: str) -> None:
        for callback in self.callbacks:
            method = getattr(callback, moment, None)
            if method is None:
                continue
            answer = method(run)
            if moment == "on_fit_end" or answer is None:
                continue
            if not isinstance(answer, (bool, np.bool_)):
                raise PynnTypeError(
                    f"{moment} of {type(callback).__name__} must return True, False or None, not {answer!r}"
                )
            if answer and run.stop_reason is None:
                run.stop_reason = f"{type(callback).__name__} stopped"


def _fill(rates: _core.Rates, learning_rate: object) -> None:
    """The learning rate of each step of an epoch."""
    if isinstance(learning_rate, numbers.Real):
        rates[:] = _core.real("learning_rate", learning_rate, 0)
        return
    given = _core.array("learning_rate", learning_rate)
    if given.shape != rates.shape:
        raise PynnValueError(
            f"learning_rate must be one number or {len(rates)}, not of the shape {given.shape}"
        )
    rates[:] = given
    _core.refuse(
        "learning_rate", rates, ~(np.isfinite(rates) & (rates >= 0)), "finite and at least 0", "step"
    )


MOMENTS = ("on_fit_begin", "on_epoch_end", "on_fit_end")


def checked_callbacks(callbacks: object) -> list[object]:
    """Callbacks, of which each has something to call; one alone is a list of one."""
    if isinstance(callbacks, type) or any(hasattr(callbacks, moment) for moment in MOMENTS):
        callbacks = [callbacks]
    if not isinstance(callbacks, Iterable):
        raise PynnTypeError(f"callbacks must be a list of callbacks, not {callbacks!r}")
    checked = list(callbacks)
    for callback in checked:
        if isinstance(callback, type):
            raise PynnTypeError(f"a callback must be made first: {callback.__name__}(...)")
        if not any(hasattr(callback, moment) for moment in MOMENTS):
            raise PynnTypeError(f"the callback {callback!r} has none of {', '.join(MOMENTS)}")
    return checked


class Progress:
    """One line on a terminal that is written over and over; elsewhere, if asked for, a line for each epoch.

    What goes wrong with the stream ends the showing, not the training.

    Args:
        verbose: 0 writes nothing, 1 writes, None writes if stderr is a terminal.
    """

    def __init__(self, verbose: int | None, epochs: int) -> None:
        if verbose is not None:
            verbose = _core.integer("verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0, 1)
        self._stream: Any = sys.stderr
        self._terminal = False
        with suppress(Exception):
            self._terminal = self._stream.isatty()
        self.shown = self._terminal if verbose is None else bool(verbose)
        self._epochs = epochs
        self._written = 0
        self._next = 0.0
        self._due = ""

    def step(self, number: int, done: int, steps: int, loss: float) -> None:
        if self._terminal and done < steps and perf_counter() >= self._next:
            self._write(f"epoch {number}/{self._epochs}  step {done}/{steps}  loss {loss:.4g}")
            self._next = perf_counter() + 0.1

    def epoch(self, number: int, entry: dict[str, float]) -> None:
        if not self.shown:
            return
        values = "  ".join(f"{key} {value:.4g}" for key, value in entry.items())
        self._due = f"epoch {number}/{self._epochs}  {values}"
        if not self._terminal or perf_counter() >= self._next:
            self._write(self._due)
            self._next = perf_counter() + 0.1

    def _write(self, line: str) -> None:
        if self._terminal:
            line = line[: _columns(self._stream) - 1]
            self._put("\r" + line.ljust(self._written))
            self._written = len(line)
        else:
            self._put(line + "\n")
        self._due = ""

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except Exception:
            self.shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._due:
            self._write(self._due)
        if self._written:
            self._put("\n")


def _columns(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80
