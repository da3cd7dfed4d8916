"""The net: construction, views, predictions, passes, copies, threads, processes."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import reference
from helpers import (
    ACTIVATIONS,
    LOSSES,
    bits,
    classifier,
    labels,
    net_of,
    normal,
    pickled,
    run_python,
    snapshot,
    trained_state,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pynn
from pynn._store import READING

FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def every_kind(inputs=7, outputs=3, width=19, last=pynn.Softmax, seed=0):
    """A net of all elementwise layers, with dropout, and a last layer."""
    layers = [pynn.Dense(inputs, width)]
    for make in ACTIVATIONS.values():
        layers += [make(), pynn.Dropout(0.2), pynn.Dense(width, width)]
    return net_of(*layers, pynn.Dense(width, outputs), *([last()] if last else []), seed=seed)


# ---- construction -----------------------------------------------------------------------------------------


def test_what_a_net_is():
    """Sizes, indexing and length."""
    net = classifier(5, 7, 3)
    assert (net.inputs, net.outputs, len(net), net.seed) == (5, 3, 4, 0)
    assert (net.epochs_done, net.steps_done) == (0, 0)
    assert isinstance(net[0], pynn.Dense)
    assert net[-1] is net.layers[3]
    assert net.params.shape == net.grads.shape == (5 * 7 + 7 + 7 * 3 + 3,)
    assert net.params.dtype == net.grads.dtype == np.float32
    assert not net.grads.any()


def test_params_are_flat_and_in_order():
    """Layer by layer, weight row-major and then bias, without gaps."""
    net = classifier(2, 3, 4)
    net.params = np.arange(25)
    assert net[0].weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert net[0].bias.tolist() == [6, 7, 8]
    assert net[2].weight.tolist() == [[9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]]
    assert net[2].bias.tolist() == [21, 22, 23, 24]


def test_repr_makes_the_net():
    """repr is the call that makes an equal net."""
    net = classifier(dropout=0.5, seed=3)
    again = eval(repr(net), vars(pynn))
    assert repr(again) == repr(net)
    assert bits(again.params) == bits(net.params)


def test_summary():
    """The summary names every layer, its output and its parameters, and the sum."""
    text = classifier(5, 7, 3, dropout=0.5).summary().split("\n")
    assert len(text) == 1 + 5 + 1
    assert text[1].split() == ["0", "Dense(5,", "7)", "(B,", "7)", "42"]
    assert text[3].split() == ["2", "Dropout(0.5)", "(B,", "7)", "0"]
    assert text[4].split() == ["3", "Dense(7,", "3)", "(B,", "3)", "24"]
    assert text[-1] == "66 parameters, seed 0, 0 epochs, 0 steps done"


def test_dense_neighbours_warn():
    """Two dense layers with nothing between raise a warning at the caller's line."""
    for between in ([], [pynn.Identity()]):
        with pytest.warns(UserWarning, match="are dense with nothing between.*folded") as caught:
            pynn.Sequential(pynn.Dense(2, 3), *between, pynn.Dense(3, 4))
        assert caught[0].filename == __file__


def test_folded_keeps_assigned_values():
    """Values that were set are kept when layers are copied, even those that the layer would have drawn."""
    with pytest.warns(UserWarning, match="one linear map"):
        net = pynn.Sequential(
            pynn.Dense(2, 8), pynn.Identity(), pynn.Dense(8, 8), pynn.ReLU(), pynn.Dense(8, 1)
        )
    net.layers[0].weight = pynn.Dense(2, 8).weight
    x = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    np.testing.assert_allclose(net.folded().predict(x), net.predict(x), rtol=1e-4, atol=1e-5)
    plain = pynn.Sequential(pynn.Dense(2, 8), pynn.ReLU(), pynn.Dense(8, 1))
    plain.layers[0].weight = pynn.Dense(2, 8).weight
    np.testing.assert_array_equal(plain.folded().predict(x), plain.predict(x))


@pytest.mark.parametrize("between", [0, 1])
def test_folded(between):
    """The folded net is the same function within 1e-5, smaller, of its own memory, without a warning."""
    gap = [pynn.Identity() for _ in range(between)]
    net = net_of(
        pynn.Dense(5, 4), *gap, pynn.Dense(4, 6), pynn.Dense(6, 3), pynn.ReLU(), pynn.Dense(3, 2), seed=3
    )
    net.params = normal(net.params.size)
    small, x = net.folded(), normal(20, 5)
    assert [repr(layer) for layer in small.layers] == ["Dense(5, 3)", "ReLU()", "Dense(3, 2)"]
    np.testing.assert_allclose(small.predict(x), net.predict(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(small[0].weight, net[0].weight @ net[-4].weight @ net[-3].weight, atol=1e-5)
    before = bits(net.params)
    small.params[:] = 0
    assert bits(net.params) == before
    assert small.seed == 3
    plain = classifier()
    assert bits(plain.folded().params) == bits(plain.params)


def test_seeds():
    """Equal seeds give equal nets; the default is 0; None draws one and keeps it."""
    assert bits(classifier(seed=7).params) == bits(classifier(seed=7).params)
    assert bits(classifier(seed=7).params) != bits(classifier(seed=8).params)
    assert bits(net_of(pynn.Dense(3, 4)).params) == bits(pynn.Sequential(pynn.Dense(3, 4)).params)
    drawn = [pynn.Sequential(pynn.Dense(3, 4), seed=None) for _ in range(2)]
    assert drawn[0].seed != drawn[1].seed
    assert bits(pynn.Sequential(pynn.Dense(3, 4), seed=drawn[0].seed).params) == bits(drawn[0].params)
    twins = net_of(pynn.Dense(3, 3), pynn.Tanh(), pynn.Dense(3, 3))
    assert bits(twins[0].weight) != bits(twins[2].weight)


def test_reset():
    """reset starts over as if the net were new, with its own seed or another."""
    x, t = normal(10, 5), labels(10, 3)
    net = classifier(dropout=0.2, seed=5)
    new = trained_state(net)
    net.fit(x, t, epochs=3, batch_size=4)
    first = trained_state(net)
    net.reset()
    assert bits(net.params) == new["params"]
    assert (net.epochs_done, net.steps_done, net.grads.any()) == (0, 0, False)
    net.fit(x, t, epochs=3, batch_size=4)
    assert trained_state(net) == first
    net.reset(seed=6)
    assert net.seed == 6
    assert bits(net.params) == bits(classifier(dropout=0.2, seed=6).params)
    seeded = pynn.Sequential(pynn.Dense(3, 4, seed=9))
    values = bits(seeded.params)
    seeded.params[:] = 0
    seeded.reset(seed=1)
    assert bits(seeded.params) == values


# ---- adoption and views -----------------------------------------------------------------------------------


def test_adoption_keeps_values():
    """A dense with values keeps them, one with a seed draws its own, others draw from the net."""
    given_, touched = pynn.Dense(2, 3), pynn.Dense(4, 2)
    given_.weight = np.arange(6).reshape(2, 3)
    touched.weight[0, 0] = 7
    drawn = bits(touched.weight)
    net = net_of(
        given_,
        pynn.ReLU(),
        pynn.Dense(3, 4, seed=8),
        pynn.ReLU(),
        touched,
        pynn.ReLU(),
        pynn.Dense(2, 2),
        seed=3,
    )
    assert net.params[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert bits(net[2].weight) == bits(pynn.Dense(3, 4, seed=8).weight)
    assert bits(touched.weight) == drawn
    unseeded = [
        layer for pair in zip((2, 3, 4), (3, 4, 2), strict=True) for layer in (pynn.Dense(*pair), pynn.ReLU())
    ]
    same = net_of(*unseeded, pynn.Dense(2, 2), seed=3)
    assert bits(net[6].weight) == bits(same[6].weight)


def layer_views(net):
    """Whether weights, biases and their gradients are live views of the flat arrays."""
    for layer in net.layers:
        if layer.kind == "dense":
            assert np.shares_memory(layer.weight, net.params)
            assert np.shares_memory(layer.bias, net.params)
            assert np.shares_memory(layer.dweight, net.grads)
            assert np.shares_memory(layer.dbias, net.grads)
            layer.weight[0, 0] = 12.5
            assert 12.5 in net.params
            net.params[:] = -3
            assert (layer.weight == -3).all()
            assert (layer.bias == -3).all()


def test_views_after_adoption_pickle_and_copies():
    """Layers of a net, of its copies by pickle, copy and deepcopy, see their own net's arrays only."""
    net = classifier()
    net.fit(normal(6, 5), labels(6, 3), epochs=1)
    for twin in (pickled(net), copy.copy(net), copy.deepcopy(net), net):
        assert twin is net or not np.shares_memory(twin.params, net.params)
        kept = twin.params.copy()
        layer_views(twin)
        twin.params = kept
        assert bits(net.params) == bits(kept)


def test_assigning_params_copies():
    """params, grads and weights take values, not arrays."""
    net, values = classifier(), normal(66)
    net.params = values
    net.grads = values
    values[:] = 0
    assert net.params.any()
    assert net.grads.any()
    view = net.params
    view[3] = 77
    assert net.params[3] == 77


@pytest.mark.parametrize("duplicate", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("optimizer", [pynn.SGD(0.1, momentum=0.9), pynn.Adam(0.1), pynn.AdamW(0.01)])
def test_copies_train_on_without_crosstalk(duplicate, optimizer):
    """A copy made in the middle goes on with the same bits, and neither disturbs the other."""
    x, t = normal(20, 5), labels(20, 3)
    settings_ = {"epochs": 2, "batch_size": 6, "optimizer": optimizer}
    net = classifier(dropout=0.3)
    net.fit(x, t, **settings_)
    twin = duplicate(net)
    assert trained_state(twin) == trained_state(net)
    assert repr(twin) == repr(net)
    before = snapshot(net)
    twin.fit(x, t, **settings_)
    assert snapshot(net) == before
    net.fit(x, t, **settings_)
    assert trained_state(twin) == trained_state(net)


def test_pickle_is_small_and_plain():
    """A pickle holds the numbers and little else."""
    net = classifier(50, 60, 10)
    assert len(pickle.dumps(net)) < net.params.nbytes + 2000


# ---- prediction -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [pynn.Softmax, pynn.Sigmoid, None])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 3, 19), (5, 17, 33), (64, 10, 100), (300, 2, 9)])
def test_row_of_a_batch_equals_row_alone(sizes, last):
    """Row i of predict and of scores has the bits of that row alone, for all kinds of layers."""
    inputs, outputs, width = sizes
    net, x = every_kind(inputs, outputs, width, last), normal(71, inputs)
    y, s = net.predict(x), net.scores(x)
    for i in range(0, 71, 5):
        assert bits(net.predict(x[i : i + 1])) == bits(y[i : i + 1])
        assert bits(net.scores(x[i : i + 1])) == bits(s[i : i + 1])
    for n in (2, 3, 8, 15, 64):
        assert bits(net.predict(x[:n])) == bits(y[:n])
    assert bits(net.predict(x[::-1])) == bits(y[::-1].copy())
    assert bits(net.predict(np.asfortranarray(x))) == bits(y)


def test_many_rows_are_cut_invisibly():
    """Row counts beyond the size of one call into C give the bits of single rows."""
    net, x = net_of(pynn.Dense(300, 300), pynn.ReLU(), pynn.Dense(300, 1)), normal(1200, 300)
    y = net.predict(x)
    for i in (0, 551, 552, 553, 554, 555, 556, 1199):
        assert bits(net.predict(x[i : i + 1])) == bits(y[i : i + 1])


def test_row_that_overflows_is_alone():
    """A row whose scores go beyond float32 comes out as NaN; no other row changes a bit."""
    net, x = classifier(5, 40, 3), normal(37, 5)
    net.params *= np.float32(4)
    expected = net.predict(x)
    x[11] = 3e38
    found = net.predict(x)
    assert np.isnan(found[11]).all()
    assert bits(np.delete(found, 11, axis=0)) == bits(np.delete(expected, 11, axis=0))


def test_scores_are_what_comes_before_the_last_layer():
    """Softmax or Sigmoid of the scores are the outputs; other nets have no scores apart."""
    x = normal(9, 7)
    for last in (pynn.Softmax, pynn.Sigmoid):
        net = every_kind(last=last)
        assert bits(last().forward(net.scores(x))) == bits(net.predict(x))
    net = every_kind(last=None)
    assert bits(net.scores(x)) == bits(net.predict(x))


def test_predict_is_forward():
    """predict, forward, and the layers one by one give the same bits, and do not drop out."""
    for last in (pynn.Softmax, pynn.Sigmoid, None):
        net, x = every_kind(last=last), normal(9, 7)
        values = x
        for layer in net.layers:
            values = layer.forward(values)
        assert bits(net.predict(x)) == bits(values)
        assert bits(net.forward(x)) == bits(values)
        np.testing.assert_allclose(values, reference.forward(net, x)[-1], rtol=1e-4, atol=1e-5)


def test_backward_equals_the_layers():
    """A net's backward gives the bits of the layers one by one, with dropout too."""
    for training in (False, True):
        net, by_hand = (every_kind(last=pynn.Tanh, seed=2) for _ in range(2))
        x, dy = normal(9, 7), normal(9, 3)
        y, values, d = net.forward(x, training=training), x, dy
        dx = net.backward(dy)
        for layer in by_hand.layers:
            values = layer.forward(values, training=training)
        for layer in reversed(by_hand.layers):
            d = layer.backward(d)
        assert bits(y) == bits(values)
        assert bits(dx) == bits(d)
        assert bits(net.grads) == bits(by_hand.grads)
    assert bits(net.forward(x)) != bits(y)


def test_backward_once_for_each_forward():
    """backward without forward, or twice, is a RuntimeError."""
    net = classifier()
    with pytest.raises(pynn.PynnRuntimeError, match="needs a forward before it"):
        net.backward(np.ones((2, 3)))
    net.forward(normal(2, 5))
    net.backward(np.ones((2, 3)))
    with pytest.raises(pynn.PynnRuntimeError, match="needs a forward before it"):
        net.backward(np.ones((2, 3)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", LOSSES)
def test_loss_and_grad_against_double(kind, activation):
    """Loss within 1e-5, gradient within 1e-5 in norm, of double, weighted too; grads is what is returned."""
    last = {"cross_entropy": [pynn.Softmax()], "binary_cross_entropy": [pynn.Sigmoid()]}.get(kind, [])
    act = ACTIVATIONS[activation]
    net = net_of(pynn.Dense(6, 17), act(), pynn.Dense(17, 9), act(), pynn.Dense(9, 4), *last, seed=1)
    x, t = normal(21, 6), np.abs(normal(21, 4, seed=1)) % 1
    t = t / t.sum(axis=1, keepdims=True)
    for weights in (None, np.abs(normal(21, seed=2))):
        loss, grads = net.loss_and_grad(x, t, kind, sample_weight=weights)
        expected, gradient = reference.loss_and_grad(net, x, t, kind, weights)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert np.linalg.norm(grads - gradient) <= 1e-5 * np.linalg.norm(gradient)
        assert np.shares_memory(grads, net.grads)
        assert loss == net.evaluate(x, t, loss=kind, sample_weight=weights)["loss"]


def test_loss_follows_from_the_last_layer():
    """Softmax: cross-entropy; Sigmoid: binary cross-entropy; else mean squared error."""
    x, t = normal(8, 5), np.eye(3)[labels(8, 3)]
    for last, kind in ((pynn.Softmax, LOSSES[3]), (pynn.Sigmoid, LOSSES[4]), (pynn.Tanh, LOSSES[2])):
        net = net_of(pynn.Dense(5, 3), last())
        assert net.evaluate(x, t) == net.evaluate(x, t, loss=kind)
        assert net.loss_and_grad(x, t)[0] == net.loss_and_grad(x, t, kind)[0]
        for other in LOSSES[3:]:
            if other != kind:
                with pytest.raises(pynn.PynnValueError, match="needs a last layer"):
                    net.evaluate(x, t, loss=other)


@st.composite
def problems(draw):
    """A random net, with a batch and targets for one of the losses."""
    widths = draw(st.lists(st.integers(1, 40), min_size=2, max_size=5))
    names = draw(st.lists(st.sampled_from(list(ACTIVATIONS)), min_size=len(widths), max_size=len(widths)))
    kind = draw(st.sampled_from(LOSSES))
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(pynn.Dense(inputs, outputs))
        if i < len(widths) - 2 or not kind.endswith("entropy"):
            layers.append(ACTIVATIONS[names[i]]())
    layers += {"cross_entropy": [pynn.Softmax()], "binary_cross_entropy": [pynn.Sigmoid()]}.get(kind, [])
    net = net_of(*layers, seed=draw(st.integers(0, 2**64 - 1)))
    rows, seed = draw(st.integers(1, 70)), draw(st.integers(0, 1000))
    x, t = normal(rows, widths[0], seed=seed), np.abs(normal(rows, widths[-1], seed=seed + 1)) % 1 + 0.01
    weights = np.abs(normal(rows, seed=seed)) + 0.01 if draw(st.booleans()) else None
    return net, x, t / t.sum(axis=1, keepdims=True), kind, weights


@FEW
@given(problems())
def test_random_nets_against_double(problem):
    """Nets of any shape: outputs, loss and gradient as in double; shapes as documented; a fit runs."""
    net, x, t, kind, weights = problem
    y = net.predict(x)
    assert y.shape == (len(x), net.outputs)
    np.testing.assert_allclose(y, reference.forward(net, x)[-1], rtol=1e-4, atol=2e-5)
    loss, grads = net.loss_and_grad(x, t, kind, sample_weight=weights)
    expected, gradient = reference.loss_and_grad(net, x, t, kind, weights)
    assert grads.shape == net.params.shape
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
    smooth = not any(layer.kind in ("relu", "leaky_relu") for layer in net.layers)
    limit = 1e-4 if smooth else 1e-2  # a score that rounds across 0 moves a gradient by more
    assert np.linalg.norm(grads - gradient) <= limit * np.linalg.norm(gradient) + 1e-5
    net.fit(x, t, loss=kind, sample_weight=weights, epochs=1, batch_size=7)
    assert np.isfinite(net.params).all()


# ---- predictor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2048, 2049, 5000])
def test_a_row_alone_is_for_predictors(width):
    """predict wants rows, however wide they are; a predictor of one row takes it as it is."""
    net, x = net_of(pynn.Dense(width, 3)), normal(1, width)
    expected = net.predict(x)
    with pytest.raises(ValueError, match=rf"x must have the shape \(rows, {width}\), not \({width},\)"):
        net.predict(x[0])
    assert bits(net.predictor()(x[0])) == bits(expected[0])


def test_rows_of_another_dtype_object():
    """Arrays that were pickled have a float32 that equals numpy's and is not it."""
    net, x = classifier(), pickle.loads(pickle.dumps(normal(3, 5)))
    p = net.predictor()
    assert x.dtype is not np.dtype("f4")
    assert bits(net.predict(x)) == bits(net.predict(x.tolist()))
    assert bits(p(x[0])) == bits(net.predict(x)[0])


def test_buffers_of_a_predictor_keep_their_size():
    """C reads p.x and writes p.y as long as the predictor lives."""
    p = classifier().predictor()
    for buffer in (p.x, p.y):
        with pytest.raises(ValueError, match="resize"):
            buffer.resize((2, 50))


@pytest.mark.parametrize("n", [1, 2, 3, 585, 586, 1000])
def test_few_rows_take_a_short_way(n):
    """predict gives the bits of its rows in any batch, for arrays that it can copy at once and for others."""
    net, x = every_kind(), normal(1000, 7)
    expected = net.predict(x)[:n]
    rows = x[:n].copy()
    for _ in range(2):
        assert bits(net.predict(rows)) == bits(expected)
        assert bits(net.predict(rows.astype("f8"))) == bits(expected)
        assert bits(net.predict(np.asfortranarray(rows))) == bits(expected)
        assert bits(net.predict(np.repeat(rows, 2, axis=0)[::2])) == bits(expected)
        assert bits(net.predict(rows.tolist())) == bits(expected)
    assert np.array_equal(rows, x[:n])
    for bad in (np.nan, np.inf, -np.inf):
        rows[n // 2, 3] = bad
        with pytest.raises(ValueError, match=rf"x holds {bad} at row {n // 2}, column 3"):
            net.predict(rows)
    rows[n // 2, 3] = x[n // 2, 3]
    net.params *= 2
    assert bits(net.predict(rows)) == bits(net.predict(x)[:n])
    with pytest.raises(ValueError, match=r"x must have the shape \(rows, 7\), not \(7,\)"):
        net.predict(rows[0])


def test_predictor_serves_a_snapshot():
    """A predictor gives the bits of predict as of when it was made, whatever the net does since."""
    net, x = every_kind(), normal(8, 7)
    expected, one, four = net.predict(x), net.predictor(), net.predictor(batch=4)
    net.params[:] = 0
    assert bits(one(x[2])) == bits(expected[2])
    assert bits(one(x[2:3])) == bits(expected[2:3])
    assert bits(one(x[2].tolist())) == bits(expected[2])
    assert bits(one(x[2].astype("f8"))) == bits(expected[2])
    assert bits(four(x[:4])) == bits(expected[:4])
    assert one.x.shape == (1, 7)
    assert four.y.shape == (4, 3)
    one.x[:] = x[5]
    assert one() is one.y
    assert bits(one.y) == bits(expected[5:6])


def test_predictor_returns_new_arrays():
    """p(row) is not overwritten by the next call; p() is; bad rows leave the predictor usable."""
    net, x = classifier(), normal(3, 5)
    p = net.predictor()
    first, second = p(x[0]), p(x[1])
    assert bits(first) == bits(net.predict(x)[0])
    assert bits(second) == bits(net.predict(x)[1])
    for bad in (
        np.ones(4),
        np.ones((2, 5)),
        np.full(5, np.nan),
        [1, 2, 3, 4, np.inf],
        "abcde",
        np.ones(5, "c8"),
    ):
        with pytest.raises(pynn.PynnError, match="row"):
            p(bad)
    assert bits(p(x[0])) == bits(first)


# ---- threads and processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 60, 400])
def test_two_threads_predict_on_one_net(n):
    """Threads that predict rows of their own at the same time get the bits that one gets."""
    net, x = every_kind(64, 10, 50), normal(4 * n, 64).reshape(4, n, 64)
    expected, found, start = [bits(net.predict(rows)) for rows in x], [], threading.Barrier(4)

    def serve(i):
        start.wait(30)
        for _ in range(30):
            found.append(bits(net.predict(x[i])) == expected[i])

    threads = [threading.Thread(target=serve, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 120


def test_net_in_training_is_busy():
    """While fit runs, another thread is refused, its predictor serves, and the fit has its usual bits."""
    x, t = normal(2000, 64), labels(2000, 10)
    net, quiet = (classifier(64, 64, 10) for _ in range(2))
    expected, serve = bits(net.predict(x[:1])), net.predictor()
    began, go = threading.Event(), threading.Event()

    class Hold:
        def on_fit_begin(self, run):
            began.set()

        def on_epoch_end(self, run):
            return go.is_set()

    failures = []

    def train():
        try:
            net.fit(x, t, epochs=10**6, callbacks=[Hold()])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert began.wait(30)
        time.sleep(0.05)
        uses = [
            lambda: net.predict(x),
            lambda: net.scores(x),
            lambda: net.evaluate(x, t),
            lambda: net.fit(x, t),
            lambda: net.train_step(x, t),
            lambda: net.loss_and_grad(x, t),
            lambda: net.forward(x),
            lambda: net.update("sgd"),
            net.reset,
            net.predictor,
            lambda: net.trace(x, t),
            lambda: net.params,
            lambda: net.grads,
            lambda: net[0].weight,
            lambda: net[0].forward(x),
            lambda: setattr(net, "params", np.zeros(net.params.size)),
            lambda: copy.deepcopy(net),
            lambda: pickled(net),
        ]
        for use in uses:
            with pytest.raises(pynn.BusyError, match="another thread is training this net"):
                use()
        assert bits(serve(x[:1])) == expected
        assert isinstance(net.summary(), str)
    finally:
        go.set()
        thread.join(60)
    assert not failures
    assert not thread.is_alive()
    quiet.fit(x, t, epochs=net.epochs_done)
    assert trained_state(quiet) == trained_state(net)


def test_training_waits_for_no_reader():
    """A net that another thread reads cannot be trained in the same moment, and can afterwards."""
    net = classifier()
    inside, leave = threading.Event(), threading.Event()

    def read():
        claim = threading.get_ident(), READING
        net._guard.append(claim)
        inside.set()
        leave.wait(30)
        net._guard.remove(claim)

    thread = threading.Thread(target=read)
    thread.start()
    assert inside.wait(30)
    before = snapshot(net)
    with pytest.raises(pynn.BusyError, match="another thread is using this net"):
        net.fit(normal(6, 5), labels(6, 3), epochs=1)
    assert snapshot(net) == before
    net.predict(normal(2, 5))
    leave.set()
    thread.join(30)
    net.fit(normal(6, 5), labels(6, 3), epochs=1)


FORK = """
import os, sys, time, threading
import numpy as np, pynn

rng = np.random.default_rng(0)
x, t = rng.normal(size=(300, 20)).astype("f4"), rng.integers(0, 3, 300)
net = pynn.Sequential(pynn.Dense(20, 30), pynn.ReLU(), pynn.Dense(30, 3), pynn.Softmax())
net.fit(x, t, epochs=2)
net.predict(x)

def finish():
    return net.fit(x, t, epochs=2)["loss"], net.params.tobytes(), net.predict(x).tobytes()

child = os.fork()
if child == 0:
    try:
        result = finish()
        os._exit(7 if np.isfinite(result[0]).all() else 8)
    finally:
        os._exit(9)
expected = finish()
until = time.monotonic() + 30
while time.monotonic() < until:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        break
    time.sleep(0.01)
else:
    os.kill(child, 9)
    sys.exit("the child hangs")
assert os.waitstatus_to_exitcode(status) == 7, status

read, write = os.pipe()
twin = pynn.Sequential(pynn.Dense(20, 30), pynn.ReLU(), pynn.Dense(30, 3), pynn.Softmax())
twin.fit(x, t, epochs=2)
net = twin
if os.fork() == 0:
    os.write(write, finish()[1][:4096])
    os._exit(0)
os.wait()
print(os.read(read, 4096) == expected[1][:4096])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_use(tmp_path):
    """A child made by fork after training predicts and trains, with the parent's bits."""
    assert run_python(FORK, tmp_path) == "True\n"
