"""What no use of the package may do: crash the process, read stale memory, or leave a net locked."""

from __future__ import annotations

import copy
import threading
import warnings

import numpy as np
import pytest
from helpers import bits, classifier, labels, net_of, normal, pickled, run_python, snapshot

import pynn
from pynn import _calls
from pynn._store import TRAINING

X, T = normal(12, 5), labels(12, 3)


# ---- memory -----------------------------------------------------------------------------------------------


def test_labels_are_copied():
    """Labels that others overwrite during a fit do not reach C; nobody can write to the copy."""
    t, plain, net = T.copy(), classifier(), classifier()

    class Spoil:
        def on_epoch_end(self, run):
            t[:] = 10**9

    def look(targets, outputs):
        with pytest.raises(ValueError, match=r"(?i)writeable"):
            targets.flags.writeable = True
        return 0

    net.fit(X, t, epochs=3, callbacks=[Spoil()], metrics=[look])
    plain.fit(X, T, epochs=3)
    assert bits(net.params) == bits(plain.params)


def test_labels_that_change_in_c(tmp_path):
    """A thread that writes labels while C trains on them cannot crash the process."""
    code = """
import threading, numpy as np, pynn
t, stop = np.zeros(20000, "i4"), threading.Event()
x = np.ones((20000, 8), "f4")
net = pynn.Sequential(pynn.Dense(8, 32), pynn.ReLU(), pynn.Dense(32, 4), pynn.Softmax())
def write():
    while not stop.is_set():
        t[:] = 2**30
        t[:] = 0
thread = threading.Thread(target=write)
thread.start()
for _ in range(20):
    try:
        net.fit(x, t, epochs=2, batch_size=1000)
    except ValueError as error:
        assert "labels" in str(error)
stop.set()
thread.join()
print("alive")
"""
    assert run_python(code, tmp_path) == "alive\n"


def test_headers_that_change():
    """A dtype or shape that the caller changes after a check is his own affair."""
    x, net, plain = X.copy(), classifier(), classifier()
    weights = np.ones(12, "f4")

    class Reshape:
        def on_epoch_end(self, run):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                x.dtype = np.int8
                weights.dtype = np.int8

    net.fit(x, T, epochs=3, sample_weight=weights, callbacks=[Reshape()], validation_data=(x, T))
    plain.fit(X, T, epochs=3, sample_weight=np.ones(12))
    assert bits(net.params) == bits(plain.params)

    for thing in (classifier(), pynn.Dense(5, 3), pynn.ReLU(), pynn.Softmax(), pynn.Dropout(0.5)):
        x, twin = X.copy(), copy.deepcopy(thing)
        dy = normal(*thing.forward(x).shape, seed=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x.dtype = np.int8
        twin.forward(X)
        assert bits(thing.backward(dy)) == bits(twin.backward(dy))


def test_sizes_cannot_be_set():
    """What C takes as sizes and settings, nobody can set after construction."""
    dense, dropout, leaky, net = pynn.Dense(4, 6), pynn.Dropout(0.5), pynn.LeakyReLU(), classifier()
    for thing, names in (
        (dense, ("inputs", "outputs", "init", "seed")),
        (dropout, ("p", "seed")),
        (leaky, ("slope",)),
        (net, ("layers", "inputs", "outputs", "seed", "epochs_done", "steps_done")),
    ):
        for name in names:
            with pytest.raises(AttributeError):
                setattr(thing, name, 1)


def test_no_thread_sees_a_dense_before_its_values(monkeypatch):
    """A Dense that fails to draw has no values; it draws them when asked again."""
    dense, draw = pynn.Dense(40, 30), _calls.dense_init

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_calls, "dense_init", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dense.weight  # noqa: B018
    monkeypatch.setattr(_calls, "dense_init", draw)
    assert bits(dense.weight) == bits(pynn.Dense(40, 30, seed=0).weight)


@pytest.mark.parametrize(
    "change",
    [
        {"params": np.array([7.0], "f4")},
        {"params": np.full(66, np.nan, "f4")},
        {"params": "abc"},
        {"moments": np.zeros(3, "f4")},
        {"moments": np.zeros((66, 2), "f4")},
        {"moments_of": ("adam", 1)},
        {"moments_of": ("adam", -1)},
        {"moments_of": 3},
        {"state": (-1, 1.0, 1.0)},
        {"state": (1, 1.0)},
        {"epochs_done": "many"},
        {"seed": -1},
        {"layers": 5},
        {"layers": []},
        {"layers": [(print, {})]},
        {"format": 99},
    ],
)
def test_corrupt_states_are_refused(change):
    """A state with a wrong length, kind or number does not become a net."""
    net = classifier()
    net.fit(X, T, epochs=1)
    state = {**net.__getstate__(), **change}
    with pytest.raises(pynn.PynnValueError, match="pickle of a Sequential"):
        pynn.Sequential.__new__(pynn.Sequential).__setstate__(state)


def test_inputs_may_lie_in_the_net():
    """Inputs that share memory with parameters or gradients give the bits of copies of them."""
    dense, twin = (pynn.Dense(4, 4, seed=3) for _ in range(2))
    x, da = normal(4, 4), normal(4, 4, seed=1)
    for layer in (dense, twin):
        layer.forward(x)
        layer.backward(da)
    given = twin.dweight.copy()
    assert bits(dense.backward(dense.dweight)) == bits(twin.backward(given))
    assert bits(dense.dweight) == bits(twin.dweight)

    one, two = (net_of(pynn.Dense(4, 4), pynn.Tanh()) for _ in range(2))
    for net in (one, two):
        net.forward(x)
        net.backward(da)
        net.forward(x)
    given = two.grads[:16].reshape(4, 4).copy()
    assert bits(one.backward(one.grads[:16].reshape(4, 4))) == bits(two.backward(given))
    assert bits(one.grads) == bits(two.grads)

    given = two.params[:16].reshape(4, 4).copy()
    one.fit(one.params[:16].reshape(4, 4), one.params[4:20].reshape(4, 4), epochs=3, batch_size=2)
    two.fit(given, two.params[4:20].reshape(4, 4).copy(), epochs=3, batch_size=2)
    assert bits(one.params) == bits(two.params)


# ---- predictors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [pickled, copy.copy, copy.deepcopy])
def test_copies_of_predictors(duplicate):
    """A copy of a predictor serves on buffers of its own."""
    net = classifier()
    for batch in (1, 3):
        p = net.predictor(batch)
        twin = duplicate(p)
        twin.x[:] = X[:batch]
        assert bits(twin()) == bits(net.predict(X[:batch]))
        assert bits(twin(X[:batch])) == bits(net.predict(X[:batch]))
        assert not p.x.any()
        assert not np.shares_memory(twin.y, p.y)


def test_pickles_of_predictors_of_pynn_0_1():
    """They call the slope or the p of a layer, and the 0 of others, its value."""
    net = net_of(pynn.Dense(5, 4), pynn.LeakyReLU(0.5), pynn.Dropout(0.5), pynn.Dense(4, 3), pynn.Tanh())
    restored, (specs, params, batch) = net.predictor().__reduce__()
    old = [{"value": 0.0, **spec} for spec in specs]
    old[1]["value"], old[2]["value"] = old[1].pop("slope"), old[2].pop("p")
    assert [spec["value"] for spec in old] == [0, 0.5, 0.5, 0, 0]
    assert bits(restored(old, params, batch)(X[0])) == bits(net.predict(X[:1])[0])


def test_predictor_leaves_its_buffer_alone():
    """p(row) neither reads nor writes p.x; None is a bad row, not no row."""
    p = classifier().predictor()
    p.x[:] = X[:1]
    for bad in (None, [np.nan] * 5):
        with pytest.raises(pynn.PynnError, match="row"):
            p(bad)
    p(X[3])
    assert bits(p.x) == bits(X[:1])
    assert bits(p()) == bits(p(X[:1]))
    wide = normal(2, 10)
    assert bits(p(wide[0, ::2])) == bits(p(wide[0, ::2].copy()))


# ---- claims -----------------------------------------------------------------------------------------------


def test_a_net_is_free_while_its_exception_lives():
    """After an interrupt, other threads may use the net though the exception is kept."""

    class Interrupt:
        def on_epoch_end(self, run):
            raise KeyboardInterrupt

    net, kept, found = classifier(), [], []
    try:
        net.fit(X, T, callbacks=[Interrupt()])
    except KeyboardInterrupt as error:
        kept.append(error)
    thread = threading.Thread(target=lambda: found.append(net.fit(X, T, epochs=1)))
    thread.start()
    thread.join(30)
    assert found
    assert not net._guard


def test_claims_of_threads_that_ended():
    """What a thread left behind, that ended or that is not in this process, binds nobody."""
    net = classifier()
    thread = threading.Thread(target=lambda: net._guard.append((threading.get_ident(), TRAINING)))
    thread.start()
    thread.join(30)
    net.predict(X)
    net.fit(X, T, epochs=1)
    assert not net._guard


def test_a_loss_cannot_train_its_net():
    """The function of loss_and_grad may use the net, not train it."""
    net, refused = classifier(), []

    def loss(scores, targets):
        net.predict(X)
        with pytest.raises(pynn.BusyError, match="may use it but not train it"):
            net.fit(X, T)
        refused.append(True)
        return np.zeros(12), np.zeros_like(scores)

    net.loss_and_grad(X, T, loss)
    assert refused
    net.fit(X, T, epochs=1)


# ---- targets ----------------------------------------------------------------------------------------------


def test_one_class():
    """Softmax of one output: the accuracy of labels is that of rows, not of all pairs of rows."""
    net = net_of(pynn.Dense(5, 1), pynn.Softmax())
    assert net.evaluate(X, np.zeros(12, int), metrics="accuracy")["accuracy"] == 1


def test_boolean_labels_are_checked():
    """True is 1, and no label of a single class."""
    with pytest.raises(pynn.PynnValueError, match="labels from 0 to 0; it holds True at row 1"):
        pynn.loss_and_grad([[1], [1]], [False, True], "cross_entropy")


def test_targets_of_a_callable_loss():
    """They must be finite, and neither loss nor metric can write to the user's array."""
    t = np.ones((12, 3), "f4")

    def rude(scores, targets):
        with pytest.raises(ValueError, match="read-only"):
            targets[:] = 0
        return np.zeros(12), np.zeros_like(scores)

    classifier().fit(X, t, loss=rude, epochs=1)
    assert t.all()
    with pytest.raises(pynn.PynnValueError, match="t must be finite; it holds nan at row 2"):
        classifier().fit(X, [0, 1, np.nan] * 4, loss=rude)
    for bad in (np.ones((12, 1)), [-1] * 12, [3] * 12):
        for metric in ("accuracy", "mean_squared_error", "mean_absolute_error"):
            with pytest.raises(pynn.PynnValueError, match="t must"):
                classifier().fit(X, bad, loss=rude, metrics=metric)


# ---- single values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [1j, np.complex64(1), np.array("0.1"), np.timedelta64(1), np.array(0.1), np.ones(1), "1", None, True],
)
def test_what_is_no_number(value):
    """Only real numbers are numbers."""
    with pytest.raises(pynn.PynnTypeError, match="learning_rate must be a number"):
        pynn.SGD(value)


def test_what_is_no_integer_or_truth_value():
    """Arrays are no integers; names and numbers are neither True nor False."""
    for value in (np.array(3), np.ones(1, int), np.ones(2, int)):
        with pytest.raises(pynn.PynnTypeError, match="inputs must be an integer"):
            pynn.Dense(value, 2)
    uses = {
        "nesterov": lambda v: pynn.SGD(momentum=0.5, nesterov=v),
        "shuffle": lambda v: classifier().fit(X, T, shuffle=v),
        "training": lambda v: pynn.Dropout(0.5).forward(X, training=v),
        "restore_best": lambda v: pynn.EarlyStopping(1, restore_best=v),
    }
    for name, use in uses.items():
        for value in ("no", 1.0, None, 1):
            with pytest.raises(pynn.PynnTypeError, match=f"{name} must be True or False"):
                use(value)
    with pytest.raises(pynn.PynnTypeError, match="verbose must be an integer"):
        classifier().fit(X, T, verbose="no")


@pytest.mark.parametrize("rate", ["0.1", None, [0.1], True])
def test_bad_learning_rate_of_a_run(rate):
    """run.learning_rate is one number, or one for each step."""

    class Set:
        def on_fit_begin(self, run):
            run.learning_rate = rate

    with pytest.raises(pynn.PynnError, match="learning_rate must"):
        classifier().fit(X, T, batch_size=5, callbacks=[Set()])


def test_masks_in_other_places():
    """A mask counts in a list of rows too, and in what is split."""
    masked = np.ma.MaskedArray([1.0, 2, 3, 4, 5], [0, 0, 1, 0, 0])
    with pytest.raises(pynn.PynnValueError, match="x is masked at row 1, column 2"):
        classifier().predict([np.ma.MaskedArray([1.0] * 5), masked])
    with pytest.raises(pynn.PynnValueError, match="t is masked at row 2"):
        pynn.split(X[:5], masked, 0.5)


def test_snapshot_of_refused_uses():
    """A refused use changes nothing."""
    net = classifier()
    before = snapshot(net)
    for use in (lambda: net.fit(X, T, shuffle=0), lambda: net.fit(X, T, threads=0)):
        with pytest.raises(pynn.PynnError):
            use()
    assert snapshot(net) == before


# ---- layers and nets --------------------------------------------------------------------------------------


def test_bases_and_foreign_layers_are_refused():
    """Only the layers and optimizers of pynn have a part in C."""

    class Mine(pynn.ReLU):
        pass

    with pytest.raises(pynn.PynnTypeError, match="Layer is the base"):
        pynn.Layer()
    with pytest.raises(pynn.PynnTypeError, match="layer 1 must be a layer of pynn"):
        pynn.Sequential(pynn.Dense(2, 3), Mine())
    with pytest.raises(pynn.PynnTypeError, match="optimizer must be a name"):
        classifier().fit(X, T, optimizer=pynn.Optimizer())


def test_failed_construction_leaves_layers_free():
    """A warning that is an error comes before the layers are taken."""
    layers = pynn.Dense(2, 3), pynn.Dense(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="folded"):
            pynn.Sequential(*layers)
    assert net_of(*layers).outputs == 4


def test_looking_is_not_setting():
    """Values that a Dense drew because someone looked are not kept by a net; those that someone set are."""
    looked, written = pynn.Dense(5, 3), pynn.Dense(5, 3)
    assert looked.weight.any()
    written.weight[0, 0] = 7
    assert bits(net_of(looked, seed=4).params) == bits(net_of(pynn.Dense(5, 3), seed=4).params)
    assert net_of(written, seed=4).params[0] == 7


def test_outputs_are_the_callers():
    """Writing to what a layer returned does not change its backward pass."""
    for make in (pynn.Softmax, pynn.Sigmoid, pynn.Tanh):
        one, two = make(), make()
        one.forward(X)[:] = 5
        two.forward(X)
        assert bits(one.backward(X)) == bits(two.backward(X))


def test_training_takes_a_forward_back():
    """backward after the parameters changed would mix two nets."""
    net = classifier()
    for change in (
        lambda: net.fit(X, T, epochs=1),
        lambda: net.train_step(X, T),
        lambda: net.update("sgd"),
        lambda: setattr(net, "params", net.params.copy()),
        net.reset,
    ):
        net.forward(X)
        change()
        with pytest.raises(pynn.PynnRuntimeError, match="needs a forward"):
            net.backward(normal(12, 3))


@pytest.mark.parametrize("duplicate", [pickled, copy.copy, copy.deepcopy])
def test_dropout_copies_go_on(duplicate):
    """A copy of a Dropout goes on with the next mask."""
    drop = pynn.Dropout(0.5)
    drop.forward(X, training=True)
    twin = duplicate(drop)
    assert bits(twin.forward(X, training=True)) == bits(drop.forward(X, training=True))


def test_a_last_layer_is_plain():
    """An Identity after Softmax would hide it from the loss."""
    for last in (pynn.Softmax(), pynn.Sigmoid()):
        with pytest.raises(pynn.PynnValueError, match="not an Identity after it"):
            net_of(pynn.Dense(5, 3), last, pynn.Identity())


def test_accuracy_of_a_regression_is_refused():
    """One output without Sigmoid or Softmax is no class."""
    net = net_of(pynn.Dense(5, 1))
    with pytest.raises(pynn.PynnValueError, match="accuracy of one output"):
        net.fit(X, T, metrics="accuracy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": None}, "metrics must be"),
        ({"metrics": 3}, "metrics must be"),
        ({"metrics": {"val_a": lambda t, y: 0}}, "cannot be called 'val_a'"),
        ({"metrics": {"none": lambda t, y: None}}, "the metric 'none' must return a number, not None"),
        ({"callbacks": None}, "callbacks must be"),
        ({"validation_data": (X, T, [-1] * 12)}, "sample_weight of validation_data must be at least 0"),
    ],
)
def test_errors_have_names(arguments, message):
    """What is wrong is called by the name of its argument."""
    with pytest.raises(pynn.PynnError, match=message):
        classifier().fit(X, T, epochs=1, **arguments)


def test_metrics_by_name():
    """A mapping gives functions their names."""
    assert classifier().evaluate(X, T, metrics={"two": lambda t, y: 2})["two"] == 2


def test_a_broken_stream_ends_no_training(monkeypatch):
    """Progress that cannot be shown is not shown."""

    class Broken:
        def write(self, text):
            raise OSError("closed")

    monkeypatch.setattr("sys.stderr", Broken())
    net = classifier()
    net.fit(X, T, epochs=2, verbose=1)
    assert net.epochs_done == 2


def test_quantities_of_a_trace_by_name():
    """`in` takes names, as indexing does; a large net prints quickly."""
    trace = classifier().trace(X, T)
    assert "dL/dW1" in trace
    assert "dL/dW9" not in trace
    assert trace[0] in trace
