"""Memory: arrays of numpy, pointers to them, and what the C library works in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._library import ffi, lib
from .errors import PynnMemoryError

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]
Order = NDArray[np.uint32]
Rates = NDArray[np.float64]

FLOAT32 = np.dtype(np.float32)
INT32 = np.dtype(np.int32)

_FLOATS = ffi.typeof("float[]")
_LABELS = ffi.typeof("int32_t[]")
_ORDER = ffi.typeof("uint32_t[]")
_RATES = ffi.typeof("double[]")
_BYTES = ffi.typeof("char[]")
_ADDRESS = ffi.typeof("uintptr_t")
_MEMORY = ffi.typeof("pynn_memory *")
_ALIGNMENT: int = lib.PYNN_MEMORY_ALIGNMENT
_LINE = _ALIGNMENT // FLOAT32.itemsize


# ---- arrays -----------------------------------------------------------------------------------------------


def empty(*shape: int) -> Floats:
    """Memory for floats."""
    try:
        return np.empty(shape, FLOAT32)
    except (MemoryError, ValueError) as error:
        raise PynnMemoryError(f"{' x '.join(map(str, shape))} floats do not fit in memory") from error


def vector(count: int) -> Floats:
    """Memory for floats that starts on a cache line, so that few vectors of it lie on two."""
    try:
        memory = np.empty(count + _LINE, FLOAT32)
    except (MemoryError, ValueError) as error:
        raise PynnMemoryError(f"{count} floats do not fit in memory") from error
    first = -(memory.ctypes.data // 4) % _LINE
    return memory[first : first + count]


# ---- pointers: each keeps the array that it points into ---------------------------------------------------

_from_buffer = ffi.from_buffer


def pointer(a: Floats) -> Any:
    """To memory that C writes to; a keyword for that would cost as much as the call."""
    return _from_buffer(_FLOATS, a, True)


def in_pointer(a: Floats) -> Any:
    """To memory that C reads; it may be read-only."""
    return _from_buffer(_FLOATS, a)


def rows_pointer(a: Floats) -> tuple[Any, int]:
    """To the rows of a matrix that C reads, and how many floats apart they are."""
    if a.flags.c_contiguous:
        return _from_buffer(_FLOATS, a), a.shape[1]
    stride = a.strides[0] // 4
    span = np.lib.stride_tricks.as_strided(a, ((len(a) - 1) * stride + a.shape[1],), (4,), writeable=False)
    return _from_buffer(_FLOATS, span), stride


def labels_pointer(a: Labels) -> Any:
    return _from_buffer(_LABELS, a)


def order_pointer(a: Order) -> Any:
    return _from_buffer(_ORDER, a)


def rates_pointer(a: Rates) -> Any:
    return _from_buffer(_RATES, a)


# ---- what the C library works in --------------------------------------------------------------------------


class Memory:
    """A pynn_memory `c` of so many bytes, aligned as the C library wants it."""

    __slots__ = ("_alive", "bytes", "c")

    def __init__(self, size: int) -> None:
        try:
            self._alive = _from_buffer(_BYTES, np.empty(size + _ALIGNMENT, np.uint8), True)
        except (MemoryError, ValueError) as error:
            raise PynnMemoryError(f"a workspace of {size} bytes does not fit in memory") from error
        first = -int(ffi.cast(_ADDRESS, self._alive)) % _ALIGNMENT
        self.c = ffi.new(_MEMORY, (self._alive + first, size))[0]
        self.bytes = size


class Scratch:
    """Memory for one call after another, as long as the longest needs it."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory: Memory | None = None

    def of(self, size: int) -> Memory:
        """At least so many bytes, in which the last call may have left anything."""
        if self._memory is None or self._memory.bytes < size:
            self._memory = Memory(size)
        return self._memory
