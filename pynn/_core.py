"""The boundary between Python and C: the only module that touches the extension `_pynn`.

Three parts, top to bottom: what the C library is (version, kinds, status to exception); the gate, which
checks every number and array before it crosses; and one function per C function, numpy arrays in and out. The
gate is strict because cffi is not: `from_buffer` takes an array of any dtype for floats, and gives a pointer
that writes.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from .errors import (
    DivergedError,
    PynnError,
    PynnImportError,
    PynnMemoryError,
    PynnRuntimeError,
    PynnTypeError,
    PynnValueError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Array = TypeVar("Array", bound=NDArray[Any])
    Shape = tuple[int | None, ...]

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]
Order = NDArray[np.uint32]
Rates = NDArray[np.float64]

__version__ = "0.1.0"

try:
    import _pynn
except ImportError as error:
    raise PynnImportError(
        f"the C part of pynn cannot be loaded ({error}); "
        "build it with: pip install . (in a clone: pip install -e .)"
    ) from error

ffi: Any = _pynn.ffi
lib: Any = _pynn.lib


def _text(characters: Any) -> str:
    return str(ffi.string(characters).decode())


if _text(lib.pynn_version()) != __version__:
    raise PynnImportError(
        f"pynn {__version__} has loaded the C part of {_text(lib.pynn_version())}, {_pynn.__file__}; "
        "install both again: pip install --force-reinstall . (in a clone: pip install -e .)"
    )


# ---- kinds and status -------------------------------------------------------------------------------------


def _kinds(enum: str, prefix: str) -> dict[str, int]:
    """The constants of a C enum, by the names that Python uses: lower case, without the prefix."""
    members = ffi.typeof(enum).relements
    return {name.removeprefix(prefix).lower(): value for name, value in members.items()}


STATUS = _kinds("pynn_status", "PYNN_")
LAYERS = _kinds("pynn_layer_kind", "PYNN_")
INITS = _kinds("pynn_init_kind", "PYNN_INIT_")
LOSSES = _kinds("pynn_loss_kind", "PYNN_")
OPTIMIZERS = _kinds("pynn_optimizer_kind", "PYNN_")
ENDS = _kinds("pynn_end", "PYNN_")

_EXCEPTIONS: dict[int, type[PynnError]] = {
    STATUS["null_pointer"]: PynnRuntimeError,
    STATUS["too_large"]: PynnMemoryError,
    STATUS["bad_workspace"]: PynnRuntimeError,
    STATUS["bad_arithmetic"]: PynnRuntimeError,
    STATUS["no_isa"]: PynnRuntimeError,
    STATUS["no_threads"]: PynnRuntimeError,
}


def check(status: int, what: str = "the C library refused") -> None:
    """Raises what a status other than success means."""
    if status:
        text = _text(lib.pynn_status_text(status))
        raise _EXCEPTIONS.get(status, PynnValueError)(f"{what}: {text}", code=status)


def _check_step(status: int, state: State, layer: int | None = None) -> None:
    """The same for a call that computes a loss or an update."""
    if status == STATUS["loss_not_finite"]:
        raise DivergedError(state.steps, None, "loss", code=status)
    if status == STATUS["parameter_not_finite"]:  # the step that failed has been counted
        raise DivergedError(state.steps - 1, layer, "gradient", code=status)
    check(status)


# ---- the gate: single values ------------------------------------------------------------------------------


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


# ---- the gate: arrays -------------------------------------------------------------------------------------

_ndarray = np.ndarray
_FLOAT32 = np.dtype(np.float32)
_INT32 = np.dtype(np.int32)


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
        return bool(lib.all_finite(_in(a), a.size))
    return bool(np.isfinite(a).all())


def rows(name: str, value: object, width: int) -> Floats:
    """`value` as finite float32 (n, width) with dense rows; fast where it needs no conversion."""
    if type(value) is _ndarray:
        a = value[...]
        if (
            a.dtype is _FLOAT32
            and a.ndim == 2
            and a.shape[1] == width
            and a.flags.carray
            and a.size
            and lib.all_finite(_in(a), a.size)
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
        given.dtype == _FLOAT32
        and given.flags.aligned
        and (given.flags.c_contiguous or (strided and _has_rows(given)))
    ):
        a = given
    else:
        with np.errstate(all="ignore"):
            a = np.array(given, dtype=_FLOAT32, order="C", copy=True)
    if a.dtype is not _FLOAT32:  # equal to it, as after unpickling
        a = a.view(_FLOAT32)
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
    return np.frombuffer(given.astype(_INT32).tobytes(), _INT32)


def weights(name: str, value: object, rows: int) -> Floats:
    """Sample weights: (rows,), finite, not negative, not all zero."""
    checked = floats(name, value, (rows,), axis="row")
    refuse(name, checked, checked < 0, "at least 0")
    if not checked.any():
        raise PynnValueError(f"{name} is zero in every row")
    return checked


# ---- memory -----------------------------------------------------------------------------------------------

_CHARS = ffi.typeof("char[]")
_FLOATS = ffi.typeof("float[]")
_LABELS = ffi.typeof("int32_t[]")
_ORDER = ffi.typeof("uint32_t[]")
_RATES = ffi.typeof("double[]")
_LINE = lib.PYNN_WORKSPACE_ALIGNMENT // 4


def empty(*shape: int) -> Floats:
    """Memory for floats."""
    try:
        return np.empty(shape, _FLOAT32)
    except (MemoryError, ValueError) as error:
        raise PynnMemoryError(f"{' x '.join(map(str, shape))} floats do not fit in memory") from error


def vector(count: int) -> Floats:
    """Memory for floats that starts on a cache line, so that few vectors of it lie on two."""
    try:
        memory = np.empty(count + _LINE, _FLOAT32)
    except (MemoryError, ValueError) as error:
        raise PynnMemoryError(f"{count} floats do not fit in memory") from error
    first = -(memory.ctypes.data // 4) % _LINE
    return memory[first : first + count]


_from_buffer = ffi.from_buffer


def _in(a: Floats) -> Any:
    return _from_buffer(_FLOATS, a)


def pointer(a: Floats) -> Any:
    """To memory that C writes to; a keyword for that would cost as much as the call."""
    return _from_buffer(_FLOATS, a, True)


def order_pointer(a: Order) -> Any:
    return _from_buffer(_ORDER, a)


def rates_pointer(a: Rates) -> Any:
    return _from_buffer(_RATES, a)


def _rows(a: Floats) -> tuple[Any, int]:
    """A pointer to the rows of a matrix, and how many floats apart they are."""
    if a.flags.c_contiguous:
        return _in(a), a.shape[1]
    stride = a.strides[0] // 4
    span = np.lib.stride_tricks.as_strided(a, ((len(a) - 1) * stride + a.shape[1],), (4,), writeable=False)
    return _in(span), stride


class Workspace:
    """Memory for the C library, aligned as it wants it."""

    __slots__ = ("_memory", "bytes", "start")

    def __init__(self, size: int) -> None:
        alignment = lib.PYNN_WORKSPACE_ALIGNMENT
        try:
            self._memory = ffi.from_buffer(
                _CHARS, np.empty(size + alignment, np.uint8), require_writable=True
            )
        except (MemoryError, ValueError) as error:
            raise PynnMemoryError(f"a workspace of {size} bytes does not fit in memory") from error
        self.start = self._memory + -int(ffi.cast("uintptr_t", self._memory)) % alignment
        self.bytes = size


# ---- what C wants to know: net, state, optimizer, targets, mask -------------------------------------------


class Executor:
    """A pynn_executor: threads that share the work of calls. Starts with none; `stop` in a `finally`.

    In the child of a fork, which has no such threads, it leaves all work to the calling thread.
    """

    __slots__ = ("__weakref__", "_memory", "c", "stop")

    def __init__(self) -> None:
        self.c = ffi.new("pynn_executor *")
        self.stop = partial(lib.pynn_threads_stop, self.c)  # in C: no interrupt can come before it

    def start(self, workers: int) -> None:
        size = ffi.new("size_t *")
        check(lib.pynn_threads_bytes(size, workers), f"{workers} threads")
        self._memory = Workspace(size[0])
        _EXECUTORS.add(self)
        check(
            lib.pynn_threads_start(self.c, self._memory.start, self._memory.bytes, workers),
            f"{workers} threads",
        )


_EXECUTORS: WeakSet[Executor] = WeakSet()


def _forget_threads() -> None:
    for executor in _EXECUTORS:
        executor.c.context = ffi.NULL
        executor.c.workers = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


_FEW, _FEW_MULTIPLICATIONS = 4096, 10**7  # of rows that are predicted the short way


class Plan:
    """A pynn_net and the layers that it points to. Constant, so that threads may share it."""

    __slots__ = ("_layers", "_spare", "few", "inputs", "net", "outputs", "param_count", "specs")

    def __init__(self, specs: Sequence[Mapping[str, float]]) -> None:
        self.specs = list(specs)
        self._layers = ffi.new("pynn_layer[]", self.specs)
        self.net = ffi.new("pynn_net *")
        check(lib.pynn_net_init(self.net, self._layers, len(self.specs)), "these layers make no net")
        self.inputs: int = self.net.inputs
        self.outputs: int = self.net.outputs
        self.param_count: int = self.net.param_count
        self.few = min(_FEW // max(self.inputs, self.outputs), _FEW_MULTIPLICATIONS // self.param_count)
        self._spare: list[Workspace] = []

    def _size(self, function: Any, *arguments: Any) -> int:
        size = ffi.new("size_t *")
        check(function(size, self.net, *arguments))
        return int(size[0])

    def offset(self, layer: int) -> int:
        """Where the parameters of a dense layer start."""
        return self._size(lib.pynn_net_offset, layer)

    def predict_bytes(self, workers: int = 1) -> int:
        return self._size(lib.pynn_predict_bytes, workers)

    def pass_bytes(self, rows: int) -> int:
        return self._size(lib.pynn_pass_bytes, rows)

    def train_bytes(self, optimizer: Optimizer, batch: int, workers: int) -> int:
        return self._size(lib.pynn_train_bytes, optimizer.c, batch, workers)

    def advise(self, batch: int, available: int) -> int:
        """Workers that are worth their while for steps on so many rows."""
        return self._size(lib.pynn_threads_advise, batch, available)

    def borrow(self) -> Workspace:
        """A workspace of `predict` that no other thread has; `give_back` it."""
        try:
            return self._spare.pop()
        except IndexError:
            return Workspace(self.predict_bytes())

    def give_back(self, workspace: Workspace) -> None:
        self._spare.append(workspace)


class State:
    """A pynn_state: where training stands. C changes it in place: it is right after an interrupt too."""

    __slots__ = ("c",)

    def __init__(self, steps: int = 0, beta1_power: float = 1.0, beta2_power: float = 1.0) -> None:
        self.c = ffi.new("pynn_state *", (steps, beta1_power, beta2_power))

    @property
    def steps(self) -> int:
        """Optimizer steps done."""
        return int(self.c.steps)

    def set(self, steps: int, beta1_power: float, beta2_power: float) -> None:
        self.c[0] = (steps, beta1_power, beta2_power)

    def get(self) -> tuple[int, float, float]:
        return self.steps, self.c.beta1_power, self.c.beta2_power


class Totals:
    """A pynn_totals: sums over the rows of an epoch."""

    __slots__ = ("c",)

    def __init__(self) -> None:
        self.c = ffi.new("pynn_totals *")

    def clear(self) -> None:
        self.c.loss = self.c.weight = 0.0

    def add(self, loss: float, weight: float) -> None:
        """Adds a batch: the sum of w_r loss_r, and that of w_r."""
        self.c.loss += loss
        self.c.weight += weight

    @property
    def mean(self) -> float:
        """The weighted mean loss of the rows so far, NaN before the first."""
        return self.c.loss / self.c.weight if self.c.weight > 0 else math.nan


class Optimizer:
    """A pynn_optimizer."""

    __slots__ = ("c", "kind", "moments")

    def __init__(self, kind: str, **values: float) -> None:
        self.c = ffi.new("pynn_optimizer *", {"kind": OPTIMIZERS[kind], **values})
        self.kind = kind
        count = ffi.new("size_t *")
        check(lib.pynn_optimizer_moments(count, self.c), f"{kind} with {values}")
        self.moments: int = count[0]


class Targets:
    """A pynn_targets, made of arrays that have passed the gate, and these arrays."""

    __slots__ = ("_pointers", "c")

    def __init__(self, values: NDArray[Any], sample_weight: Floats | None) -> None:
        self.c = ffi.new("pynn_targets *")
        if values.dtype == _INT32:
            self.c.labels = pointer = ffi.from_buffer(_LABELS, values)
        else:
            pointer, stride = _rows(values)
            self.c.rows, self.c.stride = pointer, stride
        weight = ffi.NULL if sample_weight is None else _in(sample_weight)
        self.c.weights = weight
        self._pointers = (pointer, weight)


Mask = tuple[int, int, int]  # seed, step, layer: the fields of a pynn_mask


def _mask(mask: Mask | None) -> Any:
    return ffi.NULL if mask is None else ffi.new("pynn_mask *", (mask[0], mask[1] & 0xFFFFFFFF, mask[2]))


# ---- random -----------------------------------------------------------------------------------------------


def permute(order: Order, seed: int, epoch: int) -> None:
    """Overwrites an array with the order of its rows in an epoch."""
    n = len(order)
    check(lib.pynn_permutation(order_pointer(order), n, seed, epoch), f"a permutation of {n} rows")


def net_draw(params: Floats, plan: Plan, seed: int) -> None:
    check(lib.pynn_net_draw(pointer(params), plan.net, seed))


def dense_draw(weight: Floats, bias: Floats, init: str, seed: int) -> None:
    check(lib.pynn_dense_draw(pointer(weight), pointer(bias), *weight.shape, INITS[init], seed, 0))


# ---- layers, each alone -----------------------------------------------------------------------------------


def dense_forward(x: Floats, weight: Floats, bias: Floats) -> Floats:
    s = empty(len(x), len(bias))
    check(lib.pynn_dense_forward(pointer(s), *_rows(x), _in(weight), _in(bias), len(x), *weight.shape))
    return s


def dense_backward(dweight: Floats, dbias: Floats, ds: Floats, x: Floats, weight: Floats) -> Floats:
    size = ffi.new("size_t *")
    check(lib.pynn_dense_backward_bytes(size, *weight.shape))
    workspace = Workspace(size[0])
    dx = empty(*x.shape)
    check(
        lib.pynn_dense_backward(
            pointer(dx),
            pointer(dweight),
            pointer(dbias),
            _in(ds),
            *_rows(x),
            _in(weight),
            len(x),
            *weight.shape,
            workspace.start,
            workspace.bytes,
        )
    )
    return dx


def activation_forward(s: Floats, kind: str, value: float) -> Floats:
    a = empty(*s.shape)
    check(lib.pynn_activation_forward(pointer(a), _in(s), s.size, LAYERS[kind], value))
    return a


def activation_backward(da: Floats, s: Floats, a: Floats, kind: str, value: float) -> Floats:
    ds = empty(*da.shape)
    check(lib.pynn_activation_backward(pointer(ds), _in(da), _in(s), _in(a), da.size, LAYERS[kind], value))
    return ds


def softmax_forward(s: Floats) -> Floats:
    h = empty(*s.shape)
    check(lib.pynn_softmax_forward(pointer(h), _in(s), *s.shape))
    return h


def softmax_backward(dh: Floats, h: Floats) -> Floats:
    ds = empty(*h.shape)
    check(lib.pynn_softmax_backward(pointer(ds), _in(dh), _in(h), *h.shape))
    return ds


def dropout_forward(x: Floats, mask: Mask, p: float) -> Floats:
    y = empty(*x.shape)
    check(lib.pynn_dropout_forward(pointer(y), _in(x), _mask(mask), *x.shape, p))
    return y


def dropout_backward(dy: Floats, mask: Mask, p: float) -> Floats:
    dx = empty(*dy.shape)
    check(lib.pynn_dropout_backward(pointer(dx), _in(dy), _mask(mask), *dy.shape, p))
    return dx


# ---- loss -------------------------------------------------------------------------------------------------


def loss(y: Floats, targets: Targets, kind: str, dy: Floats | None = None) -> tuple[float, Floats]:
    """The loss of a batch and that of each row; the gradient goes to dy."""
    total = ffi.new("double *")
    each = empty(len(y))
    gradient = ffi.NULL if dy is None else pointer(dy)
    check(lib.pynn_loss(total, pointer(each), gradient, _in(y), targets.c, *y.shape, LOSSES[kind]))
    return float(total[0]), each


# ---- pass: a whole net ------------------------------------------------------------------------------------

# Of a call: Ctrl-C is heard between calls, but fewer rows would read the weights too often.
_ROWS_AT_LEAST, _SECONDS = 192, 0.02
OUTPUTS, SCORES = ENDS["outputs"], ENDS["scores"]


def predict(
    y: Floats, plan: Plan, params: Any, x: Floats, end: int, executor: Executor | None = None
) -> None:
    """y from x, which are rows of the widths of the plan; `params` points to them."""
    if executor is None:
        workspace, threads, chunk = plan.borrow(), ffi.NULL, _ROWS_AT_LEAST
    else:
        threads, workers = executor.c, executor.c.workers
        workspace, chunk = Workspace(plan.predict_bytes(workers)), workers * _ROWS_AT_LEAST
    n, (start, stride), out, first = len(x), _rows(x), pointer(y), 0
    while first < n:
        started, count = perf_counter(), min(chunk, n - first)
        status = lib.pynn_predict(
            out + first * plan.outputs,
            plan.net,
            params,
            start + first * stride,
            stride,
            count,
            end,
            threads,
            workspace.start,
            workspace.bytes,
        )
        if status:
            check(status)
        first += count
        if perf_counter() - started < _SECONDS:
            chunk *= 2
    if executor is None:
        plan.give_back(workspace)


class Bound:
    """A pynn_predict of the outputs for up to `rows` rows on memory of its own, with as little around the
    call as Python allows. For one thread at a time.
    """

    __slots__ = ("_alive", "_c", "_row", "_views", "x", "y")

    def __init__(self, plan: Plan, params: Any, rows: int, *, row: bool = False) -> None:
        """`row`: `answer` takes a single row (I,) too."""
        self._row = row
        self.x, self.y = empty(rows, plan.inputs), empty(rows, plan.outputs)
        self.x[:] = 0
        self.y[:] = 0
        x, y, workspace = pointer(self.x), pointer(self.y), Workspace(plan.predict_bytes())
        self._c = ffi.new("bound *", (y, plan.net, params, x, workspace.start, workspace.bytes))
        self._alive = plan, params, x, y, workspace
        self._views: dict[tuple[int, ...], tuple[Floats, Floats, Callable[[], int]]] = {}

    def run(self) -> Callable[[], int]:
        """A function that computes `y` from `x` and gives a status; nothing is checked."""
        return partial(lib.bound_predict, self._c, len(self.x))

    def answer(self, x: object) -> Floats | None:
        """A new array for an x that is quickly seen to be finite float32 of the right shape, else None."""
        if type(x) is not _ndarray or x.dtype is not _FLOAT32:
            return None
        views = self._views.get(x.shape) or self._view(x.shape)
        if views is None:
            return None
        rows, y, run = views
        rows[...] = x
        status = run()
        if status:
            check(max(status, 0))  # -1 is not finite
            return None
        answer: Floats = y.copy()
        return answer

    def _view(self, shape: tuple[int, ...]) -> tuple[Floats, Floats, Callable[[], int]] | None:
        """The first rows of x and y for an argument of that shape, and what computes one from the other."""
        most, width = self.x.shape
        alone = self._row and shape == (width,)
        if not alone and (len(shape) != 2 or shape[1] != width or not 0 < shape[0] <= most):
            return None
        n = 1 if alone else shape[0]
        run = partial(lib.bound_predict_finite, self._c, n)
        views = (self.x[0], self.y[0], run) if alone else (self.x[:n], self.y[:n], run)
        self._views[shape] = views
        return views


def forward(
    plan: Plan, params: Floats, x: Floats, mask: Mask | None, end: str, workspace: Workspace
) -> Floats:
    y = empty(len(x), plan.outputs)
    check(
        lib.pynn_forward(
            pointer(y),
            plan.net,
            _in(params),
            *_rows(x),
            _mask(mask),
            len(x),
            ENDS[end],
            workspace.start,
            workspace.bytes,
        )
    )
    return y


def backward(
    grads: Floats,
    dx: Floats | None,
    dy: Floats,
    plan: Plan,
    params: Floats,
    x: Floats,
    mask: Mask | None,
    end: str,
    workspace: Workspace,
) -> None:
    check(
        lib.pynn_backward(
            pointer(grads),
            ffi.NULL if dx is None else pointer(dx),
            _in(dy),
            plan.net,
            _in(params),
            *_rows(x),
            _mask(mask),
            len(x),
            ENDS[end],
            workspace.start,
            workspace.bytes,
        )
    )


def loss_and_grad(
    grads: Floats,
    plan: Plan,
    params: Floats,
    x: Floats,
    targets: Targets,
    mask: Mask | None,
    kind: str,
    state: State,
    workspace: Workspace,
) -> float:
    total = ffi.new("double *")
    status = lib.pynn_loss_and_grad(
        total,
        pointer(grads),
        plan.net,
        _in(params),
        *_rows(x),
        targets.c,
        _mask(mask),
        len(x),
        LOSSES[kind],
        workspace.start,
        workspace.bytes,
    )
    check(status)
    if not math.isfinite(total[0]):
        raise DivergedError(state.steps, None, "loss")
    return float(total[0])


# ---- optimizer and training -------------------------------------------------------------------------------


def update(
    params: Any,
    moments: Any,
    state: State,
    grads: Floats,
    plan: Plan,
    optimizer: Optimizer,
    learning_rate: float,
) -> None:
    """A step with given gradients; `params` and `moments` point to what changes."""
    where = ffi.new("size_t *")
    status = lib.pynn_update(
        params, moments, state.c, where, _in(grads), plan.net, optimizer.c, learning_rate
    )
    _check_step(status, state, where[0])


class Steps:
    """A pynn_train_steps on constant data: all that does not change from call to call is bound once."""

    __slots__ = ("_after", "_alive", "_batch", "_before", "_count", "_state", "_where", "totals")

    def __init__(
        self,
        params: Any,
        moments: Any,
        state: State,
        totals: Totals,
        plan: Plan,
        optimizer: Optimizer,
        x: Floats,
        targets: Targets,
        batch: int,
        kind: str,
        seed: int,
        executor: Executor | None,
        workspace: Workspace,
    ) -> None:
        self._state, self._batch, self._count = state, batch, len(x)
        self.totals = totals
        self._where = ffi.new("size_t *")
        start, stride = _rows(x)
        self._before = (
            params,
            moments,
            state.c,
            totals.c,
            self._where,
            plan.net,
            optimizer.c,
            start,
            stride,
            targets.c,
            len(x),
        )
        threads = ffi.NULL if executor is None else executor.c
        self._after = LOSSES[kind], seed, threads, workspace.start, workspace.bytes
        self._alive = plan, optimizer, targets, executor, workspace

    def run(self, order: Any, rates: Any, first: int, end: int) -> None:
        """The steps `first` to `end` - 1 of an epoch: step k takes rates[k] and the rows from
        order[k batch] on; both are pointers.
        """
        begin = first * self._batch
        status = lib.pynn_train_steps(
            *self._before,
            order + begin,
            min(end * self._batch, self._count) - begin,
            self._batch,
            rates + first,
            end - first,
            *self._after,
        )
        if status:
            _check_step(status, self._state, self._where[0])


# ---- dispatch ---------------------------------------------------------------------------------------------

ISAS = _kinds("pynn_isa", "PYNN_ISA_")


def instruction_set(name: str | None = None) -> str:
    """The instruction set that computes: "scalar", "avx2", ...; a name chooses it first.

    Results do not depend on it, only their speed. The environment variable PYNN_ISA chooses it too. Raises a
    RuntimeError for one that this build or machine lacks. Not while another thread computes.
    """
    if name is not None:
        check(lib.pynn_isa_set(ISAS[known("instruction set", name, ISAS)]), f"instruction set {name!r}")
    isa = ffi.new("int32_t *")
    check(lib.pynn_isa_get(isa))
    return _text(lib.pynn_isa_name(isa[0]))


# ---- self-test --------------------------------------------------------------------------------------------


def broken_rule() -> str | None:
    """How this build and machine break the arithmetic contract, or None."""
    rule = lib.pynn_broken_rule()
    return _text(rule) if rule else None


def selftest(threads: int) -> Iterable[tuple[str, str, bool]]:
    """Does the runs of the self-test, and gives the name of each, its digest, and whether it is right."""
    size = ffi.new("size_t *")
    check(lib.pynn_selftest_bytes(size, threads))
    workspace, digest = Workspace(size[0]), ffi.new("char[]", lib.PYNN_DIGEST)
    executor = Executor()
    try:
        if threads > 1:
            executor.start(threads)
        run = 0
        while name := lib.pynn_selftest_name(run):
            workers = executor.c if threads > 1 else ffi.NULL
            status = lib.pynn_selftest(digest, run, workers, workspace.start, workspace.bytes)
            if status != STATUS["bad_arithmetic"]:
                check(status, _text(name))
            yield _text(name), _text(digest), status == STATUS["ok"]
            run += 1
    finally:
        executor.stop()
