"""The structs that Python keeps for C: what they hold, and how long it lives."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import bits, classifier, labels, normal

import pynn
from pynn import _library, _structs

X, T = normal(40, 5), labels(40, 3)


def test_a_plan_belongs_to_its_parameters():
    """A net sees what is written to its parameters; a predictor has its own."""
    net = classifier()
    p = net.predictor()
    before = bits(p(X[0]))
    net.layers[0].weight[:] = 0
    assert bits(net.predict(X[:1])[0]) != before
    assert bits(p(X[0])) == before


def test_training_memory_outlives_its_replacement():
    """A callback that needs more memory than the steps of its fit leaves them theirs, as `make asan` sees."""
    x, t = normal(500, 5), labels(500, 3)

    class Gradient:
        def on_epoch_end(self, run):
            run.net.loss_and_grad(x, t)

    net, plain = classifier(), classifier()
    net.fit(X, T, epochs=5, batch_size=4, callbacks=[Gradient()])
    plain.fit(X, T, epochs=5, batch_size=4)
    assert bits(net.params) == bits(plain.params)


def test_the_trainer_of_a_net():
    """Where training stands, as C keeps it."""
    trainer = _structs.Trainer()
    assert trainer.get() == (0, 1.0, 1.0)
    trainer.set(5, 0.5, 0.25)
    trainer.restart()
    assert trainer.get() == (5, 1.0, 1.0)
    assert np.isnan(trainer.mean_loss)
    trainer.add(3.0, 2.0)
    trainer.add(1.0, 2.0)
    assert trainer.mean_loss == 1
    trainer.clear()
    assert np.isnan(trainer.mean_loss)


def test_size_of_refuses_as_c_does():
    """A size that cannot be had is the exception of its status."""
    net = _structs.Net([{"kind": _library.LAYERS["dense"], "inputs": 2, "outputs": 3}])
    assert net.offset(0) == 0
    with pytest.raises(pynn.PynnValueError, match=r"\(layer\)"):
        net.offset(1)
