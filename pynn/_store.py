"""What a net shares with its layers: the numbers, where training stands, and who may use them now."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import _core
from .errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Guard:
    """Lets one thread change a net, or many read it; refuses others instead of letting them wait.

    The thread that changes a net may use it meanwhile, so that callbacks can predict.
    """

    __slots__ = ("_lock", "_readers", "_writer")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._writer = 0

    def check(self) -> None:
        """Raises if another thread is changing the net."""
        if self._writer not in (0, threading.get_ident()):
            raise BusyError("another thread is training this net; a predictor() made before serves meanwhile")

    @contextmanager
    def reading(self) -> Iterator[None]:
        entered = False
        try:
            with self._lock:
                self.check()
                self._readers += 1
                entered = True
            yield
        finally:
            if entered:
                with self._lock:
                    self._readers -= 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        me = threading.get_ident()
        nested = self._writer == me
        try:
            with self._lock:
                self.check()
                if self._readers:
                    raise BusyError("another thread is using this net; train it when that is done")
                self._writer = me
            yield
        finally:
            if not nested and self._writer == me:
                self._writer = 0


class Store:
    """The flat parameters and gradients of a net, or of a Dense alone."""

    __slots__ = ("_grads", "guard", "params", "seed", "state")

    def __init__(self, count: int, seed: int) -> None:
        self.params = _core.empty(count)
        self._grads: _core.Floats | None = None
        self.seed = seed
        self.state = _core.State()
        self.guard = Guard()

    @property
    def grads(self) -> _core.Floats:
        if self._grads is None:
            self._grads = _core.empty(len(self.params))
            self._grads[:] = 0
        return self._grads
