"""How a net learns: steps, epochs, history, callbacks, progress."""

from __future__ import annotations

import math
import numbers
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from . import _calls, _gate, _structs, losses
from ._memory import Floats, Order, Rates, Scratch, empty, order_pointer, pointer, rates_pointer, vector
from ._store import Store
from ._structs import Executor, Mask, Plan
from .errors import DivergedError, PynnTypeError, PynnValueError
from .losses import Loss, Targets
from .optimizers import Optimizer, chosen

Data = tuple[Floats, Targets]

SLICE_SECONDS = 0.05  # one call into C; between two calls Ctrl-C is heard and progress shown


class Training:
    """What the training of a net keeps from call to call: the moments, and memory.

    Attributes:
        moments: those of the kind of optimizer `moments_of`, one array after the other.
        epochs_done: of all fits.
    """

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan = plan
        self.store = store
        self.scratch = Scratch()
        self.epochs_done = 0
        self._bound: tuple[Optimizer | str, float | None, Optimizer, _structs.Optimizer] | None = None
        self._saved: tuple[Floats, int] | None = None
        self._last_step: tuple[int, str, _structs.Optimizer, _calls.TrainStep] | None = None
        self.set_moments(empty(0), ("", 0))

    def set_moments(self, moments: Floats, kind: tuple[str, int]) -> None:
        self.moments_of = ("", 0)  # an interrupt must not leave a kind with the moments of another
        self.moments = moments
        self.moments_c = pointer(moments)
        self.moments_of = kind

    def prepare(
        self, optimizer: Optimizer | str, clip_norm: float | None
    ) -> tuple[Optimizer, _structs.Optimizer]:
        """The recipe and what the C library makes of it, with moments of 0 for another kind than before."""
        bound = self._bound
        if bound is None or bound[0] is not optimizer or bound[1] is not clip_norm:
            recipe = chosen(optimizer)
            clip = 0.0 if clip_norm is None else _gate.real("clip_norm", clip_norm, 0, above=True)
            self._bound = bound = optimizer, clip_norm, recipe, recipe._bind(clip)
        kind = bound[3].kind, bound[3].moments
        if kind != self.moments_of:
            moments = vector(bound[3].moments * self.plan.net.param_count)
            moments[:] = 0
            self.store.trainer.restart()
            self.set_moments(moments, kind)
        return bound[2], bound[3]

    def reset(self) -> None:
        """Forgets moments and counts."""
        self.set_moments(empty(0), ("", 0))
        self.store.trainer.set(0)
        self.epochs_done = 0

    def save(self) -> None:
        """Where `undo` goes back to."""
        if self._saved is None:
            self._saved = empty(self.plan.net.param_count), 0
        saved = self._saved[0]
        np.copyto(saved, self.store.params)
        self._saved = saved, self.store.trainer.steps

    def undo(self) -> None:
        """After a divergence: the parameters and the count of steps as saved, and the moments afresh."""
        assert self._saved is not None
        self.store.params[:] = self._saved[0]
        self.store.trainer.set(self._saved[1])
        self.moments[:] = 0

    def mask(self, training: bool) -> Mask | None:
        """Of the next optimizer step."""
        return (self.store.seed, self.store.trainer.steps, 0) if training else None

    def gradient(self, x: Floats, targets: Targets, loss: Loss, training: bool) -> float:
        """The loss of a batch; the gradient goes to the store."""
        store, mask = self.store, self.mask(training)
        if not callable(loss):
            value = _calls.loss_and_grad(store.grads, self.plan, x, targets.c, mask, loss, self.scratch)
            self._refuse_infinite("loss", math.isfinite(value))
            return value
        scores, tape = _calls.forward(self.plan, x, mask, "scores")
        value, dscores = losses.called(loss, scores, targets)
        self._refuse_infinite("loss", math.isfinite(value))
        self._refuse_infinite("gradient", bool(np.isfinite(dscores).all()))
        _calls.backward(store.grads, None, dscores, tape)
        return value

    def _refuse_infinite(self, quantity: str, finite: bool) -> None:
        if not finite:
            raise DivergedError(self.store.trainer.steps, None, quantity)

    def update(self, optimizer: _structs.Optimizer, learning_rate: float) -> None:
        """A step with the gradients of the store."""
        self.ready(optimizer, None, None)
        self.save()
        try:
            _calls.update(self.store.trainer, self.plan, self.store.grads, learning_rate)
        except DivergedError:
            self.undo()
            raise

    def step(
        self, x: Floats, targets: Targets, loss: Loss, optimizer: _structs.Optimizer, learning_rate: float
    ) -> float:
        """One step on all rows; their loss before it."""
        trainer = self.store.trainer
        self.ready(optimizer, loss, None)
        trainer.clear()
        self.save()
        try:
            if callable(loss):
                self.own_step(x, targets, loss, learning_rate)
            else:
                self._bound_step(len(x), loss, optimizer).run(x, targets.c, learning_rate)
        except DivergedError:
            self.undo()
            raise
        return trainer.mean_loss

    def ready(self, optimizer: _structs.Optimizer, loss: Loss | None, executor: Executor | None) -> None:
        """Prepares the trainer of the store; with a loss of the user's own, for updates alone."""
        store, name = self.store, None if callable(loss) else loss
        store.trainer.prepare(store.params_c, self.moments_c, optimizer, name, store.seed, executor)

    def own_step(self, x: Floats, targets: Targets, loss: Loss, learning_rate: float) -> None:
        """A step with a loss of the user's own."""
        trainer, weight = self.store.trainer, targets.weight()
        if weight > 0:
            value = self.gradient(x, targets, loss, training=True)
            trainer.add(weight * value, weight)
            _calls.update(trainer, self.plan, self.store.grads, learning_rate)

    def _bound_step(self, rows: int, loss: str, optimizer: _structs.Optimizer) -> _calls.TrainStep:
        """That of the last time, if it fits."""
        last = self._last_step
        if last is None or last[0] != rows or last[1] != loss or last[2] is not optimizer:
            bound = _calls.TrainStep(self.store.trainer, self.plan, rows, self.scratch)
            self._last_step = last = rows, loss, optimizer, bound
        return last[3]


class Steps:
    """Steps on rows of data, with all that does not change from step to step."""

    __slots__ = ("_batch", "_bound", "_data", "_loss", "_training")

    def __init__(
        self,
        training: Training,
        data: Data,
        loss: Loss,
        optimizer: _structs.Optimizer,
        batch: int,
        executor: Executor | None,
    ) -> None:
        self._training, self._data, self._loss, self._batch = training, data, loss, batch
        self._bound: _calls.TrainSteps | None = None
        training.ready(optimizer, loss, executor)
        if not callable(loss):
            trainer, (x, targets) = training.store.trainer, data
            self._bound = _calls.TrainSteps(trainer, training.plan, x, targets.c, batch, training.scratch)

    def run(self, order: Order, order_c: Any, rates: Rates, rates_c: Any, first: int, end: int) -> None:
        """The steps `first` to `end` - 1 of an epoch, in one call into C unless the loss is a function of
        Python: step k takes rates[k] and the rows from order[k batch] on. Pointers to both come with them.
        """
        if self._bound is not None:
            self._bound.run(order_c, rates_c, first, end)
            return
        batch, (x, targets) = self._batch, self._data
        for k in range(first, end):
            rows = order[k * batch : min((k + 1) * batch, len(x))]
            self._training.own_step(x[rows], targets.take(rows), self._loss, float(rates[k]))


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


class Course(Protocol):
    """What a fit needs of its `Run`, which knows the net too."""

    history: History
    learning_rate: float | Sequence[float]
    stop_reason: str | None


@dataclass
class Fit:
    """A fit whose arguments are checked. `run` does all epochs.

    Attributes:
        course: the run that callbacks see.
        measured: what is known of the net at the end of an epoch, by keys of the history; None: no more than
            the loss.
    """

    training: Training
    course: Course
    data: Data
    loss: Loss
    optimizer: _structs.Optimizer
    epochs: int
    batch: int
    seed: int
    shuffle: bool
    callbacks: Sequence[object]
    progress: Progress
    measured: Callable[[Executor | None], dict[str, float]] | None

    def run(self, executor: Executor | None) -> History:
        course, history, trainer = self.course, self.course.history, self.training.store.trainer
        rows = len(self.data[0])
        steps = Steps(self.training, self.data, self.loss, self.optimizer, self.batch, executor)
        order, rates = np.arange(rows, dtype=np.uint32), np.empty(-(-rows // self.batch))
        memory = order, order_pointer(order), rates, rates_pointer(rates)
        slice_ = 1
        with self.progress:
            self._tell("on_fit_begin")
            for number in range(1, self.epochs + 1):
                if course.stop_reason is not None:
                    break
                if self.shuffle:
                    _calls.permute(order, self.seed, self.training.epochs_done)
                _fill(rates, course.learning_rate)
                slice_ = self._epoch(steps, memory, number, slice_)
                entry = {"loss": trainer.mean_loss}
                if self.measured is not None:
                    entry.update(self.measured(executor))
                for key, value in entry.items():
                    history[key].append(value)
                self.progress.epoch(number, entry)
                self._tell("on_epoch_end")
            if len(history["loss"]) < self.epochs:
                history.stop_reason = course.stop_reason
            self._tell("on_fit_end")
        return history

    def _epoch(self, steps: Steps, memory: tuple[Order, Any, Rates, Any], number: int, slice_: int) -> int:
        """One epoch, in slices of about SLICE_SECONDS; the steps of the next slice."""
        training, trainer, progress = self.training, self.training.store.trainer, self.progress
        count, done = len(memory[2]), 0
        trainer.clear()
        training.save()
        try:
            while done < count:
                until = min(done + slice_, count)
                started = perf_counter()
                steps.run(*memory, done, until)
                seconds = max(perf_counter() - started, 1e-9)
                slice_ = max(1, min(2 * slice_, int(SLICE_SECONDS * (until - done) / seconds)))
                done = until
                if progress.shown:
                    progress.step(number, done, count, trainer.mean_loss)
        except DivergedError:
            training.undo()
            raise
        training.epochs_done += 1
        return slice_

    def _tell(self, moment: str) -> None:
        course = self.course
        for callback in self.callbacks:
            method = getattr(callback, moment, None)
            if method is None:
                continue
            answer = method(course)
            if moment == "on_fit_end" or answer is None:
                continue
            if not isinstance(answer, (bool, np.bool_)):
                raise PynnTypeError(
                    f"{moment} of {type(callback).__name__} must return True, False or None, not {answer!r}"
                )
            if answer and course.stop_reason is None:
                course.stop_reason = f"{type(callback).__name__} stopped"


def _fill(rates: Rates, learning_rate: object) -> None:
    """The learning rate of each step of an epoch."""
    if isinstance(learning_rate, numbers.Real):
        rates[:] = _gate.real("learning_rate", learning_rate, 0)
        return
    given = _gate.array("learning_rate", learning_rate)
    if given.shape != rates.shape:
        raise PynnValueError(
            f"learning_rate must be one number or {len(rates)}, not of the shape {given.shape}"
        )
    rates[:] = given
    _gate.refuse(
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
            verbose = _gate.integer("verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0, 1)
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
