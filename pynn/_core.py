"""The boundary between Python and C: the only module that touches the extension `_pynn`.

Three parts, top to bottom: what the C library is (version, kinds, status to exception); the gate, which
checks every number and array before it crosses; and one function per C function, numpy arrays in and out. The
gate is strict because cffi is not: `from_buffer` takes an array of any dtype for floats, and gives a pointer
that writes.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

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

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Labels = NDArray[np.int32]
    Order = NDArray[np.uint32]
    Rates = NDArray[np.float64]
    Shape = tuple[int | None, ...]

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
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise PynnTypeError(f"{name} must be an integer, not {value!r}")
    number = operator.index(value)
    if not least <= number <= most:
        raise PynnValueError(f"{name} must be from {least} to {most}, not {number}")
    return number


def seed(value: object) -> int:
    """`value` as a seed."""
    return integer("seed", value, 0, 2**64 - 1)


def real(name: str, value: object, least: float, below: float = math.inf) -> float:
    """`value` as a float, least <= value < below, and so finite."""
    if isinstance(value, (str, bytes, bool, np.bool_)) or not hasattr(value, "__float__"):
        raise PynnTypeError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise PynnValueError(f"{name} must be a number, not {value!r}") from error
    if not least <= number < below:
        limit = "finite" if below == math.inf else f"less than {below:g}"
        raise PynnValueError(f"{name} must be at least {least:g} and {limit}, not {number}")
    return number


def known(what: str, name: object, names: Iterable[str]) -> str:
    """`name`, which must be one of the names."""
    if not isinstance(name, str):
        raise PynnTypeError(f"{what} must be a name, not {name!r}")
    choices = sorted(names)
    if name not in choices:
        raise PynnValueError(f"unknown {what} {name!r}; known are {', '.join(choices)}")
    return name


# ---- the gate: arrays -------------------------------------------------------------------------------------

_FLOAT32 = np.dtype(np.float32)
_INT32 = np.dtype(np.int32)


def array(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of real numbers that is not empty; the values are not yet checked."""
    if type(value) is np.ndarray:
        found = value
    elif isinstance(value, np.ma.MaskedArray):
        found = np.asarray(value.data)
        if found.dtype.names is None and np.ma.is_masked(value):
            where = _place(np.ma.getmaskarray(value))
            raise PynnValueError(f"{name} is masked at {where}; fill or drop masked entries first")
    else:
        try:
            found = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise PynnValueError(f"{name} is not an array of numbers: {error}") from error
    if found.dtype.kind not in "biuf":
        raise PynnTypeError(f"{name} must hold real numbers; its dtype is {found.dtype}")
    if found.size == 0:
        raise PynnValueError(f"{name} is empty; its shape is {found.shape}")
    return found


def floats(name: str, value: object, shape: Shape | None = None, *, strided: bool = False) -> Floats:
    """`value` as finite float32 that C can read; used in place where it is, else converted once.

    Args:
        shape: what it must be, None for any length; None: any shape of one dimension or more.
        strided: rows may lie apart, if each is dense.
    """
    return finite(name, *_converted(name, value, shape, strided))


def _converted(name: str, value: object, shape: Shape | None, strided: bool) -> tuple[Floats, NDArray[Any]]:
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
        return given, given
    with np.errstate(all="ignore"):
        return np.array(given, dtype=_FLOAT32, order="C", copy=True), given


def _has_rows(a: NDArray[Any]) -> bool:
    """Whether a matrix has dense rows, a whole number of floats apart, that do not overlap."""
    between, within = a.strides
    return (within == 4 or a.shape[1] == 1) and between % 4 == 0 and between >= 4 * a.shape[1]


def finite(name: str, a: Floats, given: NDArray[Any]) -> Floats:
    """`a`, which must be finite; `given` is what it was converted from."""
    fine = np.isfinite(a)
    if not fine.all():
        found = given[np.unravel_index(np.argmin(fine), a.shape)]
        reason = "is beyond float32" if np.isfinite(found) else "is not finite"
        raise PynnValueError(f"{name} holds {found} at {_place(~fine)}, which {reason}")
    return a


def _place(bad: NDArray[np.bool_]) -> str:
    """Where the first True is, in words."""
    index = [int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]
    if len(index) > 2:
        return f"index {tuple(index)}"
    return ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), index, strict=False))


def refuse(name: str, values: NDArray[Any], bad: NDArray[np.bool_], must: str) -> None:
    """Raises for the first entry that is bad."""
    if bad.any():
        found = values[np.unravel_index(np.argmax(bad), bad.shape)]
        raise PynnValueError(f"{name} must be {must}; it holds {found} at {_place(bad)}")


def labels(name: str, value: object, rows: int, classes: int) -> Labels:
    """Class labels 0 to classes - 1, shape (rows,), from integers, booleans or whole-number floats."""
    given = array(name, value)
    if given.shape != (rows,):
        raise PynnValueError(f"{name} must have the shape ({rows},), not {given.shape}")
    if given.dtype.kind == "f":
        refuse(name, given, ~np.isfinite(given), "finite")
        refuse(name, given, given != np.floor(given), "whole numbers, as labels of classes")
    if given.dtype.kind != "b" and (given.min() < 0 or given.max() >= classes):
        refuse(name, given, (given < 0) | (given >= classes), f"labels from 0 to {classes - 1}")
    if given.dtype == _INT32 and given.flags.c_contiguous and given.flags.aligned:
        return given
    return np.array(given, dtype=_INT32, order="C", copy=True)


def weights(name: str, value: object, rows: int) -> Floats:
    """Sample weights: (rows,), finite, not negative, not all zero."""
    checked = floats(name, value, (rows,))
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


def empty(*shape: int) -> Floats:
    """Memory for floats."""
    try:
        return np.empty(shape, _FLOAT32)
    except (MemoryError, ValueError) as error:
        raise PynnMemoryError(f"{' x '.join(map(str, shape))} floats do not fit in memory") from error


def _in(a: Floats) -> Any:
    return ffi.from_buffer(_FLOATS, a)


def _out(a: Floats) -> Any:
    return ffi.from_buffer(_FLOATS, a, require_writable=True)


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


class Plan:
    """A pynn_net and the layers that it points to. Constant, so that threads may share it."""

    __slots__ = ("_layers", "_spare", "inputs", "net", "outputs", "param_count")

    def __init__(self, layers: Sequence[Mapping[str, float]]) -> None:
        self._layers = ffi.new("pynn_layer[]", list(layers))
        self.net = ffi.new("pynn_net *")
        check(lib.pynn_net_init(self.net, self._layers, len(layers)), "these layers make no net")
        self.inputs: int = self.net.inputs
        self.outputs: int = self.net.outputs
        self.param_count: int = self.net.param_count
        self._spare: list[Workspace] = []

    def _size(self, function: Any, *arguments: Any) -> int:
        size = ffi.new("size_t *")
        check(function(size, self.net, *arguments))
        return int(size[0])

    def offset(self, layer: int) -> int:
        """Where the parameters of a dense layer start."""
        return self._size(lib.pynn_net_offset, layer)

    def predict_bytes(self) -> int:
        return self._size(lib.pynn_predict_bytes, 1)

    def pass_bytes(self, rows: int) -> int:
        return self._size(lib.pynn_pass_bytes, rows)

    def train_bytes(self, optimizer: Optimizer, batch: int) -> int:
        return self._size(lib.pynn_train_bytes, optimizer.c, batch, 1)

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


def permutation(n: int, seed: int, epoch: int) -> Order:
    """The order of n rows in an epoch."""
    order = np.empty(n, np.uint32)
    check(lib.pynn_permutation(ffi.from_buffer(_ORDER, order), n, seed, epoch), f"a permutation of {n} rows")
    return order


def net_draw(params: Floats, plan: Plan, seed: int) -> None:
    check(lib.pynn_net_draw(_out(params), plan.net, seed))


def dense_draw(weight: Floats, bias: Floats, init: str, seed: int) -> None:
    check(lib.pynn_dense_draw(_out(weight), _out(bias), *weight.shape, INITS[init], seed, 0))


# ---- layers, each alone -----------------------------------------------------------------------------------


def dense_forward(x: Floats, weight: Floats, bias: Floats) -> Floats:
    s = empty(len(x), len(bias))
    check(lib.pynn_dense_forward(_out(s), *_rows(x), _in(weight), _in(bias), len(x), *weight.shape))
    return s


def dense_backward(dweight: Floats, dbias: Floats, ds: Floats, x: Floats, weight: Floats) -> Floats:
    size = ffi.new("size_t *")
    check(lib.pynn_dense_backward_bytes(size, *weight.shape))
    workspace = Workspace(size[0])
    dx = empty(*x.shape)
    check(
        lib.pynn_dense_backward(
            _out(dx),
            _out(dweight),
            _out(dbias),
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
    check(lib.pynn_activation_forward(_out(a), _in(s), s.size, LAYERS[kind], value))
    return a


def activation_backward(da: Floats, s: Floats, a: Floats, kind: str, value: float) -> Floats:
    ds = empty(*da.shape)
    check(lib.pynn_activation_backward(_out(ds), _in(da), _in(s), _in(a), da.size, LAYERS[kind], value))
    return ds


def softmax_forward(s: Floats) -> Floats:
    h = empty(*s.shape)
    check(lib.pynn_softmax_forward(_out(h), _in(s), *s.shape))
    return h


def softmax_backward(dh: Floats, h: Floats) -> Floats:
    ds = empty(*h.shape)
    check(lib.pynn_softmax_backward(_out(ds), _in(dh), _in(h), *h.shape))
    return ds


def dropout_forward(x: Floats, mask: Mask, p: float) -> Floats:
    y = empty(*x.shape)
    check(lib.pynn_dropout_forward(_out(y), _in(x), _mask(mask), *x.shape, p))
    return y


def dropout_backward(dy: Floats, mask: Mask, p: float) -> Floats:
    dx = empty(*dy.shape)
    check(lib.pynn_dropout_backward(_out(dx), _in(dy), _mask(mask), *dy.shape, p))
    return dx


# ---- loss -------------------------------------------------------------------------------------------------


def loss(y: Floats, targets: Targets, kind: str, dy: Floats | None = None) -> tuple[float, Floats]:
    """The loss of a batch and that of each row; the gradient goes to dy."""
    total = ffi.new("double *")
    each = empty(len(y))
    gradient = ffi.NULL if dy is None else _out(dy)
    check(lib.pynn_loss(total, _out(each), gradient, _in(y), targets.c, *y.shape, LOSSES[kind]))
    return float(total[0]), each


# ---- pass: a whole net ------------------------------------------------------------------------------------

_MULTIPLICATIONS_PER_CALL = 5e7  # some hundredths of a second on a slow machine, so that Ctrl-C is heard


def predict(y: Floats, plan: Plan, params: Floats, x: Floats, end: str) -> None:
    chunk = 1 + int(_MULTIPLICATIONS_PER_CALL / plan.param_count)
    workspace = plan.borrow()
    try:
        for first in range(0, len(x), chunk):
            some = x[first : first + chunk]
            status = lib.pynn_predict(
                _out(y[first : first + chunk]),
                plan.net,
                _in(params),
                *_rows(some),
                len(some),
                ENDS[end],
                ffi.NULL,
                workspace.start,
                workspace.bytes,
            )
            check(status)
    finally:
        plan.give_back(workspace)


def bound_predict(y: Floats, plan: Plan, params: Floats, x: Floats) -> Callable[[], None]:
    """A function that predicts y from x. All that a call needs is made beforehand, and nothing is checked."""
    function, workspace = lib.pynn_predict, Workspace(plan.predict_bytes())
    arguments = (
        _out(y),
        plan.net,
        _in(params),
        _in(x),
        x.shape[1],
        len(x),
        ENDS["outputs"],
        ffi.NULL,
        workspace.start,
        workspace.bytes,
    )

    def run(_alive: object = (plan, workspace)) -> None:
        status = function(*arguments)
        if status:
            check(status)

    return run


def forward(
    plan: Plan, params: Floats, x: Floats, mask: Mask | None, end: str, workspace: Workspace
) -> Floats:
    y = empty(len(x), plan.outputs)
    check(
        lib.pynn_forward(
            _out(y),
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
            _out(grads),
            ffi.NULL if dx is None else _out(dx),
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
        _out(grads),
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
    params: Floats,
    moments: Floats,
    state: State,
    grads: Floats,
    plan: Plan,
    optimizer: Optimizer,
    learning_rate: float,
) -> None:
    where = ffi.new("size_t *")
    status = lib.pynn_update(
        _out(params),
        _out(moments),
        state.c,
        where,
        _in(grads),
        plan.net,
        optimizer.c,
        learning_rate,
    )
    _check_step(status, state, where[0])


def train_steps(
    params: Floats,
    moments: Floats,
    state: State,
    totals: Totals,
    plan: Plan,
    optimizer: Optimizer,
    x: Floats,
    targets: Targets,
    order: Order,
    batch: int,
    learning_rates: Rates,
    kind: str,
    seed: int,
    workspace: Workspace,
) -> None:
    """One step per learning rate: step k on the rows order[k batch : (k + 1) batch]."""
    where = ffi.new("size_t *")
    status = lib.pynn_train_steps(
        _out(params),
        _out(moments),
        state.c,
        totals.c,
        where,
        plan.net,
        optimizer.c,
        *_rows(x),
        targets.c,
        len(x),
        ffi.from_buffer(_ORDER, order),
        len(order),
        batch,
        ffi.from_buffer(_RATES, learning_rates),
        len(learning_rates),
        LOSSES[kind],
        seed,
        ffi.NULL,
        workspace.start,
        workspace.bytes,
    )
    _check_step(status, state, where[0])


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
