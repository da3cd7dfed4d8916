"""Threads: they change no bit, and none is left behind."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest
from helpers import OPTIMIZERS, bits, classifier, labels, net_of, normal, run_python, trained_state

import pynn
from pynn import _structs, threads

X, T = normal(211, 64), labels(211, 10)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")


@pytest.fixture
def started(monkeypatch):
    """The numbers of workers that executors were started with."""
    counts, start = [], _structs.Executor.start

    def counted(self, workers):
        counts.append(workers)
        start(self, workers)

    monkeypatch.setattr(_structs.Executor, "start", counted)
    return counts


def alive(expected):
    """The threads of this process, among them those of numpy; those that are ending get time to end."""
    until = time.monotonic() + 2
    while (count := len(os.listdir("/proc/self/task"))) != expected and time.monotonic() < until:
        time.sleep(0.01)
    return count


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fit_has_the_bits_of_one_thread(started, optimizer, monkeypatch):
    """With every optimizer, clipping, dropout, weights, an odd last batch, and metrics."""
    monkeypatch.setattr(threads, "available", lambda: 3)
    expected = None
    for count in (1, 2, 3, 4, "auto"):
        net = classifier(64, 300, 10, dropout=0.25)
        history = net.fit(
            X, T, epochs=5, batch_size=100, optimizer=OPTIMIZERS[optimizer], clip_norm=0.5,
            sample_weight=np.arange(211) % 3, metrics="accuracy", validation_data=(X, T), threads=count,
        )  # fmt: skip
        found = trained_state(net), dict(history)
        expected = expected or found
        assert found == expected
    assert started == [2, 3, 4, 3]


@pytest.mark.parametrize("last", [pynn.Softmax, pynn.Sigmoid])
def test_predictions_have_the_bits_of_one_thread(started, last, monkeypatch):
    """predict, scores and evaluate."""
    monkeypatch.setattr(threads, "available", lambda: 3)
    net = net_of(pynn.Dense(64, 300), pynn.GELU(), pynn.Dense(300, 10), last())
    x, t = normal(4001, 64), np.abs(normal(4001, 10)) % 1
    t /= t.sum(axis=1, keepdims=True)
    expected = None
    for count in (1, 2, 3, 4, "auto"):
        found = (
            bits(net.predict(x, threads=count)),
            bits(net.scores(x, threads=count)),
            net.evaluate(x, t, metrics="mean_squared_error", threads=count),
        )
        expected = expected or found
        assert found == expected
    assert started == [2] * 3 + [3] * 3 + [4] * 3 + [3] * 3


def test_little_work_starts_none(started):
    """Where a step is short, threads would cost more than they save."""
    net = classifier()
    net.fit(normal(20, 5), labels(20, 3), epochs=2, threads=4)
    net.predict(normal(20, 5), threads=4)
    classifier(64, 300, 10).fit(X, T, epochs=1, batch_size=211, threads=4)  # long steps, but few
    assert started == []


@pytest.mark.parametrize("bad", [0, -1, 1025, 2.0, True, None, "all", [2]])
def test_bad_numbers_of_threads(bad):
    """A number of threads is at least 1, or "auto"."""
    net = classifier()
    x, t = normal(20, 5), labels(20, 3)
    for use in (
        lambda: net.fit(x, t, threads=bad),
        lambda: net.predict(x, threads=bad),
        lambda: net.scores(x, threads=bad),
        lambda: net.evaluate(x, t, threads=bad),
    ):
        with pytest.raises(pynn.PynnError, match="threads must be"):
            use()
    assert net.epochs_done == 0


@LINUX
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_no_thread_is_left(started, error):
    """After a fit, a prediction, and a fit that ends by an exception."""
    net = classifier(64, 300, 10)
    before, during = len(os.listdir("/proc/self/task")), []

    class Count:
        def on_epoch_end(self, run):
            during.append(len(os.listdir("/proc/self/task")) - before)

    class Fail:
        def on_epoch_end(self, run):
            raise error

    net.fit(X, T, epochs=10, threads=3, callbacks=[Count()])
    assert during == [2] * 10
    assert alive(before) == before
    net.predict(normal(3000, 64), threads=2)
    assert alive(before) == before
    with pytest.raises(error):
        net.fit(X, T, epochs=10, threads=3, callbacks=[Fail()])
    assert alive(before) == before
    assert started == [3, 2, 3]


CTRL_C = """
import os, signal, threading, time
import numpy as np, pynn
signal.signal(signal.SIGINT, signal.default_int_handler)
x, t = np.random.default_rng(0).normal(size=(2000, 64)).astype("f4"), np.arange(2000) % 10
net = pynn.Sequential(pynn.Dense(64, 300), pynn.ReLU(), pynn.Dense(300, 10), pynn.Softmax())
before = len(os.listdir("/proc/self/task"))
for wait in (0.05, 0.2, 0.3):
    timer = threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        net.fit(x, t, epochs=10**6, threads=3)
    except KeyboardInterrupt:
        pass
    timer.join()
    until = time.monotonic() + 5
    while len(os.listdir("/proc/self/task")) > before and time.monotonic() < until:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) == before
net.fit(x, t, epochs=1, threads=3)
print("usable")
"""


@LINUX
def test_ctrl_c_ends_threads(tmp_path):
    """After Ctrl-C none is alive, and the net trains on."""
    assert run_python(CTRL_C, tmp_path) == "usable\n"


FORK = """
import os, signal, sys
import numpy as np, pynn
x, t = np.random.default_rng(0).normal(size=(500, 64)).astype("f4"), np.arange(500) % 10
def build():
    return pynn.Sequential(pynn.Dense(64, 300), pynn.ReLU(), pynn.Dense(300, 10), pynn.Softmax())
plain = build()
plain.fit(x, t, epochs=4)
net, children = build(), []
class Fork:
    def on_epoch_end(self, run):
        if run.epoch == 2 and not children:
            child = os.fork()
            if child == 0:
                signal.alarm(20)
            children.append(child)
net.fit(x, t, epochs=4, threads=3, callbacks=[Fork()])
right = net.params.tobytes() == plain.params.tobytes()
if children[0] == 0:
    again = build()
    again.fit(x, t, epochs=4, threads=3)
    os._exit(7 if right and again.params.tobytes() == plain.params.tobytes() else 8)
after = os.fork()
if after == 0:
    signal.alarm(20)
    net.predict(x, threads=3)
    net.reset()
    net.fit(x, t, epochs=4, threads=3)
    os._exit(7 if net.params.tobytes() == plain.params.tobytes() else 8)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (children[0], after)]
print(right, codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork(tmp_path):
    """A child made during a fit ends it alone, one made after trains with threads; the same bits."""
    assert run_python(FORK, tmp_path) == "True [7, 7]\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu.max": "nonsense"}, 8),
    ],
)
def test_available(files, expected, tmp_path, monkeypatch):
    """The affinity of the process, cut by the quota of its control group, rounded up."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n", "ascii")
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads.available() == expected


def test_auto_does_without_threads(monkeypatch):
    """Where none can be started, "auto" leaves it at one; a number is an error."""

    def start(self, workers):
        raise pynn.PynnRuntimeError("no threads")

    monkeypatch.setattr(_structs.Executor, "start", start)
    monkeypatch.setattr(threads, "available", lambda: 4)
    net = classifier(64, 300, 10)
    net.fit(X, T, epochs=10, threads="auto")
    with pytest.raises(pynn.PynnRuntimeError, match="no threads"):
        net.fit(X, T, epochs=10, threads=4)
