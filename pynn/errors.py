"""Every error that pynn raises: a `PynnError`, and the builtin exception that fits."""

from __future__ import annotations


class PynnError(Exception):
    """Base of all errors of pynn.

    Attributes:
        code: that of the status of the C library, or None where Python refused before calling it.
    """

    def __init__(self, *args: object, code: int | None = None) -> None:
        super().__init__(*args)
        self.code = code


class PynnValueError(PynnError, ValueError):
    """A value, a shape or a name that cannot be used."""


class PynnTypeError(PynnError, TypeError):
    """An argument of a kind that cannot be used."""


class PynnRuntimeError(PynnError, RuntimeError):
    """A call at the wrong moment, such as `backward` before `forward`."""


class PynnMemoryError(PynnError, MemoryError):
    """A size that does not fit in memory."""


class PynnImportError(PynnError, ImportError):
    """The extension module `_pynn` is missing or belongs to another version."""


class BusyError(PynnRuntimeError):
    """A net is in use by another thread, or is trained from within its own training."""


class DivergedError(PynnError, ArithmeticError):
    """Numbers grew beyond float32.

    Attributes:
        step: optimizer steps that the net had done before the one that failed.
        layer: number of the first layer whose parameters the step made NaN or infinite; None for "loss".
        quantity: "loss" or "gradient".
    """

    def __init__(self, step: int, layer: int | None, quantity: str, code: int | None = None) -> None:
        super().__init__(step, layer, quantity, code=code)
        self.step = step
        self.layer = layer
        self.quantity = quantity

    def __str__(self) -> str:
        where = "" if self.layer is None else f" of layer {self.layer}"
        return (
            f"training diverged in step {self.step}: the {self.quantity}{where} is NaN or infinite. "
            "Try a smaller learning rate, clip_norm=1, or inputs scaled to about 1; "
            "net.trace(x, t) shows where numbers grow"
        )
