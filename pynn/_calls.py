"""The calls: a function for each of the C library, or an object that binds one to its arguments.

Arrays of numpy go in and come out. Those that go in have passed the gate; shapes are the caller's to match.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ._gate import known
from ._library import CODES, ENDS, ISAS, LOSSES, check, code_of, ffi, lib, text
from ._memory import (
    FLOAT32,
    Floats,
    Memory,
    Order,
    Scratch,
    empty,
    in_pointer,
    order_pointer,
    pointer,
)
from ._structs import (
    Dense,
    Executor,
    Mask,
    Net,
    Plan,
    Tape,
    Targets,
    Trainer,
    bind_plans,
    new_data,
    new_mask,
    new_options,
    size_of,
)
from .errors import DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DOUBLE = ffi.typeof("double *")
_BOUND = ffi.typeof("bound *")
_BATCHES = ffi.typeof("pynn_batches *")


def _check_step(status: int, trainer: Trainer) -> None:
    """Raises what the status of a call means that computes a loss or an update."""
    code = code_of(status)
    if code == CODES["loss_not_finite"]:
        raise DivergedError(trainer.steps, None, "loss", code=code)
    if code == CODES["parameter_not_finite"]:  # the step that failed has been counted
        raise DivergedError(trainer.steps - 1, trainer.failed_layer, "gradient", code=code)
    check(status)


# ---- random -----------------------------------------------------------------------------------------------


def permute(order: Order, seed: int, epoch: int) -> None:
    """Overwrites an array with the order of its rows in an epoch."""
    n = len(order)
    check(lib.pynn_permutation(order_pointer(order), n, seed, epoch), f"a permutation of {n} rows")


def params_init(params: Floats, net: Net, seed: int) -> None:
    check(lib.pynn_params_init(pointer(params), net.c, seed))


def dense_init(weight: Floats, bias: Floats, layer: Any, seed: int) -> None:
    """The initial values of a dense layer alone; `layer` is its pynn_layer."""
    check(lib.pynn_dense_init(pointer(weight), pointer(bias), layer, seed, 0))


# ---- layers, each alone; `layer` is the pynn_layer --------------------------------------------------------


def dense_forward(x: Floats, dense: Dense) -> Floats:
    s = empty(len(x), dense.c.outputs)
    check(lib.pynn_dense_forward(pointer(s), dense.c, new_data(x)))
    return s


def dense_backward(dweight: Floats, dbias: Floats, ds: Floats, x: Floats, dense: Dense) -> Floats:
    dx = empty(*x.shape)
    memory = Memory(size_of(lib.pynn_dense_backward_bytes, dense.c))
    check(
        lib.pynn_dense_backward(
            pointer(dx),
            pointer(dweight),
            pointer(dbias),
            in_pointer(ds),
            dense.c,
            new_data(x),
            memory.c,
        )
    )
    return dx


def activation_forward(s: Floats, layer: Any) -> Floats:
    a = empty(*s.shape)
    check(lib.pynn_activation_forward(pointer(a), in_pointer(s), s.size, layer))
    return a


def activation_backward(da: Floats, s: Floats, a: Floats, layer: Any) -> Floats:
    ds = empty(*da.shape)
    check(
        lib.pynn_activation_backward(
            pointer(ds), in_pointer(da), in_pointer(s), in_pointer(a), da.size, layer
        )
    )
    return ds


def softmax_forward(s: Floats) -> Floats:
    h = empty(*s.shape)
    check(lib.pynn_softmax_forward(pointer(h), in_pointer(s), *s.shape))
    return h


def softmax_backward(dh: Floats, h: Floats) -> Floats:
    ds = empty(*h.shape)
    check(lib.pynn_softmax_backward(pointer(ds), in_pointer(dh), in_pointer(h), *h.shape))
    return ds


def dropout_forward(x: Floats, mask: Mask, p: float) -> Floats:
    y = empty(*x.shape)
    check(lib.pynn_dropout_forward(pointer(y), in_pointer(x), new_mask(mask), *x.shape, p))
    return y


def dropout_backward(dy: Floats, mask: Mask, p: float) -> Floats:
    dx = empty(*dy.shape)
    check(lib.pynn_dropout_backward(pointer(dx), in_pointer(dy), new_mask(mask), *dy.shape, p))
    return dx


# ---- loss -------------------------------------------------------------------------------------------------


def loss(y: Floats, targets: Targets, kind: str, dy: Floats | None = None) -> tuple[float, Floats]:
    """The loss of a batch and that of each row; the gradient goes to dy."""
    total, each = ffi.new(_DOUBLE), empty(len(y))
    gradient = ffi.NULL if dy is None else pointer(dy)
    check(lib.pynn_loss(total, pointer(each), gradient, in_pointer(y), targets.c, y.shape[1], LOSSES[kind]))
    return float(total[0]), each


# ---- predict ----------------------------------------------------------------------------------------------

# Of a call: Ctrl-C is heard between calls, but fewer rows would read the weights too often.
_ROWS_AT_LEAST, _SECONDS = 192, 0.02
_ANY_NUMBER = 2**20  # of rows: more need no more memory
_OPTIONS_TO = {end: new_options(end=number) for end, number in ENDS.items()}  # on the calling thread


def predict(y: Floats, plan: Plan, x: Floats, end: str, executor: Executor | None = None) -> None:
    """y from x, which are rows of the widths of the plan."""
    n, out, data, options, chunk = len(x), pointer(y), new_data(x), _OPTIONS_TO[end], _ROWS_AT_LEAST
    if executor is None:
        try:
            memory = plan.spare.pop()
        except IndexError:
            memory = Memory(size_of(lib.pynn_predict_bytes, plan.c, _ANY_NUMBER, options))
    else:
        options, chunk = new_options(end=ENDS[end], executor=executor), chunk * executor.workers
        memory = Memory(size_of(lib.pynn_predict_bytes, plan.c, n, options))
    if n <= chunk:
        check(lib.pynn_predict(out, plan.c, data, options, memory.c))
    else:
        start, stride, width, first = data.x, data.stride, plan.net.outputs, 0
        while first < n:
            started, count = perf_counter(), min(chunk, n - first)
            data.x, data.rows = start + first * stride, count
            check(lib.pynn_predict(out + first * width, plan.c, data, options, memory.c))
            first += count
            if perf_counter() - started < _SECONDS:
                chunk *= 2
    if executor is None:
        plan.spare.append(memory)


class Bound:
    """A pynn_predict of the outputs for up to `rows` rows on memory of its own, with as little around the
    call as Python allows. For one thread at a time.
    """

    __slots__ = ("_alive", "_c", "_row", "_views", "memory", "x", "y")

    def __init__(self, plan: Plan, rows: int, memory: Memory | None = None, *, row: bool = False) -> None:
        """
        Args:
            memory: of another for as many rows, if they do not run at once.
            row: `answer` takes a single row (I,) too.
        """
        inputs, outputs = plan.net.inputs, plan.net.outputs
        self._row = row
        self.x, self.y = empty(rows, inputs), empty(rows, outputs)
        self.x[:] = 0
        self.y[:] = 0
        x, y = pointer(self.x), pointer(self.y)
        self.memory = memory or Memory(size_of(lib.pynn_predict_bytes, plan.c, rows, ffi.NULL))
        self._c = ffi.new(_BOUND, (y, plan.c, inputs, (x,), self.memory.c))
        self._alive = plan, x, y
        self._views: dict[tuple[int, ...], tuple[Floats, Floats, Callable[[], int]]] = {}

    def run(self) -> Callable[[], int]:
        """A function that computes `y` from `x` and gives a status; nothing is checked."""
        return partial(lib.bound_predict, self._c, len(self.x))

    def answer(self, x: object) -> Floats | None:
        """A new array for an x that is quickly seen to be finite float32 of the right shape, else None."""
        if type(x) is not _ndarray or x.dtype is not FLOAT32:
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


_ndarray = np.ndarray


# ---- gradients --------------------------------------------------------------------------------------------

_OPTIONS_OF = {loss: new_options(loss=number) for loss, number in LOSSES.items()}  # without dropout


def forward(plan: Plan, x: Floats, mask: Mask | None, end: str) -> tuple[Floats, Tape]:
    """The outputs or scores, and what `backward` needs."""
    dropout, n = new_mask(mask), len(x)
    options = _OPTIONS_TO[end] if mask is None else new_options(end=ENDS[end], mask=dropout)
    memory = Memory(size_of(lib.pynn_forward_bytes, plan.c, n, options))
    y, tape = empty(n, plan.net.outputs), Tape(plan, x, memory)
    check(lib.pynn_forward(pointer(y), tape.c, plan.c, new_data(x), options, memory.c))
    return y, tape


def backward(grads: Floats, dx: Floats | None, dy: Floats, tape: Tape) -> None:
    """Once for each tape."""
    dx_c = ffi.NULL if dx is None else pointer(dx)
    check(lib.pynn_backward(pointer(grads), dx_c, in_pointer(dy), tape.c, ffi.NULL))


def loss_and_grad(
    grads: Floats, plan: Plan, x: Floats, targets: Targets, mask: Mask | None, kind: str, scratch: Scratch
) -> float:
    """The loss of a batch, which may not be finite; the gradient goes to `grads`."""
    total, data, dropout = ffi.new(_DOUBLE), targets.of(x), new_mask(mask)
    options = _OPTIONS_OF[kind] if mask is None else new_options(loss=LOSSES[kind], mask=dropout)
    memory = scratch.of(size_of(lib.pynn_loss_and_grad_bytes, plan.c, data, options))
    check(lib.pynn_loss_and_grad(total, pointer(grads), plan.c, data, options, memory.c))
    return float(total[0])


# ---- training ---------------------------------------------------------------------------------------------


def update(trainer: Trainer, plan: Plan, grads: Floats, learning_rate: float) -> None:
    """A step with given gradients of a trainer that is prepared."""
    status = lib.pynn_update(trainer.c, plan.c, in_pointer(grads), learning_rate)
    if status:
        _check_step(status, trainer)


class TrainSteps:
    """A pynn_train_steps on constant data: all that does not change from call to call is bound once.

    The trainer is prepared, and stays so.
    """

    __slots__ = ("_alive", "_batch", "_batches", "_count", "_data", "_memory", "_plan", "_trainer")

    def __init__(
        self, trainer: Trainer, plan: Plan, x: Floats, targets: Targets, batch: int, scratch: Scratch
    ) -> None:
        self._trainer, self._plan, self._batch, self._count = trainer, plan.c, batch, len(x)
        self._data = targets.of(x)
        self._batches = ffi.new(_BATCHES)
        self._batches.size = batch
        memory = scratch.of(size_of(lib.pynn_train_bytes, plan.c, trainer.c, batch))
        self._memory = memory.c
        self._alive = plan, x, targets, memory

    def run(self, order: Any, rates: Any, first: int, end: int) -> None:
        """The steps `first` to `end` - 1 of an epoch: step k takes rates[k] and the rows from
        order[k batch] on; both are pointers.
        """
        batches, begin = self._batches, first * self._batch
        batches.order = order + begin
        batches.count = min(end * self._batch, self._count) - begin
        batches.learning_rates = rates + first
        trainer = self._trainer
        status = lib.pynn_train_steps(trainer.c, self._plan, self._data, batches, self._memory)
        if status:
            _check_step(status, trainer)


class TrainStep:
    """A pynn_train_steps of one step, for one batch after another of as many rows.

    The trainer is prepared before each with the same optimizer and loss.
    """

    __slots__ = ("_alive", "_batches", "_memory", "_plan", "_rate", "_trainer")

    def __init__(self, trainer: Trainer, plan: Plan, rows: int, scratch: Scratch) -> None:
        self._trainer, self._plan, self._rate = trainer, plan.c, ffi.new(_DOUBLE)
        self._batches = ffi.new(_BATCHES)
        self._batches.learning_rates = self._rate
        memory = scratch.of(size_of(lib.pynn_train_bytes, plan.c, trainer.c, rows))
        self._memory = memory.c
        self._alive = plan, memory

    def run(self, x: Floats, targets: Targets, learning_rate: float) -> None:
        self._rate[0] = learning_rate
        trainer = self._trainer
        status = lib.pynn_train_steps(trainer.c, self._plan, targets.of(x), self._batches, self._memory)
        if status:
            _check_step(status, trainer)


# ---- instruction sets -------------------------------------------------------------------------------------


def instruction_set(name: str | None = None) -> str:
    """The instruction set that computes: "scalar", "avx2", ...; a name chooses it first.

    Results do not depend on it, only their speed. The environment variable PYNN_ISA chooses it too. Raises a
    RuntimeError for one that this build or machine lacks. Not while another thread computes.
    """
    if name is not None:
        check(lib.pynn_isa_set(ISAS[known("instruction set", name, ISAS)]), f"instruction set {name!r}")
        bind_plans()
    isa = ffi.new("int32_t *")
    check(lib.pynn_isa_get(isa))
    return text(lib.pynn_isa_name(isa[0]))


def broken_rule() -> str | None:
    """How this build and machine break the arithmetic contract, or None."""
    rule = lib.pynn_broken_rule()
    return text(rule) if rule else None


def contract() -> int:
    """The version of the arithmetic contract."""
    return int(lib.pynn_contract())


# ---- self-test --------------------------------------------------------------------------------------------


def selftest(threads: int) -> Iterable[tuple[str, str, bool]]:
    """Does the runs of the self-test, and gives the name of each, its digest, and whether it is right."""
    memory = Memory(size_of(lib.pynn_selftest_bytes, threads))
    digest, executor = ffi.new("char[]", lib.PYNN_DIGEST), Executor()
    try:
        if threads > 1:
            executor.start(threads)
        run = 0
        while name := lib.pynn_selftest_name(run):
            workers = executor.c if threads > 1 else ffi.NULL
            status = lib.pynn_selftest(digest, run, workers, memory.c)
            if code_of(status) != CODES["bad_arithmetic"]:
                check(status, text(name))
            yield text(name), text(digest), status == CODES["ok"]
            run += 1
    finally:
        executor.stop()
