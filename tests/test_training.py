"""Training: fit against loops by hand, against itself, in every instruction set; divergence; Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import reference
from helpers import (
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    bits,
    classifier,
    digest,
    environment,
    labels,
    net_of,
    normal,
    pickled,
    snapshot,
    trained_state,
)

import pynn
from pynn import _calls

GOLDEN = Path(__file__).parent / "data" / "golden.json"
LAST = {"cross_entropy": [pynn.Softmax], "binary_cross_entropy": [pynn.Sigmoid]}


def problem(kind, rows=23, inputs=5, outputs=3):
    """Inputs and targets of (rows, outputs) that every loss takes."""
    x, t = normal(rows, inputs), np.abs(normal(rows, outputs, seed=1)) % 1 + 0.05
    return x, (t / t.sum(axis=1, keepdims=True)).astype("f4")


def make(kind, activation="tanh", dropout=0.0, seed=0, width=9):
    """A net for a loss."""
    drop = [pynn.Dropout(dropout)] if dropout else []
    last = [cls() for cls in LAST.get(kind, [])]
    return net_of(
        pynn.Dense(5, width), ACTIVATIONS[activation](), *drop, pynn.Dense(width, 3), *last, seed=seed
    )


# ---- fit is the loop that one would write -----------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fit_equals_a_loop_over_layers(activation, kind):
    """fit with SGD has the bits of layers, numpy's w -= lr * dw, and pynn.batches; weighted too."""
    x, t = problem(kind)
    for weights in (None, np.abs(normal(23, seed=4))):
        net = make(kind, activation, seed=6)
        by_hand = [*make(kind, activation, seed=6).layers]
        if kind.endswith("entropy"):
            del by_hand[-1]
        history = net.fit(
            x, t, epochs=3, batch_size=7, optimizer=pynn.SGD(0.1), loss=kind, sample_weight=weights
        )
        lr, losses = 0.1, []
        for epoch in range(3):
            total = weight = 0.0
            for rows in pynn.batches(23, 7, seed=6, epoch=epoch):
                values = x[rows]
                for layer in by_hand:
                    values = layer.forward(values)
                some = None if weights is None else weights[rows]
                loss, d = pynn.loss_and_grad(values, t[rows], kind, some)
                for layer in reversed(by_hand):
                    d = layer.backward(d)
                for dense in (by_hand[0], by_hand[2]):
                    dense.weight -= np.float32(lr) * dense.dweight
                    dense.bias -= np.float32(lr) * dense.dbias
                share = len(rows) if some is None else some.sum(dtype=float)
                total, weight = total + share * loss, weight + share
            losses.append(total / weight)
        assert bits(net[0].weight) == bits(by_hand[0].weight)
        assert bits(net[0].bias) == bits(by_hand[0].bias)
        assert bits(net[2].weight) == bits(by_hand[2].weight)
        assert bits(net[2].bias) == bits(by_hand[2].bias)
        assert history["loss"] == pytest.approx(losses, rel=1e-12)


def test_fit_equals_a_loop_with_labels_and_wide_layers():
    """The same for labels, and for batches and layers beyond one block of 256."""
    x, t = normal(700, 300), labels(700, 11)
    nets = [net_of(pynn.Dense(300, 270), pynn.ReLU(), pynn.Dense(270, 11), pynn.Softmax()) for _ in range(2)]
    nets[0].fit(x, t, epochs=1, batch_size=300, optimizer=pynn.SGD(0.05))
    first, relu, second, _ = nets[1].layers
    for rows in pynn.batches(700, 300):
        scores = second.forward(relu.forward(first.forward(x[rows])))
        d = pynn.loss_and_grad(scores, t[rows], "cross_entropy")[1]
        first.backward(relu.backward(second.backward(d)))
        nets[1].params -= np.float32(0.05) * nets[1].grads
    assert bits(nets[0].params) == bits(nets[1].params)


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", LOSSES)
def test_fit_equals_steps(kind, optimizer, clip):
    """fit, train_step, and loss_and_grad with update, are the same in bits: dropout, weights, clipping."""
    x, t = problem(kind)
    weights, recipe = np.abs(normal(23, seed=4)), OPTIMIZERS[optimizer]
    fit, step, update = (make(kind, "relu", dropout=0.3, seed=2) for _ in range(3))
    fit.fit(x, t, epochs=3, batch_size=7, optimizer=recipe, loss=kind, sample_weight=weights, clip_norm=clip)
    for epoch in range(3):
        for rows in pynn.batches(23, 7, seed=2, epoch=epoch):
            batch = {"loss": kind, "sample_weight": weights[rows]}
            one = step.train_step(x[rows], t[rows], optimizer=recipe, clip_norm=clip, **batch)
            other, _ = update.loss_and_grad(x[rows], t[rows], training=True, **batch)
            update.update(recipe, clip_norm=clip)
            assert one == other
    expected = trained_state(fit) | {"epochs_done": 0}
    assert trained_state(step) == expected
    assert trained_state(update) == expected
    assert fit.steps_done == 12


def test_dropout_by_hand():
    """A Dropout alone with the seed of the net gives the masks of the net's first dropout."""
    x, t = normal(20, 5), labels(20, 3)
    net, lone = classifier(dropout=0.4, seed=9), classifier(seed=9)
    drop = pynn.Dropout(0.4, seed=9)
    net.fit(x, t, epochs=4, batch_size=6, optimizer=pynn.SGD(0.1))
    first, relu, second, _ = lone.layers
    for epoch in range(4):
        for rows in pynn.batches(20, 6, seed=9, epoch=epoch):
            a = drop.forward(relu.forward(first.forward(x[rows])), training=True)
            d = pynn.loss_and_grad(second.forward(a), t[rows], "cross_entropy")[1]
            first.backward(relu.backward(drop.backward(second.backward(d))))
            lone.params -= np.float32(0.1) * lone.grads
    assert bits(net.params) == bits(lone.params)


def test_worked_step_by_net():
    """The step of the blackboard by loss_and_grad, and its update, exactly."""
    net = net_of(pynn.Dense(1, 1), pynn.ReLU(), pynn.Dense(1, 1))
    net.params = [1, 1, 2, -5]
    assert net.predict([[3]]).item() == 3
    loss, grads = net.loss_and_grad([[3]], [[1]], "squared_error")
    assert (loss, grads.tolist()) == (4, [24, 8, 16, 4])
    net.update(pynn.SGD(0.125))
    assert net.params.tolist() == [-2, 0, 0, -5.5]
    other = net_of(pynn.Dense(1, 1), pynn.ReLU(), pynn.Dense(1, 1))
    other.params = [1, 1, 2, -5]
    assert other.train_step([[3]], [[1]], loss="squared_error", optimizer=pynn.SGD(0.125)) == 4
    assert other.params.tolist() == [-2, 0, 0, -5.5]


# ---- fit goes on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fit_twice_is_fit_once(optimizer):
    """fit(10) twice is fit(20) in every bit, with dropout, weights and clipping, by way of a pickle too."""
    x, t, weights = normal(31, 5), labels(31, 3), np.abs(normal(31, seed=4))
    settings = {
        "batch_size": 8, "optimizer": OPTIMIZERS[optimizer], "sample_weight": weights, "clip_norm": 0.3,
        "validation_data": (x[:5], t[:5]), "metrics": "accuracy",
    }  # fmt: skip
    once, twice = (classifier(dropout=0.3, seed=4) for _ in range(2))
    whole = once.fit(x, t, epochs=20, **settings)
    first = twice.fit(x, t, epochs=10, **settings)
    stored = pickled(twice)
    for net in (twice, stored):
        second = net.fit(x, t, epochs=10, **settings)
        assert trained_state(net) == trained_state(once)
        assert {key: first[key] + second[key] for key in first} == dict(whole)
    assert (once.epochs_done, once.steps_done) == (20, 80)


def test_what_fit_takes_as_given():
    """Adam(1e-3), batches of min(200, n), and the loss of the last layer are the defaults."""
    for n in (50, 450):
        x, t = normal(n, 5), labels(n, 3)
        nets = [classifier() for _ in range(2)]
        nets[0].fit(x, t)
        nets[1].fit(
            x, t, epochs=10, optimizer=pynn.Adam(1e-3), batch_size=min(200, n), loss="cross_entropy", seed=0
        )
        assert trained_state(nets[0]) == trained_state(nets[1])
        assert nets[0].steps_done == 10 * -(-n // 200)
    whole = [classifier() for _ in range(2)]
    for net, size in zip(whole, (50, 10**6), strict=True):
        net.fit(x[:50], t[:50], batch_size=size)
    assert trained_state(whole[0]) == trained_state(whole[1])


def test_seed_and_shuffle():
    """The seed of fit moves the order only; shuffle=False takes the rows as they stand."""
    x, t = normal(30, 5), labels(30, 3)
    plain, seeded, again, still, by_hand = (classifier() for _ in range(5))
    plain.fit(x, t, epochs=2, batch_size=8)
    seeded.fit(x, t, epochs=2, batch_size=8, seed=5)
    again.fit(x, t, epochs=2, batch_size=8, seed=5)
    assert bits(plain.params) != bits(seeded.params) == bits(again.params)
    assert seeded.seed == 0
    still.fit(x, t, epochs=1, batch_size=8, shuffle=False)
    for first in range(0, 30, 8):
        by_hand.train_step(x[first : first + 8], t[first : first + 8])
    assert bits(still.params) == bits(by_hand.params)


def test_inputs_of_fit_stay():
    """fit reads arrays of any layout, changes none, and gives the same bits for each."""
    x, t = normal(30, 5), labels(30, 3)
    weights = np.abs(normal(30, seed=2))
    wide = np.zeros((30, 8), "f4")
    wide[:, 1:6] = x
    results = set()
    for given in (x, wide[:, 1:6], np.asfortranarray(x), x.astype("f8"), x.astype(">f4"), x.tolist()):
        for targets in (t, t.astype("i8"), t.astype("f4"), np.eye(3, dtype="f4")[t], np.eye(3, 5)[t, :3]):
            net, before = classifier(), (bits(np.array(given)), bits(targets), bits(weights))
            net.fit(given, targets, epochs=2, batch_size=7, sample_weight=weights)
            assert (bits(np.array(given)), bits(targets), bits(weights)) == before
            results.add(bits(net.params))
    assert len(results) == 1


@pytest.mark.parametrize("kind", LOSSES)
def test_labels_rows_and_repetition(kind):
    """One full batch: whole-number weights train as repeated rows do, within 1e-5."""
    x, t = problem(kind)
    weights = np.random.default_rng(0).integers(0, 4, 23)
    repeated = np.repeat(np.arange(23), weights)
    nets = [make(kind) for _ in range(2)]
    nets[0].fit(x, t, epochs=20, loss=kind, sample_weight=weights, optimizer=pynn.SGD(0.1))
    nets[1].fit(x[repeated], t[repeated], epochs=20, loss=kind, optimizer=pynn.SGD(0.1))
    np.testing.assert_allclose(nets[0].params, nets[1].params, atol=1e-5)
    assert nets[0].evaluate(x, t, loss=kind, sample_weight=weights)["loss"] == pytest.approx(
        nets[1].evaluate(x[repeated], t[repeated], loss=kind)["loss"], rel=1e-4
    )


def test_batch_without_weight_is_skipped():
    """A batch whose weights are all 0 makes no step and does not count."""
    x, t = normal(12, 5), labels(12, 3)
    weights = np.repeat([1.0, 0.0, 2.0], 4)
    settings = {"epochs": 3, "batch_size": 4, "shuffle": False}
    skipping, short = classifier(), classifier()
    one = skipping.fit(x, t, sample_weight=weights, **settings)
    kept = weights > 0
    two = short.fit(x[kept], t[kept], sample_weight=weights[kept], **settings)
    assert trained_state(skipping) == trained_state(short)
    assert skipping.steps_done == 6
    assert one["loss"] == two["loss"]


# ---- history, validation, metrics -------------------------------------------------------------------------


def test_history():
    """Keys, lengths and values of the history; metrics and validation are those of evaluate."""
    x, t, xv, tv = normal(40, 5), labels(40, 3), normal(15, 5, seed=5), labels(15, 3, seed=5)

    def rows_right(targets, outputs):
        return np.sum(np.argmax(outputs, axis=1) == targets)

    net, measured, trained = classifier(), [], []
    metrics = ["accuracy", "mean_squared_error", "mean_absolute_error", rows_right]

    class Measure:
        def on_epoch_end(self, run):
            trained.append(run.net.evaluate(x, t, metrics=metrics))
            measured.append(run.net.evaluate(xv, tv, metrics=metrics, sample_weight=wv))

    for wv in (None, np.arange(15.0)):
        measured.clear()
        trained.clear()
        validation = (xv, tv) if wv is None else (xv, tv, wv)
        history = net.fit(
            x, t, epochs=4, batch_size=16, metrics=metrics, validation_data=validation, callbacks=[Measure()]
        )
        names = ["loss", "accuracy", "mean_squared_error", "mean_absolute_error", "rows_right"]
        assert list(history) == names + [f"val_{name}" for name in names]
        assert len(history) == 10
        assert history.stop_reason is None
        for name in names:
            assert all(type(value) is float for value in history[name])
            assert history[f"val_{name}"] == [m[name] for m in measured]
            if name != "loss":
                assert history[name] == [m[name] for m in trained]
        assert history["rows_right"] == pytest.approx([40 * a for a in history["accuracy"]])
    assert list(net.fit(x, t, epochs=1)) == ["loss"]
    assert list(net.fit(x, t, epochs=1, metrics="accuracy")) == ["loss", "accuracy"]


def test_evaluate_against_numpy():
    """Loss and metrics of evaluate follow from predict."""
    net, x, t = classifier(), normal(40, 5), labels(40, 3)
    h = net.predict(x).astype(float)
    found = net.evaluate(x, t, metrics=["accuracy", "mean_squared_error"])
    assert found["loss"] == pytest.approx(-np.mean(np.log(h[np.arange(40), t])), rel=1e-6)
    assert found["accuracy"] == np.mean(h.argmax(axis=1) == t)
    assert found["mean_squared_error"] == pytest.approx(np.mean((h - np.eye(3)[t]) ** 2), rel=1e-6)
    binary, tb = net_of(pynn.Dense(5, 2), pynn.Sigmoid()), (normal(40, 2) > 0) * 1.0
    found = binary.evaluate(x, tb, metrics="accuracy")
    assert found["accuracy"] == np.mean((binary.predict(x) >= 0.5) == tb)
    single, ts = net_of(pynn.Dense(5, 1), pynn.Sigmoid()), (normal(40) > 0) * 1.0
    assert single.evaluate(x, ts, metrics="accuracy")["accuracy"] == np.mean(
        (single.predict(x)[:, 0] >= 0.5) == ts
    )


def test_history_loss_is_the_mean_over_rows():
    """The loss of an epoch is the weighted mean over its rows, each as it was before its step."""
    x, t, weights = normal(25, 5), labels(25, 3), np.abs(normal(25, seed=4)) + 0.1
    net, by_hand = classifier(), classifier()
    history = net.fit(x, t, epochs=1, batch_size=8, sample_weight=weights)
    total = 0.0
    for rows in pynn.batches(25, 8):
        loss = by_hand.train_step(x[rows], t[rows], sample_weight=weights[rows])
        total += loss * weights[rows].sum(dtype=float)
    assert history["loss"] == pytest.approx([total / weights.sum(dtype=float)], rel=1e-7)


def test_progress(capfd):
    """verbose=1 writes a line for each epoch to stderr that is no terminal; 0 and None write nothing."""
    net, x, t = classifier(), normal(20, 5), labels(20, 3)
    net.fit(x, t, epochs=2)
    net.fit(x, t, epochs=2, verbose=0)
    assert capfd.readouterr() == ("", "")
    net.fit(x, t, epochs=2, verbose=1, metrics="accuracy", validation_data=(x, t))
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss ")
    assert "val_accuracy" in lines[1]


# ---- callable losses --------------------------------------------------------------------------------------


def half_squares(scores, t):
    """The half squared error of rows."""
    return 0.5 * np.sum((scores - t) ** 2, axis=1), scores - t


def entropy_of_labels(scores, t):
    """The cross-entropy of labels."""
    h = pynn.Softmax().forward(scores)
    each = -np.log(h[np.arange(len(t)), t])
    h[np.arange(len(t)), t] -= 1
    return each, h


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_callable_loss_equals_the_built_in(optimizer):
    """A loss in Python that computes the same floats trains to the same bits, weights and dropout too."""
    x, weights = normal(30, 5), np.abs(normal(30, seed=3))
    for kind, function, t, last in (
        ("half_squared_error", half_squares, normal(30, 3), []),
        ("cross_entropy", entropy_of_labels, labels(30, 3), [pynn.Softmax]),
    ):
        nets = []
        for loss in (kind, function):
            net = net_of(
                pynn.Dense(5, 9), pynn.Tanh(), pynn.Dropout(0.2), pynn.Dense(9, 3), *(c() for c in last)
            )
            history = net.fit(
                x, t, epochs=3, batch_size=7, loss=loss, optimizer=OPTIMIZERS[optimizer], clip_norm=0.5,
                sample_weight=weights, validation_data=(x, t),
            )  # fmt: skip
            nets.append((net, history))
        assert trained_state(nets[0][0]) == trained_state(nets[1][0])
        assert nets[0][1]["loss"] == pytest.approx(nets[1][1]["loss"], rel=1e-6)
        assert nets[0][1]["val_loss"] == pytest.approx(nets[1][1]["val_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, t: 1.0, "must return two arrays"),
        (lambda s, t: (s, s, s), "must return two arrays"),
        (lambda s, t: (s[:, 0], s[:1]), r"dscores must have the shape \(6, 3\), not \(1, 3\)"),
        (lambda s, t: (s, s), r"the loss of each row must have the shape \(6,\), not \(6, 3\)"),
        (lambda s, t: (0.0, s), r"the loss of each row must have the shape \(6,\), not \(\)"),
        (lambda s, t: (s[:, 0], s.astype("c8")), "dscores must hold real numbers"),
        (lambda s, t: (s[:, 0] * np.nan, s), "the loss is NaN or infinite"),
        (lambda s, t: (s[:, 0], s * np.nan), "the gradient is NaN or infinite"),
        (lambda s, t: (s[:, 0], s.astype("f8") * 1e60), "the gradient is NaN or infinite"),
        (lambda s, t: 1 // 0, "division"),
    ],
)
def test_bad_callable_loss(answer, message):
    """What a callable loss must not return is refused; its own errors pass; the net stays usable."""
    net, x, t = classifier(), normal(6, 5), labels(6, 3)
    net.fit(x, t, epochs=1)
    before = trained_state(net)
    with pytest.raises((pynn.PynnError, ZeroDivisionError), match=message) as caught:
        net.fit(x, t, loss=answer)
    after = trained_state(net)
    if not isinstance(caught.value, pynn.DivergedError):
        assert after == before
    assert after["params"] == before["params"]
    net.fit(x, t, epochs=1)


def test_callable_loss_may_keep_its_scores():
    """Scores are a copy: writing into them, or predicting meanwhile, changes nothing."""
    x, t = normal(12, 5), normal(12, 3)
    nets = [net_of(pynn.Dense(5, 3)) for _ in range(2)]

    def rude(scores, targets):
        answer = half_squares(scores.copy(), targets)
        scores[:] = np.nan
        nets[1].predict(x)
        return answer

    nets[0].fit(x, t, loss=half_squares, epochs=3, batch_size=5)
    nets[1].fit(x, t, loss=rude, epochs=3, batch_size=5)
    assert trained_state(nets[0]) == trained_state(nets[1])
    first, second = (
        net.evaluate(x, t, loss=loss, metrics="mean_squared_error")
        for net, loss in zip(nets, (half_squares, rude), strict=True)
    )
    assert first == second


# ---- the same bits everywhere -----------------------------------------------------------------------------


def exact(rows, columns, step):
    """Numbers from -1 to 1 that are the same on every machine."""
    i, j = np.arange(rows)[:, None], np.arange(columns)
    return (((i * 7919 + j * 104729 + i * j * step) % 1009) / 504.5 - 1).astype("f4")


def wide_net(seed=1):
    """Every kind of layer, in odd widths."""
    layers = [pynn.Dense(13, 21)]
    for i, make_one in enumerate(ACTIVATIONS.values()):
        layers += [make_one(), pynn.Dense(21 + i, 22 + i)]
    return net_of(*layers, pynn.Dropout(0.1), pynn.Dense(29, 5), pynn.Softmax(), seed=seed)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_instruction_set_gives_equal_bits(instruction_sets, optimizer):
    """500 steps have the same bits in scalar and in every vector instruction set of this machine."""
    x, t = exact(170, 13, 3), np.arange(170) % 5
    found = {}
    for name in instruction_sets:
        pynn.instruction_set(name)
        net = wide_net()
        history = net.fit(
            x,
            t,
            epochs=50,
            batch_size=17,
            optimizer=OPTIMIZERS[optimizer],
            clip_norm=2,
            validation_data=(x, t),
        )
        assert net.steps_done == 500
        found[name] = trained_state(net), bits(net.predict(x)), dict(history)
    assert all(result == found["scalar"] for result in found.values())


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_and_width_in_every_instruction_set(instruction_sets, kind):
    """Losses, gradients and predictions of odd shapes have the same bits in every instruction set."""
    for rows, inputs, width, outputs in ((1, 1, 1, 1), (2, 3, 17, 2), (19, 33, 40, 16), (70, 257, 31, 19)):
        t = np.abs(exact(rows, outputs, 5)) + 0.01
        t, found = t / t.sum(axis=1, keepdims=True), []
        for name in instruction_sets:
            pynn.instruction_set(name)
            last = [cls() for cls in LAST.get(kind, [])]
            net = net_of(pynn.Dense(inputs, width), pynn.GELU(), pynn.Dense(width, outputs), *last)
            x = exact(rows, inputs, 7)
            loss, grads = net.loss_and_grad(x, t, kind)
            found.append((loss, bits(grads), bits(net.predict(x)), bits(net.scores(x))))
        assert all(result == found[0] for result in found)


def golden_runs():
    """Digests of the parameters, moments, predictions and losses of some fits, by name."""
    runs = {}
    x, t = exact(97, 13, 3), np.arange(97) % 5
    for name, optimizer in OPTIMIZERS.items():
        net = wide_net()
        history = net.fit(x, t, epochs=10, batch_size=16, optimizer=optimizer, clip_norm=2)
        moments = net.__getstate__()["moments"]
        runs[f"optimizer {name}"] = digest(net.params, moments, net.predict(x), history["loss"])
    rows = np.abs(exact(97, 3, 5)) + np.float32(0.125)
    for kind in LOSSES:
        for activation in ACTIVATIONS:
            net, targets = make(kind, activation, dropout=0.25, seed=2**40 + 7), rows
            if kind == "cross_entropy":
                doubles = rows.astype(float)
                sums = doubles[:, 0] + doubles[:, 1] + doubles[:, 2]
                targets = (doubles / sums[:, None]).astype("f4")
            elif kind == "binary_cross_entropy":
                targets = np.minimum(rows, 1)
            history = net.fit(
                x[:, :5], targets, epochs=5, batch_size=32, loss=kind, sample_weight=1 + np.arange(97) % 4
            )
            runs[f"{kind} {activation}"] = digest(net.params, net.predict(x[:, :5]), history["loss"])
    for init in ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform"):
        runs[f"init {init}"] = digest(pynn.Dense(50, 41, init=init, seed=3).weight)
    runs["permutation"] = digest(np.concatenate(list(pynn.batches(1000, 64, seed=5, epoch=7))).astype("i8"))
    return runs


def test_golden_digests(request):
    """Fits have the digests that are stored, on every machine.

    After a change of the arithmetic contract, and only then: pytest tests/test_training.py --regenerate
    """
    runs = golden_runs()
    if request.config.getoption("--regenerate"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(runs, indent=1) + "\n", "utf-8")
    stored = json.loads(GOLDEN.read_text("utf-8"))
    assert runs == stored
    assert len(set(runs.values())) == len(runs)


# ---- divergence -------------------------------------------------------------------------------------------


def test_divergence_goes_back_to_the_last_epoch():
    """DivergedError tells step, layer and quantity; parameters and counts are those of the epoch before."""
    x, t = normal(40, 5), normal(40, 3)
    net, calm = make("squared_error"), make("squared_error")
    calm.fit(x, t, loss="squared_error", epochs=3, batch_size=8, optimizer=pynn.SGD(0.01))
    schedule = pynn.LearningRate(lambda step: 1e38 if step == 17 else 0.01, per="step")
    with pytest.raises(
        pynn.DivergedError, match=r"diverged in step 1[78]: .* smaller learning rate"
    ) as caught:
        net.fit(
            x, t, loss="squared_error", epochs=9, batch_size=8, optimizer=pynn.SGD(0.01), callbacks=[schedule]
        )
    assert caught.value.step in (17, 18)
    assert caught.value.quantity in ("loss", "gradient")
    assert isinstance(caught.value, ArithmeticError)
    assert trained_state(net) == trained_state(calm)
    for one in (net, calm):
        one.fit(x, t, loss="squared_error", epochs=2, batch_size=8, optimizer=pynn.SGD(0.01))
    assert trained_state(net) == trained_state(calm)


@pytest.mark.parametrize(
    "optimizer", [pynn.SGD(1e10), pynn.SGD(1e10, momentum=0.9), pynn.Adam(1e20), pynn.AdamW(1e20)]
)
def test_divergence_from_the_start(optimizer):
    """An absurd learning rate raises; parameters are finite and those before; training can go on."""
    x, t = normal(400, 5), normal(400, 3)
    net = make("mean_squared_error", "relu")
    before = bits(net.params)
    with pytest.raises(pynn.DivergedError) as caught:
        net.fit(x, t, optimizer=optimizer, epochs=50, batch_size=8)
    assert 0 <= caught.value.step < 50
    assert (bits(net.params), net.epochs_done, net.steps_done) == (before, 0, 0)
    assert not net.__getstate__()["moments"].any()
    history = net.fit(x, t, epochs=5)
    assert np.isfinite(history["loss"]).all()
    fresh = make("mean_squared_error", "relu")
    fresh.fit(x, t, epochs=5)
    assert bits(fresh.params) == bits(net.params)


def test_divergence_names_layer_and_quantity():
    """A loss beyond float32 has no layer; parameters beyond it name the first layer that is."""
    net = net_of(pynn.Dense(2, 2), pynn.Identity(), pynn.ReLU(), pynn.Dense(2, 2), seed=1)
    net.params = np.ones(12)
    with pytest.raises(pynn.DivergedError, match="in step 0: the loss is NaN or infinite") as caught:
        net.train_step([[3e38, 3e38]], [[0, 0]], loss="squared_error", optimizer="sgd")
    assert (caught.value.step, caught.value.layer, caught.value.quantity) == (0, None, "loss")
    net.params = np.ones(12)
    net[3].weight = np.full((2, 2), 1e-20)
    with pytest.raises(pynn.DivergedError, match="in step 0: the gradient of layer 3 is NaN") as caught:
        net.train_step([[1e10, 1e10]], [[0, 1]], loss="squared_error", optimizer=pynn.SGD(1e38))
    assert (caught.value.step, caught.value.layer, caught.value.quantity) == (0, 3, "gradient")
    assert np.isfinite(net.params).all()


def test_loss_and_grad_of_infinite_loss():
    """loss_and_grad and evaluate do not return an infinite loss unnoticed."""
    net = net_of(pynn.Dense(2, 1))
    net.params = np.ones(3)
    with pytest.raises(pynn.DivergedError, match="the loss is NaN or infinite"):
        net.loss_and_grad([[3e38, 3e38]], [[0]])
    assert net.evaluate([[3e38, 3e38]], [[0]])["loss"] == np.inf


# ---- known answers ----------------------------------------------------------------------------------------


def test_linear_regression_recovers_weights():
    """A linear predictor with squared error finds the weights of exact data within 1e-4."""
    x, w, b = normal(500, 4), normal(4, 2, seed=1), np.array([0.5, -2])
    net = net_of(pynn.Dense(4, 2))
    net.fit(x, x @ w + b, epochs=60, batch_size=50, optimizer=pynn.SGD(0.1, momentum=0.5))
    np.testing.assert_allclose(net[0].weight, w, atol=1e-4)
    np.testing.assert_allclose(net[0].bias, b, atol=1e-4)
    noisy = x @ w + b + 0.3 * normal(500, 2, seed=2)
    net.fit(x, noisy, epochs=300, batch_size=500, optimizer=pynn.SGD(0.2))
    with_ones = np.column_stack([x, np.ones(500)]).astype(float)
    best = np.linalg.lstsq(with_ones, noisy, rcond=None)[0]
    np.testing.assert_allclose(np.vstack([net[0].weight, net[0].bias]), best, atol=1e-4)


def test_logistic_regression_recovers_weights():
    """A sigmoid with binary cross-entropy, fed with probabilities, finds their weights within 1e-2."""
    x, w = normal(1000, 3), np.array([[1.5], [-2.0], [0.5]])
    t = 1 / (1 + np.exp(-(x @ w - 0.7)))
    net = net_of(pynn.Dense(3, 1), pynn.Sigmoid())
    net.fit(x, t, epochs=150, batch_size=100, optimizer=pynn.Adam(0.03))
    np.testing.assert_allclose(net[0].weight, w, atol=1e-2)
    np.testing.assert_allclose(net[0].bias, -0.7, atol=1e-2)


def test_softmax_regression_recovers_weights():
    """Differences of the weights of a softmax are found from probabilities within 1e-2."""
    x, w = normal(1000, 3), normal(3, 4, seed=1)
    net = net_of(pynn.Dense(3, 4), pynn.Softmax())
    net.fit(x, reference.softmax(x.astype(float) @ w), epochs=150, batch_size=100, optimizer=pynn.Adam(0.03))
    found = net[0].weight - net[0].weight[:, :1]
    np.testing.assert_allclose(found, w - w[:, :1], atol=1e-2)


def test_xor_is_learned():
    """A small net learns what no linear one can."""
    x, t = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
    net = net_of(pynn.Dense(2, 8), pynn.Tanh(), pynn.Dense(8, 1), pynn.Sigmoid())
    net.fit(x, t, epochs=500, optimizer=pynn.Adam(0.05))
    assert ((net.predict(x)[:, 0] > 0.5) == t).all()
    assert net.evaluate(x, t)["loss"] < 0.05


# ---- Ctrl-C -----------------------------------------------------------------------------------------------

INTERRUPTED = """
import signal, sys, time
import numpy as np, pynn

rng = np.random.default_rng(0)
x, t = rng.normal(size=(ROWS, 64)).astype("f4"), rng.integers(0, 10, ROWS)
def build():
    first, second = pynn.Dense(64, WIDTH), pynn.Dense(WIDTH, 10)
    return pynn.Sequential(first, pynn.ReLU(), pynn.Dropout(0.1), second, pynn.Softmax())
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts without it
net, before = build(), signal.getsignal(signal.SIGINT)
net.fit(x[:100], t[:100], epochs=1)
net.reset()
serve = net.predictor()
print("ready", flush=True)
try:
    net.fit(x, t, epochs=10**9, batch_size=50, loss=LOSS)
    sys.exit("fit ended")
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
assert signal.getsignal(signal.SIGINT) is before
assert np.isfinite(net.params).all() and np.isfinite(net.predict(x[:5])).all()
per_epoch = -(-ROWS // 50)
assert net.epochs_done * per_epoch <= net.steps_done <= (net.epochs_done + 1) * per_epoch, net.summary()

again, done = build(), 0  # the same up to there, step by step
if net.epochs_done:
    again.fit(x, t, epochs=net.epochs_done, batch_size=50, loss=LOSS)
for rows in pynn.batches(ROWS, 50, epoch=net.epochs_done):
    if again.steps_done == net.steps_done:
        break
    again.train_step(x[rows], t[rows], loss=LOSS)
assert again.params.tobytes() == net.params.tobytes()
for one in (net, again):
    one.fit(x[:100], t[:100], epochs=1)
assert again.params.tobytes() == net.params.tobytes()
print("usable", flush=True)
"""

PYTHON_LOSS = """
def LOSS(s, t):
    h = pynn.Softmax().forward(s)
    each = -np.log(h[np.arange(len(t)), t] + 1e-30)
    h[np.arange(len(t)), t] -= 1
    return each, h
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to one process")
@pytest.mark.parametrize(
    ("rows", "width", "loss"),
    [(200, 8, "LOSS = None"), (100000, 128, "LOSS = None"), (2000, 16, PYTHON_LOSS)],
    ids=["short epochs", "long epochs", "callable loss"],
)
def test_ctrl_c(tmp_path, rows, width, loss):
    """SIGINT ends a long fit within a second at a step boundary; the handler stays; the net goes on."""
    program = f"import numpy as np, pynn\nROWS, WIDTH = {rows}, {width}\n{loss}\n{INTERRUPTED}"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(0.4)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, out + err
    heard, usable = out.split()
    assert usable == "usable"
    assert float(heard) - sent < 1


def test_long_epochs_are_cut(monkeypatch):
    """An epoch of a second goes to C in many slices, none of which takes a large part of it."""
    x, t = normal(40000, 64), labels(40000, 10)
    net, seconds, steps = classifier(64, 128, 10), [], _calls.TrainSteps.run

    def timed(self, *arguments):
        started = time.perf_counter()
        steps(self, *arguments)
        seconds.append(time.perf_counter() - started)

    monkeypatch.setattr(_calls.TrainSteps, "run", timed)
    while sum(seconds) < 0.6:
        seconds.clear()
        net.fit(x, t, epochs=1, batch_size=10)
        x, t = np.concatenate([x, x]), np.concatenate([t, t])
    assert sum(sorted(seconds)[-2:]) < 0.5 * sum(seconds)


def test_interrupt_in_a_step_by_step_net():
    """KeyboardInterrupt out of a callback leaves the net at the end of that epoch."""

    class Interrupt:
        def on_epoch_end(self, run):
            if run.epoch == 2:
                raise KeyboardInterrupt

    x, t = normal(20, 5), labels(20, 3)
    net, other = classifier(), classifier()
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, t, epochs=9, callbacks=[Interrupt()])
    other.fit(x, t, epochs=2)
    assert trained_state(net) == trained_state(other)
    assert snapshot(net)["state"][0] == 2
