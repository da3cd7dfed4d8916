"""The gate: checks of single values and arrays, one of which everything passes that crosses to C.

It is strict because cffi is not: `from_buffer` takes an array of any dtype for floats, and gives a pointer
that writes. Of the C part it uses only a fast way to see whether floats are finite.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._library import lib
from ._memory import FLOAT32, INT32, Floats, Labels, in_pointer
from .errors import PynnTypeError, PynnValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Shape = tuple[int | None, ...]


# ---- single values ----------------------------------------------------------------------------------------


def integer(name: str, value: object, least: int, most: int = 2**31 - 1) -> int:
    """`value` as an int of the range."""
    if isinstance(value, (bool, np.bool_, np.ndarray)) or not hasattr(value, "__index__"):
        raise PynnTypeError(f"{name} must be an integer, not {value!r}")
    number = operator.index(value)
    if not least <= number <= most:
        raise PynnValueError(f"{name} must be from {least} to {most}, not {number}")
    return number


def seed(value: object) -> int:
    """`value` as a seed."""
    return integer("seed", value, 0, 2**64 - 1)


BEYOND_FLOAT = math.nextafter(float(np.finfo(np.float32).max), math.inf)


def real(
    name: str, value: object, least: float, below: float = BEYOND_FLOAT, *, above: bool = False
) -> float:
    """`value` as a float, least <= value < below, and so finite; `above`: least < value."""
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, numbers.Real):
        raise PynnTypeError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number < below or (above and number == least):
        lower = f"{'above' if above else 'at least'} {least:g}"
        upper = "finite" if below == BEYOND_FLOAT else f"less than {below:g}"
        raise PynnValueError(f"{name} must be {lower} and {upper}, not {number}")
    return number


def boolean(name: str, value: object) -> bool:
    """`value`, which must be True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise PynnTypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def known(what: str, name: object, names: Iterable[str]) -> str:
    """`name`, which must be one of the names."""
    if not isinstance(name, str):
        raise PynnTypeError(f"{what} must be a name, not {name!r}")
    choices = sorted(names)
    if name not in choices:
        raise PynnValueError(f"unknown {what} {name!r}; known are {', '.join(choices)}")
    return name


# ---- arrays -----------------------------------------------------------------------------------------------

_ndarray = np.ndarray


def unmasked(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of anything, in which nothing is masked."""
    if isinstance(value, (list, tuple)) and any(isinstance(row, np.ma.MaskedArray) for row in value):
        value = np.ma.array(value)
    if isinstance(value, np.ma.MaskedArray):
        if value.dtype.names is None and np.ma.is_masked(value):
            where = _place(np.ma.getmaskarray(value), "row")
            raise PynnValueError(f"{name} is masked at {where}; fill or drop masked entries first")
        value = value.data
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:
        raise PynnValueError(f"{name} is not an array of numbers: {error}") from error


def array(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of real numbers that is not empty; the values are not yet checked.

    It has a header of its own: nobody can change its dtype or shape later, as he can with his own array.
    """
    found = value[...] if type(value) is np.ndarray else unmasked(name, value)[...]
    if found.dtype.kind not in "biuf":
        raise PynnTypeError(f"{name} must hold real numbers; its dtype is {found.dtype}")
    if found.size == 0:
        raise PynnValueError(f"{name} is empty; its shape is {found.shape}")
    return found


def _is_finite(a: Floats) -> bool:
    """Whether all of an array is finite; its rows may lie apart."""
    if a.flags.carray:
        return bool(lib.all_finite(in_pointer(a), a.size))
    return bool(np.isfinite(a).all())


def rows(name: str, value: object, width: int) -> Floats:
    """`value` as finite float32 (n, width) with dense rows; fast where it needs no conversion."""
    if type(value) is _ndarray:
        a = value[...]
        if (
            a.dtype is FLOAT32
            and a.ndim == 2
            and a.shape[1] == width
            and a.flags.carray
            and a.size
            and lib.all_finite(in_pointer(a), a.size)
        ):
            return a
    return floats(name, value, (None, width), strided=True)


def floats(
    name: str, value: object, shape: Shape | None = None, *, strided: bool = False, axis: str = "index"
) -> Floats:
    """`value` as finite float32 that C can read; used in place where it is, else converted once.

    Args:
        shape: what it must be, None for any length; None: any shape of one dimension or more.
        strided: rows may lie apart, if each is dense.
        axis: what an error calls the axis of an array that has but one.
    """
    given = array(name, value)
    if shape is None:
        if given.ndim == 0:
            raise PynnValueError(f"{name} must have one dimension or more, not be a single number")
    elif given.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, given.shape, strict=True)):
        needed = ", ".join(
            axis if n is None else str(n) for axis, n in zip(("rows", "width"), shape, strict=False)
        )
        raise PynnValueError(
            f"{name} must have the shape ({needed}{',' * (len(shape) == 1)}), not {given.shape}"
        )
    if (
        given.dtype == FLOAT32
        and given.flags.aligned
        and (given.flags.c_contiguous or (strided and _has_rows(given)))
    ):
        a = given
    else:
        with np.errstate(all="ignore"):
            a = np.array(given, dtype=FLOAT32, order="C", copy=True)
    if a.dtype is not FLOAT32:  # equal to it, as after unpickling
        a = a.view(FLOAT32)
    if not _is_finite(a):
        fine = np.isfinite(a)
        found = given[np.unravel_index(np.argmin(fine), a.shape)]
        reason = "is beyond float32" if np.isfinite(found) else "is not finite"
        raise PynnValueError(f"{name} holds {found} at {_place(~fine, axis)}, which {reason}")
    return a


def _has_rows(a: NDArray[Any]) -> bool:
    """Whether a matrix has dense rows, a whole number of floats apart, that do not overlap."""
    between, within = a.strides
    return (within == 4 or a.shape[1] == 1) and between % 4 == 0 and between >= 4 * a.shape[1]


def _place(bad: NDArray[np.bool_], axis: str) -> str:
    """Where the first True is, in words."""
    index = [int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]
    if len(index) == 2:
        return f"row {index[0]}, column {index[1]}"
    return f"{axis} {index[0]}" if len(index) == 1 else f"index {tuple(index)}"


def refuse(name: str, values: NDArray[Any], bad: NDArray[np.bool_], must: str, axis: str = "row") -> None:
    """Raises for the first entry that is bad."""
    if bad.any():
        found = values[np.unravel_index(np.argmax(bad), bad.shape)]
        raise PynnValueError(f"{name} must be {must}; it holds {found} at {_place(bad, axis)}")


def labels(name: str, value: object, rows: int, classes: int) -> Labels:
    """Class labels 0 to classes - 1, shape (rows,), from integers, booleans or whole-number floats.

    A copy that nobody can write to: C uses labels as indices while others run.
    """
    given = array(name, value).copy()
    if given.shape != (rows,):
        raise PynnValueError(f"{name} must have the shape ({rows},), not {given.shape}")
    if given.dtype.kind == "f":
        refuse(name, given, ~np.isfinite(given), "finite")
        refuse(name, given, given != np.floor(given), "whole numbers, as labels of classes")
    if given.min() < 0 or given.max() >= classes:
        refuse(name, given, (given < 0) | (given >= classes), f"labels from 0 to {classes - 1}")
    return np.frombuffer(given.astype(INT32).tobytes(), INT32)


def weights(name: str, value: object, rows: int) -> Floats:
    """Sample weights: (rows,), finite, not negative, not all zero."""
    checked = floats(name, value, (rows,), axis="row")
    refuse(name, checked, checked < 0, "at least 0")
    if not checked.any():
        raise PynnValueError(f"{name} is zero in every row")
    return checked
