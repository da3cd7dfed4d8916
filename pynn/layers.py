"""The layers. Each works alone: `forward` computes, and keeps what `backward` then needs.

Shapes: B rows of a batch, I inputs, O outputs. A `Sequential` adopts layers; a layer then holds no numbers of
its own, and its `weight` is a view into the parameters of the net.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import _calls, _gate, _structs
from ._library import INITS, LAYERS
from ._store import READING, WRITING, Guard, Store, claiming
from ._structs import Mask, Spec
from .errors import PynnRuntimeError, PynnTypeError, PynnValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from ._memory import Floats


class Layer:
    """Base of all layers.

    Attributes:
        kind: the name of the C library for it.
    """

    kind: ClassVar[str]
    _forward_formula: ClassVar[str]  # of the output, from {s}
    _backward_formula: ClassVar[str]  # of the gradient of s, from {s}, the output {a} and its gradient {da}

    def __init__(self) -> None:
        if type(self) is Layer:
            raise PynnTypeError("Layer is the base of the layers; make one of them, such as Dense or ReLU")
        self._store: Store | None = None
        self._in_net = False
        self._kept: Any = None

    def forward(self, x: ArrayLike, *, training: bool = False) -> Floats:
        """The output for x. Keeps what `backward` needs: x itself where it is float32, not a copy.

        Args:
            x: float32, or any real numbers that are then converted.
            training: True makes Dropout drop; no other layer cares.

        Raises:
            ValueError: a wrong shape; NaN or infinity.
            TypeError: not real numbers.
        """
        return self._forward(self._input(x), _gate.boolean("training", training))

    def backward(self, da: ArrayLike) -> Floats:
        """The gradient of the input, from that of the output of the last `forward`, any number of
        times; shapes as there.

        Raises:
            RuntimeError: no `forward` yet.
            ValueError: a wrong shape; NaN or infinity.
        """
        if self._kept is None:
            raise PynnRuntimeError(f"{self}: backward needs a forward before it")
        return self._backward(_gate.floats("da", da, self._output_shape()))

    def _input(self, x: ArrayLike) -> Floats:
        return _gate.floats("x", x, (None, None))

    def _output_shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._kept[0].shape
        return shape

    def _forward(self, x: Floats, training: bool) -> Floats:
        """`forward` behind the gate."""
        raise NotImplementedError

    def _backward(self, da: Floats) -> Floats:
        """`backward` behind the gate."""
        raise NotImplementedError

    def _arguments(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {}

    @cached_property
    def _c(self) -> Any:
        """The layer as C takes it alone."""
        return _structs.new_layer(self._spec())

    def _spec(self) -> Spec:
        """The fields of a pynn_layer."""
        return {"kind": LAYERS[self.kind]}

    def _adopt(self, store: Store, position: int) -> None:
        """Becomes part of a net. `position`: what tells the layer from others of its kind in the store."""
        self._store, self._in_net, self._kept = store, True, None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._arguments().items())})"

    def __reduce__(self) -> tuple[Callable[..., Layer], tuple[Any, ...]]:
        return _restored, (type(self), self._arguments(), self._more())

    def _more(self) -> Any:
        """What a copy needs beyond the arguments, or None."""

    def _own(self, more: Any) -> None:
        """Takes it while alone."""


def _restored(kind: type[Layer], arguments: dict[str, Any], more: Any) -> Layer:
    """What pickle and copy make of a layer: one that stands alone, with the values it had."""
    layer = kind(**arguments)
    if more is not None:
        layer._own(more)
    return layer


class Dense(Layer):
    """s = x W + b; x (B, I), W (I, O), b (O), s (B, O).

    Backward: dx = ds Wᵀ, dW = xᵀ ds, db = the sum of the rows of ds; dW and db are overwritten, never added
    to.

    Args:
        inputs, outputs: I and O, at least 1.
        init: how the weight is drawn: "auto", "he_normal", "he_uniform" (variance 2 / I), "glorot_normal",
            "glorot_uniform" (variance 2 / (I + O)) or "zeros". "auto" is he_normal right before ReLU,
            LeakyReLU, Softplus, GELU and SiLU in a net, else glorot_uniform. Biases start at 0.
        seed: with a seed the values depend on these arguments only, and "auto" is glorot_uniform. Without,
            a net draws them from its own seed; alone they are drawn from seed 0 when first needed.

    Raises:
        ValueError: a size below 1; an unknown init, and the error lists the known; a seed out of range.
        TypeError: sizes that are not integers.
    """

    kind = "dense"

    def __init__(self, inputs: int, outputs: int, *, init: str = "auto", seed: int | None = None) -> None:
        super().__init__()
        self._inputs = _gate.integer("inputs", inputs, 1)
        self._outputs = _gate.integer("outputs", outputs, 1)
        self._init = _gate.known("init", init, INITS)
        self._seed = None if seed is None else _gate.seed(seed)
        self._offset = 0
        self._assigned = False
        self._alone: _structs.Dense | None = None

    @property
    def inputs(self) -> int:
        """I."""
        return self._inputs

    @property
    def outputs(self) -> int:
        """O."""
        return self._outputs

    @property
    def init(self) -> str:
        """How the weight is drawn."""
        return self._init

    @property
    def seed(self) -> int | None:
        """Of the weight, or None."""
        return self._seed

    @property
    def weight(self) -> Floats:
        """W (I, O), a view; assigning copies in."""
        return self._parts(self._numbers().params, self._offset)[0]

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self.weight[:] = _gate.floats("weight", value, (self.inputs, self.outputs))
        self._assigned = True

    @property
    def bias(self) -> Floats:
        """b (O), a view; assigning copies in."""
        return self._parts(self._numbers().params, self._offset)[1]

    @bias.setter
    def bias(self, value: ArrayLike) -> None:
        self.bias[:] = _gate.floats("bias", value, (self.outputs,))
        self._assigned = True

    @property
    def dweight(self) -> Floats:
        """dW (I, O) of the last backward pass, 0 before the first; a view."""
        return self._parts(self._numbers().grads, self._offset)[0]

    @property
    def dbias(self) -> Floats:
        """db (O) of the last backward pass, 0 before the first; a view."""
        return self._parts(self._numbers().grads, self._offset)[1]

    def _parts(self, flat: Floats, offset: int) -> tuple[Floats, Floats]:
        """Weight and bias in a flat array."""
        middle = offset + self.inputs * self.outputs
        weight = flat[offset:middle].reshape(self.inputs, self.outputs)
        return weight, flat[middle : middle + self.outputs]

    def _numbers(self) -> Store:
        self._guard.look()
        assert self._store is not None
        return self._store

    def _bound(self) -> _structs.Dense:
        """What C gets of its values, while it is used alone."""
        if self._alone is None:
            self._alone = _structs.Dense(*self._parts(self._numbers().params, self._offset))
        return self._alone

    @property
    def _guard(self) -> Guard:
        if self._store is None:
            store = Store((self.inputs + 1) * self.outputs, 0)
            self._initialise(store)
            self._store = store  # last: others may look
        return self._store.guard

    def _initialise(self, store: Store, offset: int = 0) -> None:
        """Draws the values from the layer's own seed."""
        _calls.dense_init(*self._parts(store.params, offset), self._c, self.seed or 0)

    def _own(self, more: Any) -> None:
        store = Store((self.inputs + 1) * self.outputs, 0)
        store.params[:] = _gate.floats("params", more, store.params.shape)
        self._store = store
        self._assigned = True

    def _more(self) -> Floats | None:
        """The values as a flat copy; None if they are not drawn yet."""
        if self._store is None:
            return None
        flat: Floats = self._numbers().params[self._offset :][: (self.inputs + 1) * self.outputs].copy()
        return flat

    def _given(self) -> Floats | None:
        """The values that a net must keep: those of a seed, of a copy, or that someone has set."""
        flat = self._more()
        if flat is None or self.seed is not None or self._assigned:
            return flat
        drawn = Store(len(flat), 0)  # they may have been changed through a view
        self._initialise(drawn)
        return None if np.array_equal(flat, drawn.params) else flat

    def _input(self, x: ArrayLike) -> Floats:
        return _gate.rows("x", x, self.inputs)

    def _output_shape(self) -> tuple[int, ...]:
        return len(self._kept), self.outputs

    @claiming(READING)
    def _forward(self, x: Floats, training: bool) -> Floats:
        s = _calls.dense_forward(x, self._bound())
        self._kept = x
        return s

    @claiming(WRITING)
    def _backward(self, da: Floats) -> Floats:
        store = self._numbers()
        dweight, dbias = self._parts(store.grads, self._offset)
        return _calls.dense_backward(dweight, dbias, store.apart(da), store.apart(self._kept), self._bound())

    def _arguments(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "outputs": self.outputs, "init": self.init, "seed": self.seed}

    def _spec(self) -> Spec:
        init = INITS[self.init]
        return {**super()._spec(), "init": init, "inputs": self.inputs, "outputs": self.outputs}

    def _adopt(self, store: Store, position: int) -> None:
        super()._adopt(store, position)
        self._offset = position
        self._alone = None

    def __repr__(self) -> str:
        more = "" if self.init == "auto" else f", init={self.init!r}"
        more += "" if self.seed is None else f", seed={self.seed}"
        return f"Dense({self.inputs}, {self.outputs}{more})"


class _Elementwise(Layer):
    """a = f(s) of every element; any shape of one dimension or more."""

    def _input(self, x: ArrayLike) -> Floats:
        return _gate.floats("x", x)

    def _forward(self, x: Floats, training: bool) -> Floats:
        a = _calls.activation_forward(x, self._c)
        self._kept = x, a.copy()
        return a

    def _backward(self, da: Floats) -> Floats:
        s, a = self._kept
        return _calls.activation_backward(da, s, a, self._c)


class Identity(_Elementwise):
    """a = s; backward ds = da. Any shape."""

    kind = "identity"
    _forward_formula = "{s}"
    _backward_formula = "{da}"


class ReLU(_Elementwise):
    """a = max(0, s); backward ds = da where s > 0, else 0. Any shape."""

    kind = "relu"
    _forward_formula = "max(0, {s})"
    _backward_formula = "{da} · 1[{s} > 0]"


class LeakyReLU(_Elementwise):
    """a = s where s > 0, else slope s; backward ds = da or slope da. Any shape.

    Args:
        slope: finite, at least 0.
    """

    kind = "leaky_relu"
    _forward_formula = "{s} where {s} > 0, else slope · {s}"
    _backward_formula = "{da} · (1 where {s} > 0, else slope)"

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self._slope = _gate.real("slope", slope, 0)

    @property
    def slope(self) -> float:
        """Of the negative side."""
        return self._slope

    def _arguments(self) -> dict[str, Any]:
        return {"slope": self.slope}

    def _spec(self) -> Spec:
        return {**super()._spec(), "slope": self.slope}


class Sigmoid(_Elementwise):
    """a = 1 / (1 + e^-s), the logistic function; backward ds = da a (1 - a). Any shape."""

    kind = "sigmoid"
    _forward_formula = "1 / (1 + e^-{s})"
    _backward_formula = "{da} · {a} (1 - {a})"


class Tanh(_Elementwise):
    """a = tanh s; backward ds = da (1 - a²). Any shape."""

    kind = "tanh"
    _forward_formula = "tanh {s}"
    _backward_formula = "{da} · (1 - {a}²)"


class Softplus(_Elementwise):
    """a = log(1 + e^s); backward ds = da sigmoid(s). Any shape."""

    kind = "softplus"
    _forward_formula = "log(1 + e^{s})"
    _backward_formula = "{da} · sigmoid({s})"


class GELU(_Elementwise):
    """a = s Φ(s), Φ the normal distribution function; backward ds = da (s φ(s) + Φ(s)). Any shape."""

    kind = "gelu"
    _forward_formula = "{s} · Φ({s})"
    _backward_formula = "{da} · ({s} φ({s}) + Φ({s}))"


class SiLU(_Elementwise):
    """a = s q, q = sigmoid(s); backward ds = da q (1 + s (1 - q)). Any shape."""

    kind = "silu"
    _forward_formula = "{s} · sigmoid({s})"
    _backward_formula = "{da} · q (1 + {s} (1 - q)), q = sigmoid({s})"


class Softmax(Layer):
    """h_i = e^{s_i} / Σ_j e^{s_j} in each row; s and h (B, O). A single row is given as (1, O).

    Backward: ds_j = h_j (dh_j - Σ_k dh_k h_k).
    """

    kind = "softmax"
    _forward_formula = "e^{s} / Σ e^{s}, in each row"
    _backward_formula = "{a} · ({da} - Σ {da} {a})"

    def _forward(self, x: Floats, training: bool) -> Floats:
        h = _calls.softmax_forward(x)
        self._kept = (h.copy(),)
        return h

    def _backward(self, da: Floats) -> Floats:
        return _calls.softmax_backward(da, *self._kept)


class Dropout(Layer):
    """With `training=True`: each value becomes 0 with probability p, else x / (1 - p). Otherwise y = x. (B,
    width).

    Backward: dx = dy through the mask of the last forward. Masks are a function of seed, step and position:
    alone of the layer's own seed and the training forwards done before; in a net of the net's seed, the
    optimizer steps that the net has done, and the dropout layers before this one.

    Args:
        p: 0 <= p < 1 - 2^-17, rounded to a multiple of 2^-16.
        seed: for use alone.
    """

    kind = "dropout"
    _forward_formula = "{s}, as no training is going on"
    _backward_formula = "{da}"

    def __init__(self, p: float, *, seed: int = 0) -> None:
        super().__init__()
        self._p = _gate.real("p", p, 0, 1 - 2**-17)
        self._seed = _gate.seed(seed)
        self._position = 0
        self._forwards = 0

    @property
    def p(self) -> float:
        """The probability."""
        return self._p

    @property
    def seed(self) -> int:
        """For use alone."""
        return self._seed

    def _forward(self, x: Floats, training: bool) -> Floats:
        mask = self._next_mask() if training else None
        y = x.copy() if mask is None else _calls.dropout_forward(x, mask, self.p)
        self._kept = x, mask
        return y

    def _backward(self, da: Floats) -> Floats:
        mask = self._kept[1]
        return da.copy() if mask is None else _calls.dropout_backward(da, mask, self.p)

    def _more(self) -> int:
        return self._forwards

    def _own(self, more: Any) -> None:
        self._forwards = _gate.integer("forwards", more, 0)

    def _next_mask(self) -> Mask:
        if self._store is not None:
            return self._store.seed, self._store.trainer.steps, self._position
        self._forwards += 1
        return self.seed, self._forwards - 1, 0

    def _arguments(self) -> dict[str, Any]:
        return {"p": self.p, "seed": self.seed}

    def _spec(self) -> Spec:
        return {**super()._spec(), "p": self.p}

    def _adopt(self, store: Store, position: int) -> None:
        super()._adopt(store, position)
        self._position = position

    def __repr__(self) -> str:
        return f"Dropout({self.p:g}{f', seed={self.seed}' if self.seed else ''})"


KINDS = (Dense, Identity, ReLU, LeakyReLU, Sigmoid, Tanh, Softplus, GELU, SiLU, Softmax, Dropout)


def neighbours(layers: list[Layer] | tuple[Layer, ...]) -> list[tuple[int, int]]:
    """Which dense layers follow each other with nothing but identities between."""
    pairs, before = [], None
    for i, layer in enumerate(layers):
        if isinstance(layer, Dense):
            if before is not None:
                pairs.append((before, i))
            before = i
        elif not isinstance(layer, Identity):
            before = None
    return pairs


def check_chain(layers: list[Layer] | tuple[Layer, ...]) -> None:
    """Raises unless every dense layer takes what the one before it gives, and the last layer is plain."""
    dense = [(i, layer) for i, layer in enumerate(layers) if isinstance(layer, Dense)]
    if not dense:
        raise PynnValueError("a net needs at least one Dense layer")
    if isinstance(layers[-1], Identity):
        before = next(layer for layer in reversed(layers) if not isinstance(layer, Identity))
        if isinstance(before, (Softmax, Sigmoid)):
            raise PynnValueError(f"the last layer must be {before} itself, not an Identity after it")
    for (i, a), (j, b) in pairwise(dense):
        if a.outputs != b.inputs:
            raise PynnValueError(
                f"layer {i}, {a}, gives {a.outputs} values, but layer {j}, {b}, takes {b.inputs}"
            )
