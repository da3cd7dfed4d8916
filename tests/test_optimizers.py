"""Optimizers: recipes, and steps that equal the contract's float32 in every bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from helpers import OPTIMIZERS, bits, net_of, normal, snapshot, trained_state
from reference import contract

import pynn

MORE = {
    **OPTIMIZERS,
    "sgd_l2": pynn.SGD(0.1, weight_decay=0.3),
    "momentum_l2": pynn.SGD(0.1, momentum=0.5, weight_decay=0.3),
    "adam_other": pynn.Adam(0.03, beta1=0.5, beta2=0.9, epsilon=1e-3),
    "adam_no_moment": pynn.Adam(0.01, beta1=0.0, beta2=0.0),
}


@pytest.mark.parametrize("clip", [None, 0.3, 1e6])
@pytest.mark.parametrize("name", MORE)
def test_update_is_the_contract(name, clip):
    """Six updates with given gradients equal the rules, computed with exact fractions, in every bit."""
    optimizer, net = MORE[name], net_of(pynn.Dense(3, 4), pynn.Tanh(), pynn.Dense(4, 2))
    decays = ~reference.biases(net)
    w, moments = net.params.copy(), [np.zeros(net.params.size, "f4") for _ in range(2)]
    powers = [1.0, 1.0]
    for k in range(6):
        g = normal(w.size, seed=k) * np.float32(10.0 ** (k - 3))
        g[k] = 0
        net.grads = g
        net.update(optimizer, clip_norm=clip)
        w = contract.step(optimizer, w, g, moments, powers, decays, clip or 0.0)
        assert bits(net.params) == bits(w), f"step {k}"
    assert net.steps_done == 6


def test_plain_sgd_is_one_line_of_numpy():
    """w -= float32(lr) * g gives the bits."""
    net = net_of(pynn.Dense(7, 9))
    w = net.params.copy()
    for k in range(5):
        net.grads = normal(w.size, seed=k)
        net.update(pynn.SGD(0.03))
        w -= np.float32(0.03) * normal(w.size, seed=k)
    assert bits(net.params) == bits(w)


def test_biases_do_not_decay():
    """With gradients of 0, weights shrink and biases stay."""
    for optimizer in (
        pynn.SGD(0.1, weight_decay=0.5),
        pynn.AdamW(0.1, weight_decay=0.5),
        pynn.Adam(weight_decay=0.5),
    ):
        net = net_of(pynn.Dense(3, 4))
        net.params = np.ones(16)
        net.grads = np.zeros(16)
        net.update(optimizer)
        assert (net.layers[0].weight < 1).all()
        assert (net.layers[0].bias == 1).all()


def test_clipping_keeps_the_direction():
    """A long gradient becomes as long as the limit, a short one is left as it is, in bits."""
    for size, clip in ((10.0, 1.0), (0.01, 1.0)):
        net = net_of(pynn.Dense(60, 100))
        before, g = net.params.astype(float), normal(6100) * np.float32(size)
        net.grads = g
        net.update(pynn.SGD(1.0), clip_norm=clip)
        moved = before - net.params
        norm = np.linalg.norm(g.astype(float))
        assert np.linalg.norm(moved) == pytest.approx(min(norm, clip), rel=1e-5)
        np.testing.assert_allclose(moved, g * min(1, clip / norm), atol=1e-6)
        assert bits(net.grads) == bits(g)


def test_learning_rate_zero_changes_nothing():
    """A rate of 0 leaves the parameters, and counts the step."""
    for optimizer in (pynn.SGD(0), pynn.SGD(0, momentum=0.9), pynn.Adam(0), pynn.AdamW(0)):
        net = net_of(pynn.Dense(3, 4))
        before = bits(net.params)
        net.grads = normal(16)
        net.update(optimizer)
        assert bits(net.params) == before
        assert net.steps_done == 1


def test_recipes_are_immutable():
    """An optimizer is a frozen dataclass: equal by value, usable as a key, positional as documented."""
    assert pynn.SGD(0.1, 0.9, True, 1e-4) == pynn.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    assert pynn.Adam(1e-3) == pynn.Adam() != pynn.AdamW(1e-3, weight_decay=0.0)
    assert len({pynn.Adam(), pynn.Adam(), pynn.SGD()}) == 2
    assert type(pynn.SGD(np.float32(0.5)).learning_rate) is float
    assert pynn.SGD(1).learning_rate == 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        pynn.Adam().learning_rate = 1
    assert dataclasses.replace(pynn.Adam(), learning_rate=0.5) == pynn.Adam(0.5)
    assert eval(repr(pynn.AdamW(0.5)), vars(pynn)) == pynn.AdamW(0.5)


def test_names_stand_for_defaults():
    """ "adam" is Adam(), and so on."""
    for name, recipe in (("sgd", pynn.SGD()), ("adam", pynn.Adam()), ("adamw", pynn.AdamW())):
        nets = [net_of(pynn.Dense(3, 4)) for _ in range(2)]
        for net, optimizer in zip(nets, (name, recipe), strict=True):
            net.grads = normal(16)
            net.update(optimizer)
        assert snapshot(nets[0]) == snapshot(nets[1])


def test_optimizers_share_nothing():
    """Two nets trained with one recipe, in turn, go their own ways."""
    recipe = pynn.Adam(0.1)
    nets = [net_of(pynn.Dense(3, 4), seed=s) for s in (1, 1, 2)]
    for k in range(3):
        for net in nets:
            net.grads = normal(16, seed=k)
            net.update(recipe)
    assert trained_state(nets[0]) == trained_state(nets[1])
    assert bits(nets[0].params) != bits(nets[2].params)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pynn.SGD(0.1, momentum=0.9), pynn.Adam(0.1)),
        (pynn.Adam(0.1), pynn.AdamW(0.1)),
        (pynn.AdamW(0.1), pynn.SGD(0.1, momentum=0.9)),
        (pynn.Adam(0.1), pynn.SGD(0.1)),
    ],
)
def test_another_kind_starts_its_moments_afresh(first, second):
    """Two steps of one kind after two of another are those of a new net with the parameters of then."""
    net, fresh = net_of(pynn.Dense(3, 4)), net_of(pynn.Dense(3, 4))
    for k in range(2):
        net.grads = normal(16, seed=k)
        net.update(first)
    fresh.params = net.params
    for k in range(2):
        for one in (net, fresh):
            one.grads = normal(16, seed=k + 2)
            one.update(second)
    assert bits(net.params) == bits(fresh.params)
    assert net.steps_done == 4


def test_the_same_kind_goes_on():
    """Another rate of the same kind keeps the moments: the second step is twice as long at twice the rate."""
    moved = []
    for rate in (0.1, 0.2):
        net = net_of(pynn.Dense(3, 4))
        net.grads = normal(16)
        net.update(pynn.Adam(0.1))
        before = net.params.astype(float)
        net.grads = normal(16, seed=1)
        net.update(pynn.Adam(rate))
        moved.append(net.params - before)
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", [pynn.SGD(3e38), pynn.SGD(3e38, momentum=0.9), pynn.Adam(3e38)])
def test_update_that_diverges_is_undone(optimizer):
    """Parameters beyond float32 raise DivergedError; parameters and count are those before."""
    net = net_of(pynn.Dense(3, 4), pynn.ReLU(), pynn.Dense(4, 2))
    before = bits(net.params), net.steps_done
    grads = np.zeros(26, "f4")
    grads[20] = 10
    net.params[20] = -3e38
    before = bits(net.params), net.steps_done
    net.grads = grads
    with pytest.raises(pynn.DivergedError, match="in step 0: the gradient") as caught:
        net.update(optimizer)
    assert (caught.value.step, caught.value.quantity) == (0, "gradient")
    assert (bits(net.params), net.steps_done) == before
