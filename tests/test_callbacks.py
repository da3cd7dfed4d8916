"""Callbacks: when they are called, what they may do, early stopping, schedules."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import bits, classifier, labels, normal, trained_state

import pynn

X, T = normal(30, 5), labels(30, 3)


class Script:
    """A metric that returns one number after the other."""

    def __init__(self, *values):
        self.values = iter(values)
        self.__name__ = "scripted"

    def __call__(self, targets, outputs):
        return next(self.values)


class Keep:
    """Keeps a copy of the parameters of every epoch."""

    def __init__(self):
        self.params = {}

    def on_epoch_end(self, run):
        self.params[run.epoch] = run.net.params.copy()


def test_moments_and_order():
    """Begin, each epoch's end, end; callbacks in their order; missing methods are skipped."""
    calls = []

    class All:
        def __init__(self, name):
            self.name = name

        def on_fit_begin(self, run):
            calls.append((self.name, "begin", run.epoch))

        def on_epoch_end(self, run):
            calls.append((self.name, "epoch", run.epoch))

        def on_fit_end(self, run):
            calls.append((self.name, "end", run.epoch))

    class Some:
        def on_fit_end(self, run):
            calls.append(("c", "end", run.epoch))

    net = classifier()
    net.fit(X, T, epochs=1)
    net.fit(X, T, epochs=2, callbacks=[All("a"), All("b"), Some()])
    assert calls == [
        ("a", "begin", 1), ("b", "begin", 1), ("a", "epoch", 2), ("b", "epoch", 2),
        ("a", "epoch", 3), ("b", "epoch", 3), ("a", "end", 3), ("b", "end", 3), ("c", "end", 3),
    ]  # fmt: skip


def test_what_a_run_tells():
    """Net, counts, history and learning rate of the run; predictions in a callback are those of now."""
    net, seen = classifier(), []

    class Look:
        def on_epoch_end(self, run):
            assert run.net is net
            assert run.epochs == 3
            assert run.steps_per_epoch == 4
            assert run.learning_rate == 1e-3
            assert len(run.history["loss"]) == run.epoch
            assert bits(run.net.predict(X)) == bits(net.predictor(30)(X))
            assert run.net.evaluate(X, T)["loss"] == run.history["val_loss"][-1]
            seen.append(run.history["val_loss"][-1])

    history = net.fit(X, T, epochs=3, batch_size=9, callbacks=[Look()], validation_data=(X, T))
    assert history["val_loss"] == seen


@pytest.mark.parametrize("moment", ["on_fit_begin", "on_epoch_end"])
def test_true_stops(moment):
    """True from a callback stops, and the history says who."""

    class Stop:
        pass

    setattr(Stop, moment, lambda self, run: run.epoch >= (0 if moment == "on_fit_begin" else 3))
    net, plain = classifier(), classifier()
    history = net.fit(X, T, epochs=9, callbacks=[Stop()])
    assert net.epochs_done == len(history["loss"]) == (0 if moment == "on_fit_begin" else 3)
    assert history.stop_reason == "Stop stopped"
    if net.epochs_done:
        plain.fit(X, T, epochs=3)
        assert trained_state(net) == trained_state(plain)


def test_stop_reason_stops():
    """A text in run.stop_reason stops too, and is what the history says."""

    class Stop:
        def on_epoch_end(self, run):
            run.stop_reason = "enough"

    assert classifier().fit(X, T, epochs=9, callbacks=[Stop()]).stop_reason == "enough"


def test_callbacks_change_no_bits():
    """Looking on does not change what is learned."""
    plain, watched = classifier(dropout=0.2), classifier(dropout=0.2)
    plain.fit(X, T, epochs=4, batch_size=7)

    class Busy:
        def on_epoch_end(self, run):
            run.net.predict(X)
            run.net.evaluate(X, T, metrics="accuracy")
            run.net.predictor()(X[0])
            run.net.trace(X, T)
            run.net.loss_and_grad(X, T, training=True)
            run.net.forward(X, training=True)

    watched.fit(X, T, epochs=4, batch_size=7, callbacks=[Busy()], metrics="accuracy", validation_data=(X, T))
    assert trained_state(plain) == trained_state(watched)


class Odd(BaseException):
    """An exception that is no Exception."""


@pytest.mark.parametrize(
    "error",
    [ValueError, RuntimeError, StopIteration, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, Odd],
)
@pytest.mark.parametrize("moment", ["on_fit_begin", "on_epoch_end", "on_fit_end"])
def test_exceptions_of_callbacks_propagate(error, moment):
    """Whatever a callback raises arrives as it is; the net is at an epoch's end, and trains on."""

    class Fail:
        pass

    def fail(self, run):
        raise error("from the callback")

    setattr(Fail, moment, fail)
    net, plain = classifier(), classifier()
    with pytest.raises(error) as caught:
        net.fit(X, T, epochs=2, batch_size=7, callbacks=[Fail()])
    assert caught.value.args == ("from the callback",)
    epochs = {"on_fit_begin": 0, "on_epoch_end": 1, "on_fit_end": 2}[moment]
    assert net.epochs_done == epochs
    net.fit(X, T, epochs=3 - epochs, batch_size=7)
    plain.fit(X, T, epochs=3, batch_size=7)
    assert trained_state(net) == trained_state(plain)


def test_metric_that_fails():
    """An error in a metric arrives as it is, and the net stays usable."""

    def bad(targets, outputs):
        raise ZeroDivisionError("metric")

    net = classifier()
    with pytest.raises(ZeroDivisionError, match="metric"):
        net.fit(X, T, epochs=3, metrics=[bad])
    net.fit(X, T, epochs=1)


def test_training_within_training_is_refused():
    """A callback may use its net, not train it; the outer fit goes on unharmed."""
    net, plain, refused = classifier(), classifier(), []
    uses = [
        lambda: net.fit(X, T),
        lambda: net.train_step(X, T),
        lambda: net.update("adam"),
        net.reset,
    ]

    class Train:
        def on_epoch_end(self, run):
            for use in uses:
                with pytest.raises(pynn.BusyError, match="may use it but not train it"):
                    use()
                refused.append(use)

    net.fit(X, T, epochs=3, callbacks=[Train()])
    plain.fit(X, T, epochs=3)
    assert len(refused) == 12
    assert trained_state(net) == trained_state(plain)
    net.fit(X, T, epochs=1)


def test_nested_fit_error_leaves_the_net_usable():
    """A BusyError that a callback lets through ends the outer fit, and that is all."""

    class Nested:
        def on_epoch_end(self, run):
            run.net.fit(X, T)

    net = classifier()
    with pytest.raises(pynn.BusyError):
        net.fit(X, T, callbacks=[Nested()])
    net.fit(X, T, epochs=1)
    assert net.epochs_done == 2


# ---- early stopping ---------------------------------------------------------------------------------------


def fit_scripted(net, values, stopper, **more):
    """A fit whose metric "scripted" has given values, and its parameters by epoch."""
    keep = Keep()
    history = net.fit(X, T, epochs=len(values), metrics=[Script(*values)], callbacks=[keep, stopper], **more)
    return history, keep.params


def test_early_stopping_restores_the_best():
    """It stops after `patience` epochs without gain, with the parameters of the best."""
    net, stopper = classifier(), pynn.EarlyStopping(3, monitor="scripted", mode="min")
    history, params = fit_scripted(net, [5, 3, 4, 3, 6, 7, 1], stopper)
    assert len(history["loss"]) == 5
    assert (stopper.best, stopper.best_epoch) == (3, 2)
    assert bits(net.params) == bits(params[2]) != bits(params[5])
    assert net.epochs_done == 5
    assert history.stop_reason == "scripted has not got better for 3 epochs"


def test_early_stopping_that_does_not_stop():
    """At the end of the last epoch too, the best parameters come back; or not, if not wanted."""
    for restore in (True, False):
        net = classifier()
        history, params = fit_scripted(
            net, [5, 3, 4], pynn.EarlyStopping(9, monitor="scripted", mode="min", restore_best=restore)
        )
        assert history.stop_reason is None
        assert bits(net.params) == bits(params[2 if restore else 3])


def test_early_stopping_min_delta_and_direction():
    """Small gains do not count; accuracies should rise."""
    net, stopper = classifier(), pynn.EarlyStopping(2, monitor="scripted", mode="min", min_delta=0.5)
    history, _ = fit_scripted(net, [5, 4.8, 4.6, 4.4, 1, 1], stopper)
    assert (len(history["loss"]), stopper.best_epoch) == (3, 1)

    script = Script(0.1, 0.5, 0.4, 0.3, 0.9)
    script.__name__ = "my_accuracy"
    stopper = pynn.EarlyStopping(2, monitor="my_accuracy")
    classifier().fit(X, T, epochs=5, metrics=[script], callbacks=[stopper])
    assert (stopper.best, stopper.best_epoch) == (0.5, 2)


def test_early_stopping_in_a_second_fit():
    """A stopper starts afresh with each fit; epochs count over all fits; NaN is never best."""
    net, stopper = classifier(), pynn.EarlyStopping(2, monitor="scripted", mode="min")
    fit_scripted(net, [1, 2, 3, 4], stopper)
    assert (net.epochs_done, stopper.best_epoch) == (3, 1)
    history, params = fit_scripted(net, [9, 8, 10, 11, 12], stopper)
    assert (stopper.best, stopper.best_epoch, len(history["loss"])) == (8, 5, 4)
    assert bits(net.params) == bits(params[5])
    history, _ = fit_scripted(net, [np.nan, 3, np.nan, np.nan, 1], stopper)
    assert (stopper.best, len(history["loss"])) == (3, 4)


def test_early_stopping_mode():
    """min and max are what they say; auto refuses a name that tells nothing."""
    for mode, best in (("min", (1, 3)), ("max", (5, 1))):
        stopper = pynn.EarlyStopping(9, monitor="scripted", mode=mode)
        classifier().fit(X, T, epochs=3, metrics=[Script(5, 3, 1)], callbacks=[stopper])
        assert (stopper.best, stopper.best_epoch) == best
    with pytest.raises(pynn.PynnValueError, match=r"mode must be .* to monitor 'scripted'"):
        classifier().fit(X, T, metrics=[Script(1)], callbacks=[pynn.EarlyStopping(1, monitor="scripted")])
    with pytest.raises(pynn.PynnValueError, match="unknown mode 'up'"):
        pynn.EarlyStopping(1, mode="up")


def test_early_stopping_on_nan():
    """NaN from the start is no improvement."""
    stopper = pynn.EarlyStopping(2, monitor="scripted", mode="min")
    history, _ = fit_scripted(classifier(), [np.nan] * 5, stopper)
    assert len(history["loss"]) == 2


def test_schedule_by_step_after_other_batches():
    """A schedule by step counts the steps that the net has done, however large its batches were."""
    net, asked = classifier(), []

    def schedule(step):
        asked.append(step)
        return 0.1

    net.fit(X, T, epochs=1, batch_size=10)
    net.fit(X, T, epochs=1, batch_size=15, callbacks=pynn.LearningRate(schedule, per="step"))
    assert asked == [3, 4]


def test_answers_of_callbacks():
    """Only True stops; what is no truth value is refused; a fit that ran to its end has no stop_reason."""

    class Answer:
        def __init__(self, answer):
            self.answer = answer

        def on_epoch_end(self, run):
            return self.answer

        def on_fit_end(self, run):
            return "ignored"

    assert classifier().fit(X, T, epochs=2, callbacks=[Answer(np.True_)]).stop_reason == "Answer stopped"
    assert classifier().fit(X, T, epochs=1, callbacks=[Answer(True)]).stop_reason is None
    for bad in (1, "no", {"loss": 1}):
        with pytest.raises(
            pynn.PynnTypeError, match="on_epoch_end of Answer must return True, False or None"
        ):
            classifier().fit(X, T, epochs=2, callbacks=[Answer(bad)])


def test_early_stopping_on_validation_loss():
    """The default monitor is val_loss; on noise it stops, and the net is the best that was seen."""
    net = classifier(5, 64, 3)
    history = net.fit(
        X[:20], T[:20], epochs=500, optimizer=pynn.Adam(0.01), validation_data=(X[20:], T[20:]),
        callbacks=[pynn.EarlyStopping(patience=5)],
    )  # fmt: skip
    assert len(history["val_loss"]) < 500
    assert net.evaluate(X[20:], T[20:])["loss"] == min(history["val_loss"])


def test_early_stopping_without_its_quantity():
    """A monitor that the history will not have is refused before the first step, with those it has."""
    net = classifier()
    before = trained_state(net)
    with pytest.raises(pynn.PynnValueError, match="no 'val_loss' to monitor; it has loss, accuracy"):
        net.fit(X, T, metrics="accuracy", callbacks=[pynn.EarlyStopping(1)])
    after = trained_state(net)
    assert {k: after[k] for k in ("params", "state", "epochs_done")} == {
        k: before[k] for k in ("params", "state", "epochs_done")
    }


# ---- schedules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [pynn.SGD, pynn.Adam])
def test_schedule_by_epoch(optimizer):
    """Each epoch has its own rate, counted over all fits, in bits those of fits with constant rates."""
    rates, asked = [0.1, 0.05, 0.02, 0.01], []

    def table(epoch):
        asked.append(epoch)
        return rates[epoch]

    net, by_hand = classifier(), classifier()
    for _ in range(2):
        net.fit(X, T, epochs=2, batch_size=9, optimizer=optimizer(99), callbacks=[pynn.LearningRate(table)])
    for rate in rates:
        by_hand.fit(X, T, epochs=1, batch_size=9, optimizer=optimizer(rate))
    assert trained_state(net) == trained_state(by_hand)
    assert asked == [0, 1, 2, 3]


def test_schedule_by_step():
    """Each step has its own rate, counted over all fits."""
    net, by_hand, asked = classifier(), classifier(), []

    def schedule(step):
        asked.append(step)
        return 0.1 / (1 + step)

    for _ in range(2):
        net.fit(
            X, T, epochs=1, batch_size=9, optimizer="sgd", callbacks=[pynn.LearningRate(schedule, per="step")]
        )
    for epoch in range(2):
        for rows in pynn.batches(30, 9, epoch=epoch):
            rate = 0.1 / (1 + by_hand.steps_done)
            by_hand.train_step(X[rows], T[rows], optimizer=pynn.SGD(rate))
    assert bits(net.params) == bits(by_hand.params)
    assert asked == list(range(8))


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf, "fast", None, [0.1, 0.2], [[0.1] * 4]])
def test_bad_rates_of_a_schedule(rate):
    """A rate that is none is refused before its epoch; the net is that of the epoch before."""
    net, plain = classifier(), classifier()
    schedule = pynn.LearningRate(lambda epoch: rate if epoch == 1 else 0.1)
    with pytest.raises(pynn.PynnError, match="learning_rate must"):
        net.fit(X, T, epochs=3, batch_size=9, callbacks=[schedule])
    plain.fit(X, T, epochs=1, batch_size=9, optimizer=pynn.Adam(0.1))
    assert trained_state(net) == trained_state(plain)


def test_rate_set_by_hand():
    """A callback may set run.learning_rate for the epochs to come."""

    class Halve:
        def on_epoch_end(self, run):
            run.learning_rate /= 2

    net, by_hand = classifier(), classifier()
    net.fit(X, T, epochs=3, optimizer=pynn.SGD(0.4), callbacks=[Halve()])
    for rate in (0.4, 0.2, 0.1):
        by_hand.fit(X, T, epochs=1, optimizer=pynn.SGD(rate))
    assert trained_state(net) == trained_state(by_hand)
