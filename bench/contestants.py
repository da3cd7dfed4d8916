"""The same training step in pynn and in its peers: float32, one thread, softmax with cross-entropy, ReLU
between.

Each contestant is a function (widths, batch, optimizer, x, labels) -> epoch, where epoch() trains once over
all rows in shuffled batches. Peers that are not installed are left out of TRAINERS.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Epoch = Callable[[], object]
LEARNING_RATE = 1e-3


def pynn(widths: Sequence[int], batch: int, optimizer: str, x: np.ndarray, labels: np.ndarray) -> Epoch:
    """`Sequential.fit`, all checks included."""
    import pynn

    layers: list[pynn.Layer] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [pynn.Dense(inputs, outputs), pynn.ReLU()]
    net = pynn.Sequential(*layers[:-1], pynn.Softmax())
    recipe = {"adam": pynn.Adam, "sgd": pynn.SGD}[optimizer](LEARNING_RATE)
    return lambda: net.fit(x, labels, epochs=1, batch_size=batch, optimizer=recipe, verbose=0)


def numpy(widths: Sequence[int], batch: int, optimizer: str, x: np.ndarray, labels: np.ndarray) -> Epoch:
    """Written by hand over numpy arrays, in place where that is natural."""
    rng = np.random.default_rng(0)
    rate = np.float32(LEARNING_RATE)
    ws = [
        (rng.standard_normal((i, o)) * np.sqrt(2 / i)).astype(np.float32)
        for i, o in itertools.pairwise(widths)
    ]
    params = [p for w in ws for p in (w, np.zeros(w.shape[1], np.float32))]
    m = [np.zeros_like(p) for p in params]
    v = [np.zeros_like(p) for p in params]
    steps = 0

    def step(a: np.ndarray, t: np.ndarray) -> None:
        nonlocal steps
        steps += 1
        kept = [a]
        for k in range(0, len(params), 2):
            a = a @ params[k] + params[k + 1]
            if k + 2 < len(params):
                np.maximum(a, 0, out=a)
            kept.append(a)
        a = np.exp(a - a.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)
        a[np.arange(len(a)), t] -= 1
        ds = a / np.float32(len(a))
        grads: list[np.ndarray] = []
        for k in range(len(params) - 2, -1, -2):
            x = kept[k // 2]
            grads[:0] = [x.T @ ds, ds.sum(axis=0)]
            if k:
                ds = ds @ params[k].T
                ds *= x > 0
        for p, g, mp, vp in zip(params, grads, m, v, strict=True):
            if optimizer == "sgd":
                p -= rate * g
                continue
            mp *= np.float32(0.9)
            mp += np.float32(0.1) * g
            vp *= np.float32(0.999)
            vp += np.float32(0.001) * g * g
            scale = np.float32(LEARNING_RATE * np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps))
            p -= scale * mp / (np.sqrt(vp) + np.float32(1e-8))

    def epoch() -> None:
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            step(x[rows], labels[rows])

    return epoch


def sklearn(widths: Sequence[int], batch: int, optimizer: str, x: np.ndarray, labels: np.ndarray) -> Epoch:
    """`MLPClassifier.partial_fit` over all rows: one validation of the data, then its inner loop."""
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(
        widths[1:-1],
        solver=optimizer,
        alpha=0.0,
        batch_size=batch,
        learning_rate_init=LEARNING_RATE,
        momentum=0.0,
        nesterovs_momentum=False,
        random_state=0,
    )
    classes = np.arange(widths[-1])
    return lambda: net.partial_fit(x, labels, classes=classes)


def torch(widths: Sequence[int], batch: int, optimizer: str, x: np.ndarray, labels: np.ndarray) -> Epoch:
    """Eager, with the fused optimizer."""
    import torch

    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    recipe = kinds[optimizer](net.parameters(), lr=LEARNING_RATE, fused=True)
    rows, goals = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))
    loss = torch.nn.functional.cross_entropy

    def epoch() -> None:
        for some in torch.randperm(len(x)).split(batch):
            recipe.zero_grad()
            loss(net(rows[some]), goals[some]).backward()
            recipe.step()

    return epoch


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


TRAINERS: dict[str, Callable[..., Epoch]] = {
    name: function
    for name, function in {"pynn": pynn, "numpy": numpy, "sklearn": sklearn, "torch": torch}.items()
    if _installed(name)
}


def one_thread() -> None:
    """Keeps torch to the one core that pynn uses by default; the others listen to the environment."""
    if _installed("torch"):
        import torch

        torch.set_num_threads(1)
