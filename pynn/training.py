"""What `Sequential.fit` does once its arguments are checked: epochs, history, callbacks, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .data import epoch_order
from .errors import PynnTypeError, PynnValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ._core import Floats
    from .losses import Loss, Metrics, Targets
    from .network import Sequential

    Data = tuple[Floats, Targets]

SLICE_SECONDS = 0.05  # one call into C; between two calls Ctrl-C is heard and progress shown


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
        net: Sequential,
        data: Data,
        validation: Data | None,
        loss: Loss,
        metrics: Metrics,
        optimizer: _core.Optimizer,
        learning_rate: float,
        epochs: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.net = net
        self.epochs = epochs
        self.learning_rate: float | Sequence[float] = learning_rate
        self.stop_reason: str | None = None
        keys = ["loss", *metrics]
        self.history = History(keys if validation is None else keys + [f"val_{key}" for key in keys])
        self._x, self._targets = data
        self._validation = validation
        self._loss = loss
        self._metrics = metrics
        self._optimizer = optimizer
        self._batch = min(batch_size, len(self._x))
        self._seed = seed
        self._shuffle = shuffle
        self._slice = 1
        self.steps_per_epoch = -(-len(self._x) // self._batch)

    @property
    def epoch(self) -> int:
        return self.net.epochs_done

    def train(self, callbacks: Sequence[object], progress: Progress) -> History:
        """All epochs."""
        with progress:
            self._tell(callbacks, "on_fit_begin")
            for number in range(1, self.epochs + 1):
                if self.stop_reason is not None:
                    break
                entry = {"loss": self._epoch(number, progress), **self._measured()}
                for key, value in entry.items():
                    self.history[key].append(value)
                progress.epoch(number, entry)
                self._tell(callbacks, "on_epoch_end")
            self._tell(callbacks, "on_fit_end")
        self.history.stop_reason = self.stop_reason
        return self.history

    def _epoch(self, number: int, progress: Progress) -> float:
        """One epoch, in slices of about SLICE_SECONDS; its mean loss."""
        order = epoch_order(len(self._x), self._seed, self.epoch, self._shuffle)
        rates = self._rates()
        totals = _core.Totals()
        batch, done = self._batch, 0
        with self.net._undone_if_diverged():
            while done < len(rates):
                until = min(done + self._slice, len(rates))
                started = perf_counter()
                self.net._steps(
                    self._x,
                    self._targets,
                    order[done * batch : until * batch],
                    batch,
                    rates[done:until],
                    self._loss,
                    self._optimizer,
                    totals,
                )
                seconds = perf_counter() - started
                self._slice = max(1, min(2 * self._slice, int(SLICE_SECONDS * (until - done) / seconds)))
                done = until
                progress.step(number, done, len(rates), totals.mean)
            self.net._epochs_done += 1
        return totals.mean

    def _rates(self) -> _core.Rates:
        """The learning rate of each step of the epoch."""
        rates: _core.Rates = np.empty(self.steps_per_epoch)
        try:
            rates[:] = self.learning_rate
        except (TypeError, ValueError) as error:
            raise PynnValueError(
                f"learning_rate must be one number or {self.steps_per_epoch}, not {self.learning_rate!r}"
            ) from error
        _core.refuse("learning_rate", rates, ~(np.isfinite(rates) & (rates >= 0)), "finite and at least 0")
        return rates

    def _measured(self) -> dict[str, float]:
        """The metrics, and all that is known of the validation data."""
        found: dict[str, float] = {}
        if self._metrics:
            y = self.net._infer(self._x, "outputs")
            found.update(
                (name, float(metric(self._targets.values, y))) for name, metric in self._metrics.items()
            )
        if self._validation is not None:
            values = self.net._measure(*self._validation, self._loss, self._metrics)
            found.update((f"val_{key}", value) for key, value in values.items())
        return found

    def _tell(self, callbacks: Sequence[object], moment: str) -> None:
        for callback in callbacks:
            method = getattr(callback, moment, None)
            if method is not None and method(self) and self.stop_reason is None:
                self.stop_reason = f"{type(callback).__name__} stopped"


def checked_callbacks(callbacks: Iterable[object]) -> list[object]:
    """Callbacks, of which each has something to call."""
    checked = list(callbacks)
    moments = ("on_fit_begin", "on_epoch_end", "on_fit_end")
    for callback in checked:
        if isinstance(callback, type):
            raise PynnTypeError(f"a callback must be made first: {callback.__name__}(...)")
        if not any(hasattr(callback, moment) for moment in moments):
            raise PynnTypeError(f"the callback {callback!r} has none of {', '.join(moments)}")
    return checked


class Progress:
    """One line on a terminal that is written over and over; elsewhere, if asked for, a line for each epoch.

    Args:
        verbose: 0 writes nothing, 1 writes, None writes if stderr is a terminal.
    """

    def __init__(self, verbose: int | None, epochs: int) -> None:
        self._stream: Any = sys.stderr
        self._terminal = self._stream is not None and self._stream.isatty()
        self._active = self._stream is not None and (self._terminal if verbose is None else bool(verbose))
        self._epochs = epochs
        self._written = 0
        self._next = 0.0
        self._due = ""

    def step(self, number: int, done: int, steps: int, loss: float) -> None:
        if self._active and self._terminal and done < steps and perf_counter() >= self._next:
            self._write(f"epoch {number}/{self._epochs}  step {done}/{steps}  loss {loss:.4g}")
            self._next = perf_counter() + 0.1

    def epoch(self, number: int, entry: dict[str, float]) -> None:
        if not self._active:
            return
        values = "  ".join(f"{key} {value:.4g}" for key, value in entry.items())
        self._due = f"epoch {number}/{self._epochs}  {values}"
        if not self._terminal or perf_counter() >= self._next:
            self._write(self._due)
            self._next = perf_counter() + 0.1

    def _write(self, line: str) -> None:
        if self._terminal:
            line = line[: _columns(self._stream) - 1]
            self._stream.write("\r" + line.ljust(self._written))
            self._written = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._due = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._due:
            self._write(self._due)
        if self._written:
            self._stream.write("\n")
            self._stream.flush()


def _columns(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
