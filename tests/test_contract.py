"""What docs/arithmetic.md says and the self-test does not show, against `reference.contract`. Sections have
the numbers of that page.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from _pynn import ffi, lib
from helpers import ACTIVATIONS, bits, labels, net_of, normal
from reference import contract

import pynn

F = np.float32
TINY = F([2.0**-101, -(2.0**-101), 1e-40, np.nextafter(F(2.0**-100), F(0)), 2.0**-100, -0.0])
FLUSHED = F([0, 0, 0, 0, 2.0**-100, 0])


def twin(*layers, p=0.0, seed=5):
    """A net, and the same net by the contract."""
    kinds = {**ACTIVATIONS, "softmax": pynn.Softmax, "dropout": lambda: pynn.Dropout(p)}
    made = [pynn.Dense(*layer) if isinstance(layer, tuple) else kinds[layer]() for layer in layers]
    net, model = net_of(*made, seed=seed), contract.Net(list(layers), seed)
    assert bits(net.params) == bits(model.flat)
    return net, model


# ---- 5: losses --------------------------------------------------------------------------------------------


def test_where_the_gradient_of_a_loss_stands():
    """Of a squared error at the outputs, before the last activation is taken back; of a cross-entropy at the
    scores, and the last layer has no further part in it.
    """
    x, t = normal(9, 4), contract.sigmoid(normal(9, 3, seed=1))
    rows = t / t.sum(axis=1, keepdims=True, dtype="f4")
    weights = np.abs(normal(9, seed=2))
    for last, loss in itertools.product(
        ("sigmoid", "softmax", "gelu", "relu"), ("squared_error", "half_squared_error", "mean_squared_error")
    ):
        net, model = twin((4, 5), "tanh", (5, 3), last)
        value, grads = net.loss_and_grad(x, t, loss, sample_weight=weights)
        total, d, expected, _ = model.loss_and_grad(x, t, weights, loss, None)
        assert (value, bits(grads)) == (total / d, bits(expected)), (last, loss)
        with np.errstate(all="ignore"):
            h = model.forward(x, "outputs")[-1]
        da = contract.loss(loss, h, t, weights)[3]
        net.forward(x)
        net.backward(da)
        assert bits(net.grads) == bits(expected)
    for last, loss, goal in (
        ("softmax", "cross_entropy", rows),
        ("softmax", "cross_entropy", labels(9, 3)),
        ("sigmoid", "binary_cross_entropy", t),
    ):
        net, model = twin((4, 5), "tanh", (5, 3), last)
        value, grads = net.loss_and_grad(x, goal, loss, sample_weight=weights)
        total, d, expected, _ = model.loss_and_grad(x, goal, weights, loss, None)
        assert (value, bits(grads)) == (total / d, bits(expected)), loss
        ds = contract.loss(loss, net.scores(x), goal, weights)[3]
        below, _ = twin((4, 5), "tanh", (5, 3))
        below.forward(x)
        below.backward(ds)
        assert bits(below.grads) == bits(expected)


def test_elements_that_are_left_out_keep_their_lanes():
    """Those of a target row that are 0: element j goes to lane j mod 16 whatever stands before it."""
    closed_up = 0
    for width in (18, 33, 50):
        t = np.abs(normal(20, width, seed=width))
        t[normal(20, width, seed=1) < 0.3] = 0
        t[:, 0] += F(0.01)
        t /= t.sum(axis=1, keepdims=True)
        y = normal(20, width, seed=2) * F(8)
        total, d, each, _ = contract.loss("cross_entropy", y, t, np.ones(20))
        assert pynn.loss_and_grad(y, t, "cross_entropy")[0] == total / d
        distance, _, sum_ = contract.softmax_parts(y)
        term = contract.log(sum_) - distance
        for r in range(20):
            a, b = (array[r : r + 1, t[r] > 0] for array in (t, term))
            closer = contract.reduced(a, lambda lanes, p, a=a, b=b: contract.fma(a[:, p], b[:, p], lanes))
            closed_up += float(closer[0, 0]) != float(each[r])
    assert closed_up > 10


def test_value_of_an_epoch():
    """The weighted sums of the batches, and their D, are each added in double in the order of training, and
    then divided. A batch whose weights are all 0 adds nothing.
    """
    x, t = normal(23, 4), normal(23, 3, seed=1)
    weights = F(10.0) ** (F(4) * normal(23, seed=3))  # so far apart that their order shows in the sum
    net, model = twin((4, 6), "tanh", "dropout", (6, 3), p=0.25)
    weights[contract.permutation(23, net.seed, 1)[5:10]] = 0
    training, optimizer, expected, row_by_row = contract.Training(model), pynn.Adam(0.01), [], 0
    for epoch in range(4):
        loss, d = training.epoch(optimizer, 0.0, x, t, weights, "mean_squared_error", 5, 0.25, net.seed)
        expected.append(loss / d)
        row_by_row += d != contract.ordered_sum(weights[contract.permutation(23, net.seed, epoch)])
    history = net.fit(x, t, epochs=4, batch_size=5, sample_weight=weights, optimizer=optimizer, verbose=0)
    assert history["loss"] == expected
    assert row_by_row > 0
    assert bits(net.params) == bits(model.flat)
    assert net.steps_done == training.steps == 4 * 5 - 1


@pytest.mark.parametrize("last", ["softmax", "sigmoid", "identity", None])
def test_losses_of_ones_own(last):
    """Their gradient, at the scores, is rounded to float and multiplied with c_r, kappa being 1. It is not
    flushed.
    """

    def own(scores, targets):
        difference = np.clip(scores - targets, -1, 1)  # in double, as the targets are
        return np.abs(difference).sum(axis=1), difference * scale

    t, weights = normal(11, 3, seed=1).astype(float), np.abs(normal(11, seed=2))
    for scale in (1.0, 2.0**-104):
        x = normal(11, 4) / F(scale)
        net, model = twin((4, 3), *([] if last is None else [last]))
        _, grads = net.loss_and_grad(x, t, own, sample_weight=weights)
        dscores = own(model.forward(x, "scores")[-1], t)[1]
        assert bits(grads) == bits(model.own_gradient(x, dscores, weights, None))
        assert np.any(grads) != (last == "identity" and scale < 1)  # which flushes on its own account
        training = contract.Training(model)
        net.fit(x, t, epochs=2, batch_size=4, loss=own, sample_weight=weights, optimizer="sgd", verbose=0)
        for epoch in range(2):
            order = np.array(contract.permutation(11, net.seed, epoch))
            for rows in (order[first : first + 4] for first in range(0, 11, 4)):
                dscores = own(model.forward(x[rows], "scores")[-1], t[rows])[1]
                training.update(pynn.SGD(), model.own_gradient(x[rows], dscores, weights[rows], None))
        assert bits(net.params) == bits(model.flat)


# ---- 6: flushing ------------------------------------------------------------------------------------------


def test_a_dropout_flushes_in_training_only():
    """In training also with p = 0, when it drops nothing; elsewhere what passes stays what it was, also with
    another p. An identity flushes like any activation; a dense layer without one does not.
    """
    x, dy = np.ones((1, 6), "f4"), TINY[None]
    for p, training in itertools.product((0.0, 0.4), (False, True)):
        layer = pynn.Dropout(p)
        y = layer.forward(x, training=training)
        expected = contract.flushed(np.where(y != 0, dy, F(0)) * y.max()) if training else dy
        assert bits(layer.backward(dy)) == bits(expected)
        if not (p and training):
            assert bits(y) == bits(x)
    assert bits(contract.flushed(dy)) == bits(FLUSHED[None])
    assert bits(pynn.Identity().forward(x)) == bits(x)
    for layers, training, flushes in (
        (["dropout"], True, True),
        (["dropout"], False, False),
        (["identity"], False, True),
        ([], False, False),
        (["dropout", "dropout"], False, False),
        (["dropout", "identity"], False, True),
    ):
        net, model = twin((2, 6), *layers)
        x = F([[2.0**20, 2.0**-20]])
        mask = (0.0, net.seed, 0) if training else None
        net.forward(x, training=training)
        dx = net.backward(dy)
        grads, expected = model.backward(model.forward(x, "outputs", mask), dy, mask)
        assert bits(dx) == bits(expected)
        assert bits(net.grads) == bits(grads)
        assert bits(net[0].dbias) == bits(FLUSHED if flushes else dy[0] + F(0))


# ---- 7: optimizers ----------------------------------------------------------------------------------------


def test_which_change_of_optimizer_starts_moments_afresh():
    """SGD without momentum, SGD with it, Adam and AdamW are four kinds; another kind sets moments to 0 and
    powers to 1, and nothing else does. The count of steps, from which the dropout masks follow, goes on.
    """
    x, t = normal(12, 4), normal(12, 3, seed=1)
    changes = [
        (pynn.SGD(0.1, momentum=0.9), 0.0),
        (pynn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1), 0.5),
        (pynn.SGD(0.05, momentum=0.4), 0.0),
        (pynn.SGD(0.05), 0.0),
        (pynn.SGD(0.05, momentum=0.4), 0.0),
        (pynn.Adam(0.01), 0.0),
        (pynn.Adam(0.02, beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.1), 0.1),
        (pynn.AdamW(0.02, beta1=0.5, beta2=0.9), 0.0),
        (pynn.Adam(0.01), 0.0),
        (pynn.SGD(), 0.0),
    ]
    net, model = twin((4, 6), "tanh", "dropout", (6, 3), p=0.25)
    training, starts = contract.Training(model), 0
    for optimizer, clip in changes:
        starts += training.kind != contract.kind_of(optimizer)
        for _ in range(2):
            net.train_step(x, t, optimizer=optimizer, clip_norm=clip or None)
            mask = (0.25, net.seed, training.steps)
            grads = model.loss_and_grad(x, t, np.ones(12), "mean_squared_error", mask)[2]
            training.update(optimizer, grads, clip)
            assert bits(net.params) == bits(model.flat), optimizer
    assert starts == 7
    assert net.steps_done == training.steps


def test_the_flat_order():
    """W, row by row, and then b, dense layer by dense layer; gradients alike, and clipping cuts them into
    chunks in that order.
    """
    net = net_of(pynn.Dense(2, 3), pynn.Tanh(), pynn.Dropout(0), pynn.Dense(3, 1))
    net.params = np.arange(13)
    assert net[0].weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert net[0].bias.tolist() == [6, 7, 8]
    assert net[3].weight.tolist() == [[9], [10], [11]]
    assert net[3].bias.tolist() == [12]
    x, t = normal(3, 70, seed=1), normal(3, 60, seed=2)
    net, model = twin((70, 61), "relu", (61, 60))
    grads = model.loss_and_grad(x, t, np.ones(3), "mean_squared_error", None)[2]
    assert len(grads) > 4096
    net.train_step(x, t, optimizer="sgd", clip_norm=1e-3)
    contract.Training(model).update(pynn.SGD(), grads, 1e-3)
    assert bits(net.params) == bits(model.flat)


# ---- 8: shifts --------------------------------------------------------------------------------------------


def test_shifts_keep_the_sign():
    """In the logarithm i - 0x3f3504f3 is negative below the root of 1/2, and then so is k."""
    u = contract.unit(contract.words(200, 0, 0, 3)[::2]) + F(2.0**-24)
    below = u < np.sqrt(0.5)
    k = (contract.bits(u) - 0x3F3504F3) >> 23
    assert (k[below] < 0).all()
    assert below.mean() > 0.5
    np.testing.assert_allclose(contract.log(u), np.log(u.astype(float)), rtol=1e-6)
    weight = pynn.Dense(10, 10, init="he_normal", seed=3).weight
    assert bits(weight) == bits(contract.initial(10, 10, "he_normal", 3))


# ---- 10: random numbers -----------------------------------------------------------------------------------


def test_epochs_count_from_0_over_all_fits():
    """The first epoch of a net has the order of epoch 0; fit's seed is that of the shuffling alone."""
    x, t = normal(10, 4), normal(10, 3, seed=1)
    net, model = twin((4, 6), "dropout", (6, 3), p=0.5)
    training = contract.Training(model)
    for epochs, seed in ((1, None), (2, None), (2, 77)):
        net.fit(x, t, epochs=epochs, batch_size=3, optimizer="sgd", seed=seed, verbose=0)
        for _ in range(epochs):
            order = contract.permutation(10, net.seed if seed is None else seed, training.epochs)
            training.epochs += 1
            for rows in (order[first : first + 3] for first in range(0, 10, 3)):
                mask = (0.5, net.seed, training.steps)
                ones = np.ones(len(rows))
                grads = model.loss_and_grad(x[rows], t[rows], ones, "mean_squared_error", mask)[2]
                training.update(pynn.SGD(), grads)
        assert bits(net.params) == bits(model.flat)
    assert net.epochs_done == training.epochs == 5


def test_a_layer_with_a_seed_of_its_own_is_layer_0():
    """A dense layer wherever it stands, and it still counts for those behind it; a dropout outside a net,
    whose step is the number of training forwards before.
    """
    net = net_of(
        *(pynn.Dense(3, 4), pynn.ReLU(), pynn.Dense(4, 5, seed=11), pynn.ReLU(), pynn.Dense(5, 2)), seed=4
    )
    assert bits(net[0].weight) == bits(contract.initial(3, 4, "he_normal", 4, 0))
    assert bits(net[2].weight) == bits(contract.initial(4, 5, "glorot_uniform", 11, 0))
    assert bits(net[4].weight) == bits(contract.initial(5, 2, "glorot_uniform", 4, 2))
    assert bits(pynn.Dense(4, 5).weight) == bits(contract.initial(4, 5, "glorot_uniform", 0, 0))
    layer = pynn.Dropout(0.5, seed=9)
    for step in range(3):
        layer.forward(np.ones((2, 40)))
        kept = layer.forward(np.ones((2, 40)), training=True) != 0
        assert np.array_equal(kept, contract.dropout_mask(2, 40, 0.5, 9, step, 0))


# ---- 12: what numpy computes ------------------------------------------------------------------------------


def test_what_numpy_computes():
    """Metrics, the value of a loss of one's own, and the product of `folded`. The rows that `split` holds out
    are the first of epoch 0.
    """
    x, t = normal(37, 4), normal(37, 3, seed=1)
    net, weights = net_of(pynn.Dense(4, 5), pynn.Dense(5, 3), seed=1), np.abs(normal(37, seed=2))
    y = net.predict(x)

    def own(scores, targets):
        return np.abs(scores - targets).sum(axis=1), np.sign(scores - targets)

    found = net.evaluate(
        x, t, loss=own, metrics=["mean_squared_error", "mean_absolute_error"], sample_weight=weights
    )
    shares = weights.astype(float) / weights.sum(dtype=float)
    assert found == {
        "loss": np.sum(shares * own(y, t)[0].astype(float)),
        "mean_squared_error": np.mean(np.square(y.astype(float) - t)),
        "mean_absolute_error": np.mean(np.abs(y.astype(float) - t)),
    }
    w1, w2 = (net[i].weight.astype(float) for i in (0, 1))
    folded = net.folded()
    assert bits(folded[0].weight) == bits((w1 @ w2).astype("f4"))
    assert bits(folded[0].bias) == bits((net[0].bias.astype(float) @ w2 + net[1].bias).astype("f4"))
    (rest, _), (held, _) = pynn.split(np.arange(37), np.arange(37), 0.3, seed=8)
    order = contract.permutation(37, 8, 0)
    assert held.tolist() == sorted(order[:11])
    assert rest.tolist() == sorted(order[11:])


def test_the_epoch_that_a_callback_picks():
    """By a loss of the contract it is of the contract: the first of the lowest, compared in double."""
    x, t, loss = normal(20, 4), normal(20, 3, seed=1), "mean_squared_error"
    optimizer, stop = pynn.SGD(0.5), pynn.EarlyStopping(50)
    net, model = twin((4, 6), "tanh", (6, 3))
    net.fit(
        *(x[:12], t[:12]), epochs=12, optimizer=optimizer, batch_size=4, callbacks=[stop], verbose=0,
        validation_data=(x[12:], t[12:]),
    )  # fmt: skip
    training, losses, params = contract.Training(model), [], []
    for _ in range(12):
        training.epoch(optimizer, 0.0, x[:12], t[:12], np.ones(12), loss, 4, 0.0, net.seed)
        total, d, _, _ = contract.loss(loss, model.forward(x[12:], "outputs")[-1], t[12:], np.ones(8))
        losses.append(total / d)
        params.append(model.flat)
    best = losses.index(min(losses))
    assert (stop.best, stop.best_epoch) == (losses[best], best + 1)
    assert bits(net.params) == bits(params[best])


# ---- through the C interface: what the Python package does not offer --------------------------------------

LOSSES = {"squared_error": 1, "half_squared_error": 2, "mean_squared_error": 3, "cross_entropy": 4,
          "binary_cross_entropy": 5}  # fmt: skip
KINDS = ("dense", *ACTIVATIONS, "softmax", "dropout")
HOW = ("weights", "rows", 3.7)
CASES = (*((loss, False) for loss in LOSSES), ("cross_entropy", True))  # the last one by labels


def ok(status):
    text, argument = lib.pynn_status_text(status), lib.pynn_status_argument(status)
    assert status == lib.PYNN_OK, f"{ffi.string(text).decode()}: {ffi.string(argument).decode()}"


def pointer(array, kind="float"):
    return ffi.NULL if array is None else ffi.cast(f"{kind} *", array.ctypes.data)


class Space:
    """Memory that C asks for, filled with NaN."""

    def __init__(self, bytes_of, *arguments):
        size = ffi.new("size_t *")
        ok(bytes_of(size, *arguments))
        self.array = np.full(size[0] + 64, 0xFF, np.uint8)
        address = self.array.ctypes.data
        self.c = ffi.new("pynn_memory *", {"bytes": size[0]})
        self.c.start = ffi.cast("void *", address + -address % 64)


class Data:
    """A pynn_data. output_weights (1, O) are those of all rows."""

    def __init__(self, x, t, weights=None, normalise="weights", output_weights=None):
        self.arrays = x, t, weights, output_weights  # C has but pointers to them
        by_label = t is not None and t.ndim == 1
        self.c = ffi.new("pynn_data *", {"x": pointer(x), "rows": len(x if t is None else t)})
        targets = self.c.targets
        if by_label:
            targets.labels = pointer(t, "int32_t")
        else:
            targets.rows = pointer(t)
        targets.weights, targets.output_weights = pointer(weights), pointer(output_weights)
        targets.same_output_weights = output_weights is not None and len(output_weights) == 1
        if normalise in ("weights", "rows"):
            targets.normalise = lib.PYNN_BY_ROWS if normalise == "rows" else lib.PYNN_BY_WEIGHTS
        else:
            targets.normalise, targets.divisor = lib.PYNN_BY_NUMBER, normalise


def c_loss(y, data, loss):
    """The loss, that of each row, and ds."""
    value, each, ds = ffi.new("double *"), np.empty(len(y), "f4"), np.empty_like(y)
    ok(lib.pynn_loss(value, pointer(each), pointer(ds), pointer(y), data.c, y.shape[1], LOSSES[loss]))
    return value[0], each, ds


class Plan:
    """A contract.Net in C."""

    def __init__(self, model, p=0.0):
        layers = []
        for layer in model.layers:
            fields = {"kind": KINDS.index("dense" if isinstance(layer, tuple) else layer)}
            if isinstance(layer, tuple):
                fields["inputs"], fields["outputs"] = layer
            fields |= {"leaky_relu": {"slope": 0.1}, "dropout": {"p": p}}.get(layer, {})
            layers.append(fields)
        self.params = model.flat
        self.layers, self.net = ffi.new("pynn_layer[]", layers), ffi.new("pynn_net *")
        ok(lib.pynn_net_init(self.net, self.layers, len(layers)))
        self.memory, plan = Space(lib.pynn_plan_bytes, self.net), ffi.new("pynn_plan **")
        given = ffi.new("pynn_model *", {"net": self.net, "params": pointer(self.params)})
        ok(lib.pynn_plan_init(plan, given, self.memory.c[0]))
        self.c = plan[0]

    @staticmethod
    def options(loss, mask):
        """mask: (p, seed, step) or None."""
        given = None if mask is None else ffi.new("pynn_mask *", {"seed": mask[1], "step": mask[2]})
        options = ffi.new("pynn_options *", {"loss": LOSSES.get(loss, 0), "mask": given or ffi.NULL})
        return options, given

    def loss_and_grad(self, data, loss, mask=None):
        """The loss, the gradient, and that of x."""
        options, _mask = self.options(loss, mask)
        value, grads = ffi.new("double *"), np.empty_like(self.params)
        dx = np.empty((data.c.rows, self.net.inputs), "f4")
        space = Space(lib.pynn_loss_and_grad_bytes, self.c, data.c, options)
        ok(lib.pynn_loss_and_grad(value, pointer(grads), self.c, data.c, options, space.c[0]))
        again, space = ffi.new("double *"), Space(lib.pynn_input_grad_bytes, self.c, data.c, options)
        ok(lib.pynn_input_grad(again, pointer(dx), self.c, data.c, options, space.c[0]))
        assert again[0] == value[0]
        return value[0], grads, dx

    def vjp(self, x, dy, mask=None):
        """dx from dy."""
        options, _mask = self.options(None, mask)
        data, dx = Data(x, None), np.empty_like(x)
        space = Space(lib.pynn_input_grad_bytes, self.c, data.c, options)
        ok(lib.pynn_vjp(pointer(dx), pointer(dy), self.c, data.c, options, space.c[0]))
        return dx


def goals(kind, by_label, rows, outputs):
    if by_label:
        return labels(rows, outputs, seed=3)
    t = contract.sigmoid(normal(rows, outputs, seed=3))
    t[::2, ::3] = 0
    return t / t.sum(axis=1, keepdims=True, dtype="f4") if kind == "cross_entropy" and outputs > 1 else t


def weights_of(rows, normalise):
    """Some are 0, and some are negative where they may be."""
    weights = normal(rows, seed=4)
    weights[::5] = 0
    return np.abs(weights) if normalise == "weights" else weights


@pytest.mark.parametrize(("loss", "by_label"), CASES)
def test_divisors_and_output_weights(loss, by_label, instruction_sets):
    """Every divisor, with and without weights of rows and of outputs. Output weights of 1 are none, but for a
    cross-entropy with rows.
    """
    for width, normalise, weighted, of_outputs in itertools.product(
        (1, 3, 16, 17, 40), HOW, (False, True), (None, "rows", "same")
    ):
        y, t = normal(7, width) * F(6), goals(loss, by_label, 7, width)
        weights = weights_of(7, normalise) if weighted else None
        v = None if of_outputs is None else np.abs(normal(1 if of_outputs == "same" else 7, width, seed=5))
        if v is not None:
            v[:, ::4] = 0
        w = np.ones(7) if weights is None else weights
        every = None if v is None else np.broadcast_to(v, y.shape)
        total, d, each, ds = contract.loss(loss, y, t, w, normalise, every)
        for name in instruction_sets:
            pynn.instruction_set(name)
            found = c_loss(y, Data(y, t, weights, normalise, v), loss)
            assert found[0] == total / d, (name, width, normalise, weighted, of_outputs)
            assert bits(found[1][w != 0]) == bits(each[w != 0])
            assert bits(found[2]) == bits(ds)
            if v is None and (loss != "cross_entropy" or by_label):
                ones = c_loss(y, Data(y, t, weights, normalise, np.ones((1, width), "f4")), loss)
                assert (ones[0], bits(ones[2])) == (found[0], bits(ds))


@pytest.mark.parametrize(("loss", "by_label"), CASES)
def test_gradients_of_nets(loss, by_label):
    """Of parameters and of inputs, with and without dropout; also where the first layer is not dense."""
    last = {"cross_entropy": ["softmax"], "binary_cross_entropy": ["sigmoid"]}.get(loss, ["tanh"])
    for i, first in enumerate(([], ["silu"], ["softmax"], ["dropout"], ["relu", "dropout"])):
        model = contract.Net([*first, (4, 6), "gelu", "dropout", (6, 5), "relu", (5, 3), *last], 3)
        plan, x, t = Plan(model, 0.25), normal(260, 4), goals(loss, by_label, 260, 3)
        for k, mask in enumerate((None, (0.25, 9, 2))):
            normalise, v = HOW[(i + k) % 3], np.abs(normal(260, 3, seed=5)) if i % 2 else None
            weights = weights_of(260, normalise)
            value, grads, dx = plan.loss_and_grad(Data(x, t, weights, normalise, v), loss, mask)
            total, d, *expected = model.loss_and_grad(x, t, weights, loss, mask, normalise, v)
            assert (value, bits(grads), bits(dx)) == (total / d, *map(bits, expected))


def test_a_gradient_of_the_outputs_goes_back_to_the_inputs():
    """Unscaled, and flushed wherever it is handed on."""
    for layers in (
        [(4, 6), "gelu", "dropout", (6, 3)],
        ["leaky_relu", (4, 6), (6, 3), "dropout"],
        [(4, 3), "softmax"],
    ):
        model, x, dy = contract.Net(layers, 3), normal(9, 4), normal(9, 3, seed=1)
        dy *= F(10.0) ** (F(8) * normal(9, 3) - F(24))
        plan = Plan(model, 0.25)
        for mask in (None, (0.25, 9, 2)):
            expected = model.backward(model.forward(x, "outputs", mask), dy, mask)[1]
            assert bits(plan.vjp(x, dy, mask)) == bits(expected)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "softmax"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rows_of_weight_0(activation):
    """Whatever is in their inputs, labels, targets and output weights, or becomes of them in the net, it does
    not show; and a row that is finite enters as it did.
    """
    wrong = {3: np.nan, 7: np.inf, 255: -np.inf, 256: 1e38, 258: -1e38, 259: np.nan}
    x, weights, v = normal(260, 4), np.abs(normal(260, seed=4)), np.abs(normal(260, 3, seed=5))
    for row, value in wrong.items():
        x[row, row % 4] = value
    bad = list(wrong)
    weights[bad], v[bad], weights[20] = 0, np.nan, 0
    for i, (loss, by_label) in enumerate(CASES):
        last = {"cross_entropy": ["softmax"], "binary_cross_entropy": ["sigmoid"]}.get(loss, [activation])
        model = contract.Net([(4, 6), activation, "dropout", (6, 5), activation, (5, 3), *last], 3)
        model.flat = model.flat * F(16)
        t = goals(loss, by_label, 260, 3)
        t[bad] = -1 if by_label else np.nan
        for k, mask in enumerate((None, (0.25, 9, 2))):
            normalise, some = HOW[(i + k) % 3], v if k else None
            data = Data(x, t, weights, normalise, some)
            value, grads, dx = Plan(model, 0.25).loss_and_grad(data, loss, mask)
            total, d, *expected = model.loss_and_grad(x, t, weights, loss, mask, normalise, some)
            assert np.isfinite(grads).all()
            assert np.isfinite(dx).all()
            assert not dx[weights == 0].any()
            assert (value, bits(grads), bits(dx)) == (total / d, *map(bits, expected)), (loss, normalise)


def test_a_batch_of_weight_0():
    """Loss and gradients are +0 by any divisor."""
    x, t, none = normal(6, 4), normal(6, 3, seed=1), np.zeros(6, "f4")
    plan = Plan(contract.Net([(4, 6), "tanh", (6, 3)], 3))
    for normalise in HOW:
        value, _, ds = c_loss(t, Data(x, normal(6, 3), none, normalise), "squared_error")
        found = plan.loss_and_grad(Data(x, t, none, normalise), "squared_error")
        assert value == found[0] == 0
        for gradient in (ds, *found[1:]):
            assert bits(gradient) == bits(np.zeros_like(gradient))


def test_rows_of_weight_0_in_training():
    """They change nothing, and are rows of a batch all the same; a batch of nothing else is skipped if it is
    divided by its weights, and else a step.
    """
    x, t, v = normal(23, 4), goals("cross_entropy", True, 23, 3), np.abs(normal(23, 3, seed=5))
    loss = "cross_entropy"
    for normalise, optimizer in itertools.product(HOW, (pynn.SGD(0.05, momentum=0.5), pynn.Adam(0.05))):
        model = contract.Net([(4, 6), "tanh", "dropout", (6, 3), "softmax"], 3)
        weights = weights_of(23, normalise)
        weights[contract.permutation(23, 3, 1)[5:10]] = 0
        x[weights == 0], t[weights == 0] = np.nan, -1
        plan, data = Plan(model, 0.25), Data(x, t, weights, normalise, v)
        moments, training = np.zeros(2 * len(plan.params), "f4"), contract.Training(model)
        trainer = ffi.new("pynn_trainer *", {"params": pointer(plan.params), "moments": pointer(moments)})
        trainer.seed = 3
        trainer.optimizer = lib.pynn_sgd() if optimizer.kind == "sgd" else lib.pynn_adam()
        trainer.optimizer.learning_rate = optimizer.learning_rate
        trainer.optimizer.momentum = getattr(optimizer, "momentum", 0)
        space = Space(lib.pynn_train_bytes, plan.c, trainer, 5)
        for epoch in range(4):
            order = np.array(contract.permutation(23, 3, epoch), "u4")
            batches = ffi.new("pynn_batches *", {"order": pointer(order, "uint32_t"), "count": 23, "size": 5})
            trainer.totals.loss = trainer.totals.weight = 0
            ok(lib.pynn_train_steps(trainer, plan.c, data.c, batches, space.c[0]))
            expected = training.epoch(optimizer, 0.0, x, t, weights, loss, 5, 0.25, 3, normalise, v)
            assert (trainer.totals.loss, trainer.totals.weight) == tuple(expected)
            assert bits(plan.params) == bits(model.flat)
        assert trainer.state.steps == training.steps == 20 - (normalise == "weights")


def test_micro_batches():
    """A batch in pieces of whole blocks has the bits of the whole, D being given."""
    x, t, v = normal(600, 4), goals("cross_entropy", False, 600, 3), np.abs(normal(600, 3, seed=5))
    weights = np.abs(normal(600, seed=4)) * F(10.0) ** normal(600)
    x[5] = x[300] = np.nan
    weights[[5, 300]] = 0
    model = contract.Net([(4, 6), "gelu", "dropout", (6, 3), "softmax"], 3)
    plan, mask, d = Plan(model, 0.25), (0.25, 9, 2), contract.ordered_sum(weights)
    total, _, expected, _ = model.loss_and_grad(x, t, weights, "cross_entropy", mask, d, v)
    for cuts in ([0, 600], [0, 256, 600], [0, 512, 600], [0, 256, 512, 600]):
        options, _mask = plan.options("cross_entropy", mask)
        done, grads = ffi.new("pynn_accumulation *", {"rows": 600}), np.full(len(plan.params), np.nan, "f4")
        space = Space(lib.pynn_accumulate_bytes, plan.c, options)
        for first, end in itertools.pairwise(cuts):
            piece = Data(*(array[first:end] for array in (x, t, weights)), d, v[first:end])
            ok(lib.pynn_accumulate(done, pointer(grads), plan.c, piece.c, options, space.c[0]))
        assert (done.done, done.loss) == (600, total)
        assert bits(grads) == bits(expected)
        assert plan.loss_and_grad(Data(x, t, weights, "weights", v), "cross_entropy", mask)[0] == total / d
