"""Memory that C works in, and pointers to arrays of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import normal

import pynn
from pynn import _memory
from pynn._library import ffi


def address(pointer):
    """Of what a pointer points to."""
    return int(ffi.cast("uintptr_t", pointer))


def test_outputs_must_be_writable():
    """What C writes to is never read-only memory."""
    a = normal(3)
    a.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match=r"read-only|readonly|writable"):
        _memory.pointer(a)
    assert address(_memory.in_pointer(a)) == a.ctypes.data


def test_memory_is_aligned():
    """C gets 64-byte aligned memory of any size; vectors of floats start on a cache line too."""
    for size in (0, 1, 63, 64, 1000):
        memory, vector = _memory.Memory(size), _memory.vector(size)
        assert address(memory.c.start) % 64 == 0
        assert memory.c.bytes == memory.bytes == size
        assert vector.shape == (size,)
        assert size == 0 or vector.ctypes.data % 64 == 0


def test_memory_that_does_not_fit():
    """Sizes beyond the machine are a PynnMemoryError."""
    for make in (_memory.Memory, _memory.vector, _memory.empty):
        for size in (2**63, 2**64):
            with pytest.raises(pynn.PynnMemoryError, match="not fit in memory"):
                make(size)


def test_scratch_grows():
    """It is used again while it suffices, and what a call holds of it stays alive."""
    scratch = _memory.Scratch()
    first = scratch.of(100)
    assert scratch.of(64) is first
    second = scratch.of(101)
    assert second is not first
    assert second.bytes == 101
    assert scratch.of(100) is second


def test_rows_that_lie_apart():
    """The pointer is to the first row, and the stride counts floats."""
    a = normal(5, 7)
    for rows in (a, a[::2], a[1:, 2:5], a[:1, :3]):
        pointer, stride = _memory.rows_pointer(rows)
        assert address(pointer) == rows.ctypes.data
        assert len(rows) == 1 or stride * 4 == rows.strides[0]
        np.testing.assert_array_equal([pointer[stride * i] for i in range(len(rows))], rows[:, 0])
