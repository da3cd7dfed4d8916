"""The table that a lecturer writes on the board: a batch forward through a net, and the gradients back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from . import _calls, _gate, losses
from ._memory import empty
from .layers import Dense, ReLU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._memory import Floats
    from .layers import Layer
    from .losses import Targets

EXPLODED = 1e4  # root mean square of a layer's output, or of a gradient, that is reported


class Record(NamedTuple):
    """A line of the table: a quantity, how it is computed, and its values."""

    name: str
    formula: str
    array: NDArray[Any]


class Trace(Sequence[Record]):
    """Every intermediate value and every gradient of a batch, in the order in which they are computed.

    A sequence of records (name, formula, array); by name too, `trace["dL/dW1"]`; and printed, a table. Dense
    layer k has weight Wk, bias bk and score sk; what is computed from a score is ak, the next ak', and so on.
    Targets are t, weights w, the loss L, and dL/dq is the gradient of q. Dropout passes all, since nothing is
    trained.

    Attributes:
        warnings: what is wrong, in words: ReLU units that are 0 in every row of the batch (no gradient
            reaches what is before them), quantities that are not finite, and those with a root mean square
            above 1e4.
    """

    def __init__(self, layers: Sequence[Layer], x: Floats, targets: Targets, loss: str) -> None:
        """Of the layers of a net."""
        self._forward: list[Record] = []
        self._backward: list[Record] = []
        self.warnings: list[str] = []
        copies = [copy.copy(layer) for layer in layers]
        if losses.end(loss) == "scores":
            del copies[-1]  # the loss contains it
        names = self._trace_forward(copies, x)
        dy = self._trace_loss(names[-1], targets, loss)
        self._trace_backward(copies, names, dy)

    def _trace_forward(self, layers: list[Layer], x: Floats) -> list[str]:
        """The names of the input and of what each layer computes."""
        names, values = ["x"], x
        self._note(self._forward, "x", "", x)
        dense = 0
        for i, layer in enumerate(layers):
            s = names[-1]
            with np.errstate(all="ignore"):
                values = layer._forward(values, False)
            if isinstance(layer, Dense):
                dense += 1
                name, formula = f"s{dense}", f"{s} · W{dense} + b{dense}"
                self._note(self._forward, f"W{dense}", "", layer.weight)
                self._note(self._forward, f"b{dense}", "", layer.bias)
            else:
                name, formula = f"a{dense}", layer._forward_formula.format(s=s)
                while name in names:
                    name += "'"
            names.append(name)
            self._note(self._forward, name, formula, values)
            if isinstance(layer, ReLU):
                dead = np.flatnonzero((values == 0).reshape(len(values), -1).all(axis=0))
                if len(dead):
                    which = ", ".join(map(str, dead[:8])) + (", ..." if len(dead) > 8 else "")
                    self.warnings.append(f"layer {i}, {layer}: dead units in {name}, 0 in all rows: {which}")
        return names

    def _trace_loss(self, y: str, targets: Targets, loss: str) -> Floats:
        """Loss and gradient of what the last layer has computed."""
        values = self._forward[-1].array
        dy = empty(*values.shape)
        total, each = _calls.loss(values, targets.c, loss, dy)
        self._note(self._forward, "t", "", targets.values)
        if targets.weights is not None:
            self._note(self._forward, "w", "", targets.weights)
        h = {"cross_entropy": f"softmax({y})", "binary_cross_entropy": f"sigmoid({y})"}.get(loss, y)
        formulas = {
            "squared_error": (f"Σ ({y} - t)²", "2 "),
            "half_squared_error": (f"½ Σ ({y} - t)²", ""),
            "mean_squared_error": (f"Σ ({y} - t)² / O", "2 / O "),
            "cross_entropy": (f"-Σ t log {h}", ""),
            "binary_cross_entropy": (f"-Σ t log {h} + (1 - t) log(1 - {h})", ""),
        }
        formula, factor = formulas[loss]
        mean = "/ B" if targets.weights is None else "w / Σ w"
        self._note(self._forward, "losses", f"{formula}, in each row", each)
        self._note(self._forward, "L", f"Σ losses {mean}, over the rows", np.array(total))
        self._note(self._backward, f"dL/d{y}", f"{factor}({h} - t) {mean}", dy)
        return dy

    def _trace_backward(self, layers: list[Layer], names: list[str], dy: Floats) -> None:
        dense = sum(isinstance(layer, Dense) for layer in layers)
        for layer, s, a in reversed(list(zip(layers, names, names[1:], strict=False))):
            with np.errstate(all="ignore"):
                dy = layer._backward(dy)
            if isinstance(layer, Dense):
                self._note(self._backward, f"dL/dW{dense}", f"{s}ᵀ · dL/d{a}", layer.dweight)
                self._note(self._backward, f"dL/db{dense}", f"Σ dL/d{a}, over the rows", layer.dbias)
                formula = f"dL/d{a} · W{dense}ᵀ"
                dense -= 1
            else:
                formula = layer._backward_formula.format(s=s, a=a, da=f"dL/d{a}")
            self._note(self._backward, f"dL/d{s}", formula, dy)

    def _note(self, part: list[Record], name: str, formula: str, array: NDArray[Any]) -> None:
        part.append(Record(name, formula, array.copy()))
        if not np.isfinite(array).all():
            self.warnings.append(f"{name} is not finite")
        elif (rms := float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))) > EXPLODED:
            self.warnings.append(f"{name} explodes: its root mean square is {rms:.3g}")

    @overload
    def __getitem__(self, key: int | str) -> Record: ...
    @overload
    def __getitem__(self, key: slice) -> list[Record]: ...
    def __getitem__(self, key: int | str | slice) -> Record | list[Record]:
        records = self._forward + self._backward
        if isinstance(key, str):
            names = [record.name for record in records]
            return records[names.index(_gate.known("quantity", key, names))]
        return records[key]

    def __contains__(self, key: object) -> bool:
        return any(record is key or record.name == key for record in self)

    def __len__(self) -> int:
        return len(self._forward) + len(self._backward)

    def __repr__(self) -> str:
        return f"Trace({', '.join(record.name for record in self)})"

    def __str__(self) -> str:
        names = max(len(record.name) for record in self)
        formulas = max(len(record.formula) for record in self)
        lines = []
        for title, part in (("forward", self._forward), ("backward", self._backward), ("warnings", None)):
            if part is None:
                lines += [title, *(f"  {warning}" for warning in self.warnings)] if self.warnings else []
                continue
            lines.append(title)
            for name, formula, array in part:
                start = f"  {name:<{names}} {'=' if formula else ' '} {formula:<{formulas}}  "
                first, *rest = _written(array).split("\n")
                lines += [start + first, *(" " * len(start) + line for line in rest)]
        return "\n".join(lines)


def _written(array: NDArray[Any]) -> str:
    """The values in columns, five digits each, the middle of large arrays left out."""
    shown = array
    if array.size > 64:  # those of the corners
        for axis, length in enumerate(array.shape):
            if length > 6:
                shown = np.take(shown, [0, 1, 2, -3, -2, -1], axis)
    width = max(len(f"{value:.5g}") for value in shown.flat)
    return np.array2string(
        array, max_line_width=100, threshold=64, formatter={"all": lambda value: f"{value:{width}.5g}"}
    )
