"""The trace: the board of a lecture, exact to the last digit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ACTIVATIONS, LOSSES, bits, classifier, labels, net_of, normal, snapshot

import pynn


def worked():
    """The net of the worked step, and its trace."""
    net = net_of(pynn.Dense(1, 1), pynn.ReLU(), pynn.Dense(1, 1))
    net.params = [1, 1, 2, -5]
    return net, net.trace([[3]], [[1]], "squared_error")


def test_worked_step_by_trace():
    """Every number of the worked step, named and in order."""
    _, trace = worked()
    assert [(record.name, record.array.item()) for record in trace] == [
        ("x", 3), ("W1", 1), ("b1", 1), ("s1", 4), ("a1", 4), ("W2", 2), ("b2", -5), ("s2", 3),
        ("t", 1), ("losses", 4), ("L", 4),
        ("dL/ds2", 4), ("dL/dW2", 16), ("dL/db2", 4), ("dL/da1", 8), ("dL/ds1", 8),
        ("dL/dW1", 24), ("dL/db1", 8), ("dL/dx", 8),
    ]  # fmt: skip
    assert trace.warnings == []


def test_worked_step_printed():
    """The printed table has two parts, a line for each record, formulas and values."""
    net, trace = worked()
    lines = str(trace).split("\n")
    assert lines[0] == "forward"
    assert lines.index("backward") == 12
    assert len(lines) == 2 + len(trace) == 21
    found = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  ")}
    assert found["x"] == "[[3]]"
    assert found["s1"] == "= x · W1 + b1 [[4]]"
    assert found["a1"] == "= max(0, s1) [[4]]"
    assert found["s2"] == "= a1 · W2 + b2 [[3]]"
    assert found["L"].endswith(" 4")
    assert found["dL/dW2"] == "= a1ᵀ · dL/ds2 [[16]]"
    assert found["dL/ds1"] == "= dL/da1 · 1[s1 > 0] [[8]]"
    assert repr(trace).startswith("Trace(x, W1, b1, s1, a1")
    assert str(net.trace(normal(200, 1), normal(200, 1))).count("\n") < 400


def test_trace_as_data():
    """By number, by slice and by name; an unknown name lists the known ones."""
    _, trace = worked()
    assert trace[0] is trace["x"]
    assert trace[-1].name == "dL/dx"
    assert [record.name for record in trace[:2]] == ["x", "W1"]
    assert trace["dL/dW1"].formula == "xᵀ · dL/ds1"
    with pytest.raises(pynn.PynnValueError, match=r"unknown quantity 'W3'; known are L, W1"):
        trace["W3"]
    with pytest.raises(IndexError):
        trace[99]


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_trace_has_the_bits_of_the_net(activation, kind):
    """Outputs, loss and gradients are those of predict and loss_and_grad, bit for bit; nothing changes."""
    last = {"cross_entropy": [pynn.Softmax()], "binary_cross_entropy": [pynn.Sigmoid()]}.get(kind, [])
    net = net_of(
        pynn.Dense(4, 6), ACTIVATIONS[activation](), pynn.Dropout(0.5), pynn.Dense(6, 3), *last, seed=2
    )
    x, t = normal(8, 4), np.eye(3)[labels(8, 3)]
    for weights in (None, np.arange(8) / 8):
        net.reset()
        expected, grads = net.loss_and_grad(x, t, kind, sample_weight=weights)
        grads, net.grads = grads.copy(), normal(len(grads), seed=5)
        before = snapshot(net)
        trace = net.trace(x, t, kind, sample_weight=weights)
        assert snapshot(net) == before
        assert trace["L"].array == expected
        assert bits(trace["s2"].array) == bits(net.scores(x))
        found = [trace[f"dL/d{name}"].array.ravel() for name in ("W1", "b1", "W2", "b2")]
        assert bits(np.concatenate(found)) == bits(grads)
        assert ("w" in [record.name for record in trace]) == (weights is not None)
        assert not any(np.shares_memory(record.array, other) for record in trace for other in (x, net.params))


def test_trace_names_repeated_activations():
    """What is computed from a score is a, then a', then a''."""
    net = net_of(
        pynn.Dense(2, 2), pynn.Tanh(), pynn.Dropout(0.5), pynn.ReLU(), pynn.Dense(2, 2), pynn.Softmax()
    )
    names = [record.name for record in net.trace(normal(3, 2), [0, 1, 1])]
    assert names[:7] == ["x", "W1", "b1", "s1", "a1", "a1'", "a1''"]
    assert names[-4:] == ["dL/ds1", "dL/dW1", "dL/db1", "dL/dx"]


def test_trace_finds_dead_units():
    """ReLU units that are 0 in every row are named, with their layer."""
    net = net_of(pynn.Dense(3, 5), pynn.ReLU(), pynn.Dense(5, 2))
    net[0].bias = [0, -1e3, 0, 0, -1e3]
    assert net.trace(normal(50, 3), normal(50, 2)).warnings == [
        "layer 1, ReLU(): dead units in a1, 0 in all rows: 1, 4"
    ]
    assert "dead units" in str(net.trace(normal(50, 3), normal(50, 2)))


def test_trace_finds_explosions():
    """Large and infinite quantities are named; an exploding net is traced, not refused."""
    net = net_of(pynn.Dense(2, 2), pynn.ReLU(), pynn.Dense(2, 1))
    net.params = np.full(9, 1e6)
    found = net.trace(np.ones((2, 2)), np.ones((2, 1))).warnings
    assert any(warning.startswith("s1 explodes: its root mean square is 3e+06") for warning in found)
    assert any(warning.startswith("dL/dW1 explodes") for warning in found)
    net.params = np.full(9, 1e30)
    found = net.trace(np.ones((2, 2)), np.ones((2, 1))).warnings
    assert "s2 is not finite" in found
    assert "L is not finite" in found


def test_trace_refuses_functions():
    """A trace names its loss; a function has no formula."""
    net = classifier()
    with pytest.raises(pynn.PynnTypeError, match="trace needs the name of a loss"):
        net.trace(normal(2, 5), [0, 1], lambda s, t: (s, s))
