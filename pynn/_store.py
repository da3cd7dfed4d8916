"""What a net shares with its layers: the numbers, where training stands, and who may use them now."""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._memory import Floats, pointer, vector
from ._structs import Trainer
from .errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = TypeVar("Array", bound=NDArray[Any])
    Method = TypeVar("Method", bound=Callable[..., Any])

READING, WRITING, TRAINING = range(3)

Claim = tuple[int, int]  # a thread, and which of the three it does


class Guard(list[Claim]):
    """The claims of threads on a net, oldest first: one thread changes it, or many read it; others are
    refused instead of waiting.

    A claim is appended, then checked, and removed in a `finally`: each is one call of C, so that neither an
    interrupt nor a fork leaves a lock behind. Within its own claims a thread may do all but begin to train.
    """

    __slots__ = ()

    def check(self, claim: Claim) -> None:
        """Raises if an older claim forbids this one."""
        me, kind = claim
        for other in self[:]:
            if other is claim:
                break
            thread, what = other
            if thread == me:
                if kind == TRAINING and what != READING:
                    raise BusyError(
                        "this net is being trained; its callbacks and losses may use it but not train it"
                    )
            elif kind == what == READING:
                continue
            elif thread not in sys._current_frames():  # it ended in the middle, or stayed in the parent
                with suppress(ValueError):
                    self.remove(other)
            elif what == READING:
                raise BusyError("another thread is using this net; train it when that is done")
            else:
                raise BusyError(
                    "another thread is training this net; a predictor() made before serves meanwhile"
                )

    def look(self) -> None:
        """Raises if another thread is changing the net."""
        if self:
            self.check((get_ident(), READING))


def claiming(kind: int) -> Callable[[Method], Method]:
    """For methods of what has a `_guard`: the call claims it."""

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def claimed(self: Any, *arguments: Any, **named: Any) -> Any:
            guard: Guard = self._guard
            claim = get_ident(), kind
            try:
                guard.append(claim)
                guard.check(claim)
                return method(self, *arguments, **named)
            finally:
                guard.remove(claim)

        return claimed  # type: ignore[return-value]

    return decorate


class Store:
    """The flat parameters and gradients of a net, or of a Dense alone, and where their training stands.

    Attributes:
        params_c: points to the parameters.
    """

    __slots__ = ("_grads", "guard", "params", "params_c", "seed", "trainer")

    def __init__(self, count: int, seed: int) -> None:
        self.params = vector(count)
        self.params_c = pointer(self.params)
        self._grads: Floats | None = None
        self.seed = seed
        self.trainer = Trainer()
        self.guard = Guard()

    @property
    def grads(self) -> Floats:
        if self._grads is None:
            grads = vector(len(self.params))
            grads[:] = 0
            self._grads = grads
        return self._grads

    def apart(self, a: Array) -> Array:
        """`a`, or a copy of it where C would write to the memory it lies in."""
        shared = np.may_share_memory
        if shared(a, self.params) or (self._grads is not None and shared(a, self._grads)):
            return np.copy(a)  # type: ignore[return-value]
        return a
