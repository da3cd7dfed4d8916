"""Optimizers: immutable recipes. The moments and the count of steps belong to the net that they train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from . import _gate, _structs
from .errors import PynnTypeError, PynnValueError


class Optimizer:
    """Base of all optimizers; g is the gradient of a parameter w, lr the learning rate.

    Attributes:
        kind: the name of the C library for it, and the string that stands for its defaults.
    """

    kind: ClassVar[str]
    learning_rate: float
    weight_decay: float

    def __post_init__(self) -> None:
        self._check("learning_rate")
        self._check("weight_decay")

    def _check(self, name: str, least: float = 0.0, below: float = _gate.BEYOND_FLOAT) -> None:
        # The dataclass is frozen, and the number may have come as an int or of a type of numpy.
        object.__setattr__(self, name, _gate.real(name, getattr(self, name), least, below))

    def _bind(self, clip_norm: float) -> _structs.Optimizer:
        """What the C library takes: all fields but the learning rate, which may change with every step."""
        fields = {name: value for name, value in vars(self).items() if name != "learning_rate"}
        return _structs.Optimizer(self.kind, clip_norm=clip_norm, **fields)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: w -= lr g; with momentum v = momentum v + g, w -= lr v.

    Args:
        learning_rate: finite, at least 0.
        momentum: 0 <= momentum < 1.
        nesterov: w -= lr (momentum v + g) instead; needs momentum > 0.
        weight_decay: adds weight_decay w to g, at least 0; biases do not decay.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    kind = "sgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("momentum", 0, 1)
        object.__setattr__(self, "nesterov", _gate.boolean("nesterov", self.nesterov))
        if self.nesterov and self.momentum == 0:
            raise PynnValueError("nesterov=True needs momentum > 0, not 0")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma and Ba 2015: m = β1 m + (1 - β1) g, v = β2 v + (1 - β2) g², both divided by 1 - β^steps;
    w -= lr m / (√v + epsilon).

    Args:
        learning_rate: finite, at least 0.
        beta1, beta2: 0 <= β < 1.
        epsilon: at least 1e-12.
        weight_decay: adds weight_decay w to g, at least 0; biases do not decay.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    kind = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("beta1", 0, 1)
        self._check("beta2", 0, 1)
        self._check("epsilon", 1e-12)


@dataclass(frozen=True)
class AdamW(Adam):
    """Loshchilov and Hutter 2019: Adam, and w shrinks by lr weight_decay w apart from the gradient.

    Args: those of Adam, with a weight_decay of 0.01.
    """

    weight_decay: float = 0.01

    kind = "adamw"


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.kind: kind for kind in (SGD, Adam, AdamW)}


def chosen(optimizer: Optimizer | str) -> Optimizer:
    """An optimizer, or the one of that name with its defaults."""
    if isinstance(optimizer, (SGD, Adam)):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        raise PynnTypeError(f"optimizer must be made first: {optimizer.__name__}()")
    return OPTIMIZERS[_gate.known("optimizer", optimizer, OPTIMIZERS)]()
