"""The structs of pynn.h that Python fills.

A class keeps what its struct points to; `c` is the struct, or a pointer to it. What `new_...` makes is for
one call, in which somebody else keeps that.
"""

from __future__ import annotations

import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ._library import LOSSES, OPTIMIZERS, check, ffi, lib
from ._memory import INT32, Floats, Memory, in_pointer, labels_pointer, rows_pointer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_SIZE = ffi.typeof("size_t *")
_MODEL = ffi.typeof("pynn_model *")
_PLAN = ffi.typeof("const pynn_plan **")
_LAYER = ffi.typeof("pynn_layer *")
_DATA = ffi.typeof("pynn_data *")
_OPTIONS = ffi.typeof("pynn_options *")
_MASK = ffi.typeof("pynn_mask *")
_TAPE = ffi.typeof("pynn_tape *")


def size_of(function: Any, *arguments: Any) -> int:
    """The size that a function of the C library puts into its first argument."""
    size = ffi.new(_SIZE)
    status = function(size, *arguments)
    if status:
        check(status)
    return int(size[0])


# ---- net and plan -----------------------------------------------------------------------------------------

Spec = dict[str, float]  # fields of a pynn_layer


def new_layer(spec: Spec) -> Any:
    """A pynn_layer alone."""
    return ffi.new(_LAYER, spec)


class Net:
    """A pynn_net and the layers that it points to. Constant, so that threads may share it."""

    __slots__ = ("_layers", "c", "inputs", "outputs", "param_count", "plan_bytes", "specs")

    def __init__(self, specs: Sequence[Mapping[str, float]]) -> None:
        self.specs = list(specs)
        self._layers = ffi.new("pynn_layer[]", self.specs)
        self.c = ffi.new("pynn_net *")
        check(lib.pynn_net_init(self.c, self._layers, len(self.specs)), "these layers make no net")
        self.inputs: int = self.c.inputs
        self.outputs: int = self.c.outputs
        self.param_count: int = self.c.param_count
        self.plan_bytes = size_of(lib.pynn_plan_bytes, self.c)

    def offset(self, layer: int) -> int:
        """Where the parameters of a dense layer start."""
        return size_of(lib.pynn_net_offset, self.c, layer)

    def advise(self, batch: int, available: int) -> int:
        """Workers that are worth their while for steps on so many rows."""
        return size_of(lib.pynn_threads_advise, self.c, batch, available)


class Dense:
    """A pynn_dense: a dense layer outside a net, and its values."""

    __slots__ = ("_alive", "c")

    def __init__(self, weight: Floats, bias: Floats) -> None:
        values = in_pointer(weight), in_pointer(bias)
        self.c = ffi.new("pynn_dense *", (*values, *weight.shape))
        self._alive = values


class Plan:
    """A pynn_plan: a net and its parameters, to which `params` points. Constant, so that threads may share
    it.

    Attributes:
        spare: memory of predictions that no thread uses now.
    """

    __slots__ = ("__weakref__", "_memory", "_model", "_params", "c", "net", "spare")

    def __init__(self, net: Net, params: Any) -> None:
        self.net, self._params = net, params
        self._model = ffi.new(_MODEL, (net.c, params))
        self._memory = Memory(net.plan_bytes)
        self.spare: list[Memory] = []
        self.bind()
        _PLANS.add(self)

    def bind(self) -> None:
        """Makes it with the instruction set that is chosen now; again in its place, so that `c` stays."""
        made = ffi.new(_PLAN)
        check(lib.pynn_plan_init(made, self._model, self._memory.c))
        self.c = made[0]


_PLANS: WeakSet[Plan] = WeakSet()


def bind_plans() -> None:
    """After another instruction set was chosen: plans would keep theirs."""
    for plan in list(_PLANS):
        plan.bind()


# ---- data and options -------------------------------------------------------------------------------------


def new_data(x: Floats) -> Any:
    """A pynn_data of rows alone."""
    data = ffi.new(_DATA)
    data.rows = len(x)
    data.x, data.stride = rows_pointer(x)
    return data


class Targets:
    """A pynn_data of targets that have passed the gate, for calls that look at them alone."""

    __slots__ = ("_alive", "c")

    def __init__(self, values: NDArray[Any], sample_weight: Floats | None) -> None:
        data = self.c = ffi.new(_DATA)
        data.rows = len(values)
        targets = data.targets
        if values.dtype == INT32:
            targets.labels = pointer = labels_pointer(values)
        else:
            pointer, targets.stride = rows_pointer(values)
            targets.rows = pointer
        weights = None
        if sample_weight is not None:
            targets.weights = weights = in_pointer(sample_weight)
        self._alive = pointer, weights

    def of(self, x: Floats) -> Any:
        """The same for other calls, with their rows, which somebody else keeps."""
        data = self.c
        data.x, data.stride = rows_pointer(x)
        return data


Mask = tuple[int, int, int]  # seed, step, layer: the fields of a pynn_mask


def new_mask(mask: Mask | None) -> Any:
    """A pynn_mask, or NULL."""
    if mask is None:
        return ffi.NULL
    seed, step, layer = mask
    return ffi.new(_MASK, (seed, step & 0xFFFFFFFF, layer))


def new_options(
    *, end: int = 0, loss: int = 0, mask: Any = ffi.NULL, executor: Executor | None = None
) -> Any:
    """A pynn_options."""
    options = ffi.new(_OPTIONS)
    options.end, options.loss, options.mask = end, loss, mask
    if executor is not None:
        options.executor = executor.c
    return options


class Tape:
    """A pynn_tape, and what it needs until its backward pass: plan, rows and memory."""

    __slots__ = ("_alive", "c", "x")

    def __init__(self, plan: Plan, x: Floats, memory: Memory) -> None:
        self.c = ffi.new(_TAPE)
        self.x = x
        self._alive = plan, memory


# ---- training ---------------------------------------------------------------------------------------------


class Optimizer:
    """A pynn_optimizer."""

    __slots__ = ("c", "kind", "moments")

    def __init__(self, kind: str, **values: float) -> None:
        c = ffi.new("pynn_optimizer *", {"kind": OPTIMIZERS[kind], **values})
        count = ffi.new(_SIZE)
        check(lib.pynn_optimizer_moments(count, c), f"{kind} with {values}")
        self.c, self.kind = c[0], kind
        self.moments: int = count[0]


class Trainer:
    """A pynn_trainer. C changes its state and its totals in place: they are right after an interrupt too."""

    __slots__ = ("_alive", "_state", "_totals", "c")

    def __init__(self) -> None:
        self.c = ffi.new("pynn_trainer *")
        self._state, self._totals = self.c.state, self.c.totals  # references into it
        self.restart()

    def prepare(
        self,
        params: Any,
        moments: Any,
        optimizer: Optimizer,
        loss: str | None = None,
        seed: int = 0,
        executor: Executor | None = None,
    ) -> None:
        """For the calls to come; `params` and `moments` point to what they change. Updates alone need neither
        loss nor seed.
        """
        c = self.c
        c.params, c.moments, c.optimizer = params, moments, optimizer.c
        c.loss = LOSSES[loss] if loss is not None else 0
        c.seed = seed
        c.executor = ffi.NULL if executor is None else executor.c
        self._alive = params, moments, executor

    @property
    def steps(self) -> int:
        """Optimizer steps done."""
        return int(self._state.steps)

    def restart(self) -> None:
        """For moments that start afresh: the steps stay."""
        check(lib.pynn_state_restart(ffi.addressof(self._state)))

    def get(self) -> tuple[int, float, float]:
        """The fields of its pynn_state."""
        return self.steps, self._state.beta1_power, self._state.beta2_power

    def set(self, steps: int, beta1_power: float = 1.0, beta2_power: float = 1.0) -> None:
        self.c.state = (steps, beta1_power, beta2_power)

    @property
    def failed_layer(self) -> int:
        """The first layer whose parameters the last step has spoilt."""
        return int(self.c.failed_layer)

    def clear(self) -> None:
        """Begins an epoch."""
        self._totals.loss = self._totals.weight = 0.0

    def add(self, loss: float, weight: float) -> None:
        """Adds a batch: the sum of w_r loss_r, and that of w_r."""
        self._totals.loss += loss
        self._totals.weight += weight

    @property
    def mean_loss(self) -> float:
        """Of the rows of the epoch so far, weighted; NaN before the first."""
        totals = self._totals
        return float(totals.loss / totals.weight) if totals.weight > 0 else math.nan


# ---- threads ----------------------------------------------------------------------------------------------


class Executor:
    """A pynn_executor: threads that share the work of calls. Starts with none; `stop` in a `finally`.

    In the child of a fork, which has no such threads, it leaves all work to the calling thread.
    """

    __slots__ = ("__weakref__", "_memory", "c", "stop")

    def __init__(self) -> None:
        self.c = ffi.new("pynn_executor *")
        self.stop = partial(lib.pynn_threads_stop, self.c)  # in C: no interrupt can come before it

    @property
    def workers(self) -> int:
        return int(self.c.workers)

    def start(self, workers: int) -> None:
        what = f"{workers} threads"
        size = ffi.new(_SIZE)
        check(lib.pynn_threads_bytes(size, workers), what)
        self._memory = Memory(size[0])
        _EXECUTORS.add(self)
        check(lib.pynn_threads_start(self.c, workers, self._memory.c), what)


_EXECUTORS: WeakSet[Executor] = WeakSet()


def _forget_threads() -> None:
    for executor in _EXECUTORS:
        executor.c.context = ffi.NULL
        executor.c.workers = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
