"""Callbacks: what acts on a `fit` from outside, at the ends of epochs.

A callback is any object with some of the methods `on_fit_begin(run)`, `on_epoch_end(run)` and
`on_fit_end(run)`; True from one of the first two stops, and any answer but
True, False and None is a TypeError. `run` is a `pynn.Run`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import _gate
from .errors import PynnTypeError, PynnValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._memory import Floats
    from .network import Run


class EarlyStopping:
    """Stops when a quantity of the history no longer gets better.

    Args:
        patience: epochs without a better value before it stops, at least 1.
        monitor: key of the history.
        min_delta: how much better counts, at least 0.
        restore_best: gives the net the parameters of its best epoch when the fit ends, stopped early or not,
            but not after an exception such as Ctrl-C. Moments and counts stay those of the last epoch.
        mode: whether better is "min", less, or "max", more; "auto" is "min" for names that end in "loss" or
            "error", "max" for those that end in "accuracy", and refuses others. NaN is never better.

    Attributes:
        best: the best value; best_epoch: its epoch, counted over all fits of the net from 1.

    Raises:
        ValueError: when fit begins, a monitor that the history will not have, and the error lists its keys;
            or whose mode does not follow from its name.
    """

    def __init__(
        self,
        patience: int,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str = "auto",
    ) -> None:
        self.patience = _gate.integer("patience", patience, 1)
        self.monitor = monitor
        self.min_delta = _gate.real("min_delta", min_delta, 0)
        self.restore_best = _gate.boolean("restore_best", restore_best)
        self.mode = _gate.known("mode", mode, ("auto", "min", "max"))
        self.best = math.nan
        self.best_epoch = 0
        self._rises = False
        self._params: Floats | None = None

    def on_fit_begin(self, run: Run) -> None:
        if self.monitor not in run.history:
            raise PynnValueError(
                f"the history has no {self.monitor!r} to monitor; it has {', '.join(run.history)}"
            )
        rises = self.monitor.endswith("accuracy")
        if self.mode == "auto" and not rises and not self.monitor.endswith(("loss", "error")):
            raise PynnValueError(f'mode must be "min" or "max" to monitor {self.monitor!r}')
        self._rises = rises if self.mode == "auto" else self.mode == "max"
        self.best, self.best_epoch, self._params = math.nan, run.epoch, None

    def on_epoch_end(self, run: Run) -> bool:
        value = run.history[self.monitor][-1]
        gain = value - self.best if self._rises else self.best - value
        if gain > self.min_delta or (math.isnan(self.best) and not math.isnan(value)):
            self.best, self.best_epoch = value, run.epoch
            if self.restore_best:
                self._params = run.net.params.copy()
        if run.epoch - self.best_epoch < self.patience:
            return False
        run.stop_reason = f"{self.monitor} has not got better for {self.patience} epochs"
        return True

    def on_fit_end(self, run: Run) -> None:
        if self._params is not None:
            run.net.params = self._params
            self._params = None


class LearningRate:
    """Sets the learning rate by a schedule.

    Args:
        schedule: gets an epoch, or a step, counted over all fits of the net from 0, and returns its learning
            rate, finite and at least 0.
        per: "epoch" or "step".
    """

    def __init__(self, schedule: Callable[[int], float], per: str = "epoch") -> None:
        if not callable(schedule):
            raise PynnTypeError(f"schedule must be callable, not {schedule!r}")
        self.schedule = schedule
        self.per = _gate.known("per", per, ("epoch", "step"))

    def on_fit_begin(self, run: Run) -> None:
        self._set(run)

    def on_epoch_end(self, run: Run) -> None:
        if len(run.history["loss"]) < run.epochs:  # a schedule may be a table that ends with the last epoch
            self._set(run)

    def _set(self, run: Run) -> None:
        if self.per == "epoch":
            run.learning_rate = self.schedule(run.epoch)
        else:
            first = run.net.steps_done
            run.learning_rate = [self.schedule(first + k) for k in range(run.steps_per_epoch)]
