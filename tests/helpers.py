"""Small tools of the tests: data, nets, digests, programs of their own process."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

import pynn

ACTIVATIONS = {
    "identity": pynn.Identity,
    "relu": pynn.ReLU,
    "leaky_relu": lambda: pynn.LeakyReLU(0.1),
    "sigmoid": pynn.Sigmoid,
    "tanh": pynn.Tanh,
    "softplus": pynn.Softplus,
    "gelu": pynn.GELU,
    "silu": pynn.SiLU,
}

OPTIMIZERS = {
    "sgd": pynn.SGD(0.05),
    "momentum": pynn.SGD(0.02, momentum=0.9),
    "nesterov": pynn.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": pynn.Adam(1e-2),
    "adam_l2": pynn.Adam(1e-2, weight_decay=1e-2),
    "adamw": pynn.AdamW(1e-2, weight_decay=0.1),
}

LOSSES = (
    "squared_error",
    "half_squared_error",
    "mean_squared_error",
    "cross_entropy",
    "binary_cross_entropy",
)


def normal(*shape, seed=0):
    """Normal numbers as float32."""
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


def labels(n, classes, seed=0):
    """Random labels as int32."""
    return np.random.default_rng(seed).integers(0, classes, n).astype("i4")


def net_of(*layers, seed=0):
    """A Sequential, also where it would warn of dense neighbours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pynn.Sequential(*layers, seed=seed)


def classifier(inputs=5, hidden=7, classes=3, activation="relu", dropout=0.0, seed=0):
    """Dense, activation, perhaps dropout, dense, softmax."""
    drop = [pynn.Dropout(dropout)] if dropout else []
    return net_of(
        pynn.Dense(inputs, hidden),
        ACTIVATIONS[activation](),
        *drop,
        pynn.Dense(hidden, classes),
        pynn.Softmax(),
        seed=seed,
    )


def bits(array):
    """The bytes of an array, so that equality means equality of every bit."""
    array = np.asarray(array)
    return array.dtype.str, array.shape, array.tobytes()


def snapshot(net):
    """All that training may change: parameters, gradients, moments, counts, seed."""
    state = net.__getstate__()
    return {
        "params": bits(state["params"]),
        "grads": bits(net.grads),
        "moments": bits(state["moments"]),
        "moments_of": state["moments_of"],
        "state": state["state"],
        "epochs_done": state["epochs_done"],
        "seed": state["seed"],
    }


def trained_state(net):
    """The same without the gradients, of which a fit keeps none."""
    return {key: value for key, value in snapshot(net).items() if key != "grads"}


def digest(*arrays):
    """SHA-256 of arrays in little-endian bytes."""
    hashed = hashlib.sha256()
    for array in map(np.asarray, arrays):
        hashed.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return hashed.hexdigest()


def pickled(thing):
    """A copy by way of bytes."""
    return pickle.loads(pickle.dumps(thing))


def environment(**more):
    """Variables for a process that finds the pynn that is tested here."""
    where = str(Path(pynn.__file__).parent.parent)
    path = os.pathsep.join(p for p in (where, os.environ.get("PYTHONPATH")) if p)
    return {**os.environ, "PYTHONPATH": path, **more}


def run_python(code, cwd, *flags, limit=60, **variables):
    """The output of a Python program that must succeed."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
