"""Calls into C: which instruction set computes, and that a choice reaches the nets that there are."""

from __future__ import annotations

import gc

import pytest
from helpers import bits, classifier, labels, net_of, normal, pickled, trained_state

import pynn
from pynn import _library, _structs

X, T = normal(40, 5), labels(40, 3)


def test_instruction_sets(instruction_sets):
    """Scalar is always there; a choice holds; one that is missing leaves the choice as it was."""
    assert "scalar" in instruction_sets
    for name in instruction_sets:
        assert pynn.instruction_set(name) == name
        assert pynn.instruction_set() == name
    for name in set(_library.ISAS) - set(instruction_sets):
        with pytest.raises(RuntimeError, match=name):
            pynn.instruction_set(name)
        assert pynn.instruction_set() == instruction_sets[-1]


def content(plan):
    """The bytes of a plan, among which are pointers to its kernels."""
    memory = plan._memory.c
    return bytes(_library.ffi.buffer(memory.start, memory.bytes))


def test_a_choice_reaches_plans_that_were_made_before(instruction_sets):
    """Plans of C keep their instruction set; those of Python are made again, in their place."""
    if len(instruction_sets) == 1:
        pytest.skip("this build or machine has but one instruction set")
    pynn.instruction_set("scalar")
    net = classifier()
    plans = net._plan, net.predictor()._bound._alive[0]
    places, before = [plan.c for plan in plans], [content(plan) for plan in plans]
    pynn.instruction_set("scalar")
    assert [content(plan) for plan in plans] == before
    for name in instruction_sets:
        pynn.instruction_set(name)
        for plan, place, scalar in zip(plans, places, before, strict=True):
            assert plan.c == place
            assert (content(plan) == scalar) == (name == "scalar"), name


def test_a_choice_changes_no_result(instruction_sets):
    """Before, between and during all that a net does; also between a forward pass and its backward pass."""
    wide, expected = normal(300, 300), None
    for choices in (instruction_sets[-1:], instruction_sets):

        def choose(k, choices=choices):
            pynn.instruction_set(choices[k % len(choices)])

        class Choose:
            def on_epoch_end(self, run):
                choose(run.epoch)

        choose(0)
        net, other = classifier(hidden=80, dropout=0.25), net_of(pynn.Dense(300, 200), pynn.GELU())
        p, found = net.predictor(), []
        for k in range(len(instruction_sets)):
            other.forward(wide)
            choose(k + 1)
            found += [bits(other.backward(wide[:, :200])), bits(other.grads)]
            found += [bits(net.predict(X)), bits(p(X[0])), bits(pickled(p)(X[0]))]
        history = net.fit(X, T, epochs=6, batch_size=7, callbacks=[Choose()], validation_data=(X, T))
        found += [trained_state(net), dict(history), bits(net.predict(X))]
        expected = expected or found
        assert found == expected


def test_a_choice_keeps_no_net_alive(instruction_sets):
    """Plans are known for the choice only as long as somebody has them."""
    gc.collect()
    before = len(_structs._PLANS)
    net = classifier()
    p = net.predictor()
    assert len(_structs._PLANS) == before + 2
    del net
    gc.collect()
    assert len(_structs._PLANS) == before + 1
    pynn.instruction_set(instruction_sets[0])
    assert p(X[0]).shape == (3,)
    del p
    gc.collect()
    assert len(_structs._PLANS) == before
