"""The layers, each alone: forward and backward against double, their random numbers, their copies."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import reference
from helpers import ACTIVATIONS, bits, net_of, normal, pickled
from reference import contract

import pynn

EXTREME = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 0.5, -0.5, 20, -20, 88, -88, 104, -104, 1e4, -1e4, 3e38, -3e38],
    "f4",
)


# ---- the worked step, by hand -----------------------------------------------------------------------------


def test_worked_step_by_layers():
    """x=3 through s=1x+1, relu, 2a-5 against t=1: every number of the blackboard, exactly."""
    first, relu, second = pynn.Dense(1, 1), pynn.ReLU(), pynn.Dense(1, 1)
    first.weight, first.bias, second.weight, second.bias = [[1]], [1], [[2]], [-5]
    s = first.forward([[3]])
    a = relu.forward(s)
    y = second.forward(a)
    assert (s.item(), a.item(), y.item()) == (4, 4, 3)
    loss, dy = pynn.loss_and_grad(y, [[1]], "squared_error")
    assert (loss, dy.item()) == (4, 4)
    da = second.backward(dy)
    assert (second.dbias.item(), second.dweight.item(), da.item()) == (4, 16, 8)
    ds = relu.backward(da)
    dx = first.backward(ds)
    assert (ds.item(), first.dweight.item(), first.dbias.item(), dx.item()) == (8, 24, 8, 8)


# ---- activations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_against_double(kind):
    """Values and slopes within 2e-6 relative, and 1e-7 absolute, of double; huge scores do no harm."""
    s = np.concatenate([np.linspace(-30, 30, 4001, dtype="f4"), EXTREME])
    layer = ACTIVATIONS[kind]()
    a = layer.forward(s)
    ds = layer.backward(np.ones_like(s))
    with np.errstate(all="ignore"):
        expected, slope = reference.activation(layer, s)
    np.testing.assert_allclose(a, expected, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(ds, slope, rtol=2e-6, atol=1e-6)
    assert np.isfinite(a).all()
    assert np.isfinite(ds).all()


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_backward_is_the_derivative(kind):
    """The slope is that of central differences, within 1e-3 where the step is in float32."""
    s = np.linspace(-3, 3, 61, dtype="f4") + np.float32(0.02)
    layer, h = ACTIVATIONS[kind](), np.float32(1 / 256)
    difference = (layer.forward(s + h).astype(float) - layer.forward(s - h)) / (2 / 256)
    layer.forward(s)
    np.testing.assert_allclose(layer.backward(np.ones_like(s)), difference, atol=1e-3)


def test_backward_scales_with_the_gradient():
    """Each slope is multiplied by the gradient that comes in."""
    s, da = normal(4, 5), normal(4, 5, seed=1)
    for kind, make in ACTIVATIONS.items():
        layer = make()
        layer.forward(s)
        expected = reference.activation(layer, s)[1] * da
        np.testing.assert_allclose(layer.backward(da), expected, rtol=1e-5, atol=1e-6, err_msg=kind)


def test_relu_at_zero():
    """The indicator is 0 at s = 0, for both zeros, and the activation is +0."""
    relu = pynn.ReLU()
    a = relu.forward(np.array([0.0, -0.0, -1.0], "f4"))
    assert bits(a) == bits(np.zeros(3, "f4"))
    assert bits(relu.backward(np.ones(3))) == bits(np.zeros(3, "f4"))


def test_odd_functions_are_odd():
    """tanh(-s) is -tanh(s) in every bit."""
    s = np.concatenate([normal(1000), EXTREME])
    assert bits(pynn.Tanh().forward(-s)) == bits(-pynn.Tanh().forward(s))


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4), (1, 1, 1, 33)])
def test_activation_takes_any_shape(shape):
    """Elementwise layers keep the shape, and each element has the bits it has alone."""
    s = normal(*shape)
    for make in ACTIVATIONS.values():
        layer = make()
        a = layer.forward(s)
        assert a.shape == shape
        assert layer.backward(s).shape == shape
        alone = [make().forward(np.array([value])) for value in s.flat]
        assert bits(a) == bits(np.array(alone).reshape(shape))


# ---- softmax ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 15, 16, 17, 40, 300])
def test_softmax_against_double(width):
    """Probabilities within 2e-6 relative, and the way back within 1e-6, of double."""
    s, dh = 5 * normal(6, width), normal(6, width, seed=1)
    layer = pynn.Softmax()
    h = layer.forward(s)
    expected = reference.softmax(s.astype(float))
    np.testing.assert_allclose(h, expected, rtol=2e-6, atol=1e-30)
    np.testing.assert_allclose(h.sum(axis=1, dtype=float), 1, atol=1e-6)
    back = expected * (dh - (dh * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(layer.backward(dh), back, atol=2e-6)


def test_softmax_of_huge_scores():
    """The row maximum is subtracted: no overflow, and a shift changes nothing."""
    h = pynn.Softmax().forward([[1e30, 0, -1e30], [3e38, 3e38, -3e38]])
    assert np.array_equal(h, np.array([[1, 0, 0], [0.5, 0.5, 0]], "f4"))
    s = np.round(normal(4, 5) * 16)
    assert bits(pynn.Softmax().forward(s)) == bits(pynn.Softmax().forward(s + 64))


# ---- dense ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (2, 3, 4), (5, 17, 9), (64, 33, 31), (3, 257, 2), (300, 5, 8), (7, 600, 65)]
)
def test_dense_against_double(sizes):
    """s, dx, dW and db within 2e-6 of the sum of the absolute products."""
    rows, inputs, outputs = sizes
    x, ds = normal(rows, inputs), normal(rows, outputs, seed=1)
    dense = pynn.Dense(inputs, outputs, seed=3)
    dense.bias = normal(outputs, seed=2)
    w, b = dense.weight.astype(float), dense.bias.astype(float)
    s, dx = dense.forward(x), dense.backward(ds)
    for found, expected, size in (
        (s, x @ w + b, abs(x) @ abs(w) + abs(b)),
        (dx, ds @ w.T, abs(ds) @ abs(w.T)),
        (dense.dweight, x.T.astype(float) @ ds, abs(x.T) @ abs(ds)),
        (dense.dbias, ds.sum(axis=0, dtype=float), abs(ds).sum(axis=0)),
    ):
        assert found.shape == expected.shape
        assert (np.abs(found - expected) <= 2e-6 * size).all()


@pytest.mark.parametrize("inputs", [1, 2, 3, 255, 256, 257, 300])
def test_dense_sums_in_the_order_of_the_contract(inputs):
    """A score is a chain of fma from the bias, in blocks of 256, in every bit."""
    x, dense = normal(2, inputs), pynn.Dense(inputs, 3, seed=1)
    dense.bias = [0.5, -2, 0]
    expected = dense.bias * np.ones((2, 1), "f4")
    for first in range(0, inputs, 256):
        chain = expected if first == 0 else np.zeros((2, 3), "f4")
        for k in range(first, min(first + 256, inputs)):
            chain = contract.fma(x[:, k, None], dense.weight[k], chain)
        expected = chain if first == 0 else expected + chain
    assert bits(dense.forward(x)) == bits(expected)


def test_dense_overwrites_gradients():
    """A second backward replaces the first."""
    dense = pynn.Dense(3, 2)
    for _ in range(2):
        dense.forward(normal(4, 3))
        dense.backward(normal(4, 2))
    once = pynn.Dense(3, 2)
    once.forward(normal(4, 3))
    once.backward(normal(4, 2))
    assert bits(dense.dweight) == bits(once.dweight)
    assert bits(dense.dbias) == bits(once.dbias)


@pytest.mark.parametrize(
    ("init", "deviation", "largest"),
    [
        ("he_normal", np.sqrt(2 / 300), np.inf),
        ("he_uniform", np.sqrt(2 / 300), np.sqrt(6 / 300)),
        ("glorot_normal", np.sqrt(2 / 500), np.inf),
        ("glorot_uniform", np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("auto", np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("zeros", 0, 0),
    ],
)
def test_initial_values(init, deviation, largest):
    """60,000 weights have the mean 0 and the deviation that their name promises within 2 %; biases are 0."""
    dense = pynn.Dense(300, 200, init=init)
    weight = dense.weight.astype(float)
    assert abs(weight.mean()) <= 0.02 * deviation
    assert abs(weight.std() - deviation) <= 0.02 * deviation
    assert np.abs(weight).max() <= largest * (1 + 1e-6)
    if init.endswith("normal"):
        assert 0.6 < np.mean(np.abs(weight) < deviation) < 0.76
        assert np.abs(weight).max() > 3.5 * deviation
    assert not dense.bias.any()


def test_seeds_of_a_layer():
    """The same seed gives the same values, another gives others; unseeded alone is seed 0."""
    assert bits(pynn.Dense(3, 4, seed=5).weight) == bits(pynn.Dense(3, 4, seed=5).weight)
    assert bits(pynn.Dense(3, 4, seed=5).weight) != bits(pynn.Dense(3, 4, seed=6).weight)
    assert bits(pynn.Dense(3, 4).weight) == bits(pynn.Dense(3, 4, seed=0).weight)
    assert bits(pynn.Dense(3, 4, seed=2**64 - 1).weight) != bits(pynn.Dense(3, 4, seed=2**32 - 1).weight)


def test_auto_init_follows_the_next_layer():
    """In a net, auto is He before the rectifiers and Glorot uniform elsewhere."""
    he = {"relu", "leaky_relu", "softplus", "gelu", "silu"}
    for kind, make in ACTIVATIONS.items():
        found = net_of(pynn.Dense(20, 30), make(), seed=4).layers[0].weight
        init = "he_normal" if kind in he else "glorot_uniform"
        named = net_of(pynn.Dense(20, 30, init=init), make(), seed=4).layers[0].weight
        assert bits(found) == bits(named), kind


def test_weight_is_a_view():
    """weight and bias can be changed in place, and assigned with a copy."""
    dense, values = pynn.Dense(2, 2), np.ones((2, 2), "f4")
    dense.weight = values
    values[:] = 7
    assert dense.weight.tolist() == [[1, 1], [1, 1]]
    dense.weight[0, 1] = 5
    dense.bias += 1
    assert dense.forward([[1, 0]]).tolist() == [[2, 6]]


# ---- dropout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0, 0.1, 0.25, 0.5, 0.9])
def test_dropout_share_and_scale(p):
    """A share p of the values becomes 0, within 5 deviations; the rest is scaled by 1 / (1 - p)."""
    layer, x = pynn.Dropout(p, seed=3), np.ones((400, 250), "f4")
    y = layer.forward(x, training=True)
    threshold = np.floor(65536 * p + 0.5)
    kept = np.float32(65536 / (65536 - threshold))
    assert set(np.unique(y)) <= {np.float32(0), kept}
    assert abs(np.mean(y == 0) - p) <= 5 * np.sqrt(p * (1 - p) / x.size)
    assert bits(layer.backward(x)) == bits(y)


def test_dropout_masks():
    """A mask depends on seed and number of the forward, not on the values; without training nothing drops."""
    x = np.ones((8, 40), "f4")
    one, same, other = pynn.Dropout(0.5, seed=1), pynn.Dropout(0.5, seed=1), pynn.Dropout(0.5, seed=2)
    first = one.forward(x, training=True)
    second = one.forward(x, training=True)
    assert bits(first) != bits(second)
    assert bits(same.forward(2 * x, training=True)) == bits(2 * first)
    assert bits(same.forward(x)) == bits(x)
    assert bits(same.backward(x)) == bits(x)
    assert bits(same.forward(x, training=True)) == bits(second)
    assert bits(other.forward(x, training=True)) != bits(first)
    assert len(np.unique(first, axis=0)) == 8


def test_dropout_rows_have_masks_of_their_own():
    """The mask of a row does not depend on how many rows the batch has."""
    tall, short = (pynn.Dropout(0.3, seed=1).forward(np.ones((n, 37)), training=True) for n in (9, 4))
    assert bits(tall[:4]) == bits(short)


# ---- what all have in common ------------------------------------------------------------------------------


def every_layer():
    """One of each, for rows of 5."""
    return [*(make() for make in ACTIVATIONS.values()), pynn.Softmax(), pynn.Dropout(0.25), pynn.Dense(5, 5)]


@pytest.mark.parametrize("index", range(len(every_layer())))
def test_layer_contract(index):
    """Backward needs a forward; outputs are new float32; inputs stay; copies are equal and apart."""
    layer = every_layer()[index]
    with pytest.raises(pynn.PynnRuntimeError, match="backward needs a forward before it"):
        layer.backward(np.ones((3, 5)))
    x, da = normal(3, 5), normal(3, 5, seed=1)
    before = bits(x), bits(da)
    a, dx = layer.forward(x), layer.backward(da)
    assert a.dtype == dx.dtype == np.float32
    assert not any(np.shares_memory(p, q) for p in (a, dx) for q in (x, da))
    assert not np.shares_memory(a, dx)
    assert (bits(x), bits(da)) == before
    assert bits(layer.backward(da)) == bits(dx)
    for wrong in ((3, 4), (2, 5), (15,)):
        with pytest.raises(pynn.PynnValueError, match="da must have the shape"):
            layer.backward(np.ones(wrong))
    for twin in (pickled(layer), copy.copy(layer), copy.deepcopy(layer)):
        assert repr(twin) == repr(layer)
        assert bits(twin.forward(x)) == bits(a)
        assert bits(twin.backward(da)) == bits(dx)
        if isinstance(layer, pynn.Dense):
            twin.weight[:] = 0
            assert layer.weight.any()


def test_repr_makes_the_layer():
    """repr is the call that makes the layer."""
    for layer in (*every_layer(), pynn.Dense(2, 3, init="zeros", seed=4), pynn.Dropout(0.5, seed=7)):
        again = eval(repr(layer), vars(pynn))
        assert type(again) is type(layer)
        assert repr(again) == repr(layer)


def test_layers_sum_every_path():
    """A value used twice gets both gradients: the layer's dx is linear in da."""
    dense = pynn.Dense(4, 6, seed=1)
    dense.forward(normal(3, 4))
    one, two = np.round(normal(3, 6) * 8), np.round(normal(3, 6, seed=1) * 8)
    dense.weight = np.round(dense.weight * 8)
    assert np.array_equal(dense.backward(one) + dense.backward(two), dense.backward(one + two))
