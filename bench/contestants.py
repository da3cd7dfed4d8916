"""The same training step and the same prediction in pynn and in its peers: float32, dense layers with ReLU
between, softmax with cross-entropy behind.

A trainer is a function (Problem) -> Trainer, a predictor a function (Net, x, threads) -> call. Of the ways to
use a library, the fastest counts (`LIBRARIES`); a whole epoch as one scan of JAX, and ONNX Runtime on bound
buffers, are shown beside.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import Case

LEARNING_RATE = 1e-3
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Call = Callable[[], Any]


@dataclass(frozen=True)
class Net:
    """Widths, and the initial values of W (I, O) and b (O) of every layer."""

    widths: tuple[int, ...]
    values: list[np.ndarray]

    @property
    def flat(self) -> np.ndarray:
        return np.concatenate([value.ravel() for value in self.values])


@dataclass(frozen=True)
class Problem:
    net: Net
    batch: int
    optimizer: str  # "adam" or "sgd"
    x: np.ndarray  # (n, I), float32; n is a multiple of the batch
    labels: np.ndarray  # (n,), int32
    threads: int | str


@dataclass(frozen=True)
class Trainer:
    """`epoch` trains once over all rows, in shuffled batches; `params` gives W, b, W, b, ... as arrays."""

    epoch: Call
    params: Callable[[], list[np.ndarray]]


def initial(widths: Sequence[int]) -> Net:
    rng = np.random.default_rng(1)
    values: list[np.ndarray] = []
    for i, o in itertools.pairwise(widths):
        values += [(rng.standard_normal((i, o)) * np.sqrt(2 / i)).astype(np.float32), np.zeros(o, np.float32)]
    return Net(tuple(widths), values)


# ---- pynn -------------------------------------------------------------------


def _pynn_net(net: Net) -> Any:
    import pynn

    layers: list[pynn.Layer] = []
    for i, o in itertools.pairwise(net.widths):
        layers += [pynn.Dense(i, o), pynn.ReLU()]
    made = pynn.Sequential(*layers[:-1], pynn.Softmax())
    made.params = net.flat
    return made


def train_pynn(p: Problem) -> Trainer:
    """`Sequential.fit`, all checks included."""
    import pynn

    net = _pynn_net(p.net)
    optimizer = {"adam": pynn.Adam, "sgd": pynn.SGD}[p.optimizer](LEARNING_RATE)

    def epoch() -> None:
        net.fit(
            p.x, p.labels, batch_size=p.batch, epochs=1, optimizer=optimizer, verbose=0, threads=p.threads
        )

    def params() -> list[np.ndarray]:
        return [
            value
            for layer in net.layers
            if isinstance(layer, pynn.Dense)
            for value in (layer.weight, layer.bias)
        ]

    return Trainer(epoch, params)


def predict_pynn(net: Net, x: np.ndarray, threads: int | str) -> Call:
    made = _pynn_net(net)
    return lambda: made.predict(x, threads=threads)


def predict_pynn_row(net: Net, x: np.ndarray, threads: int | str) -> Call:
    predictor = _pynn_net(net).predictor(len(x))
    return lambda: predictor(x)


def predict_pynn_own(net: Net, x: np.ndarray, threads: int | str) -> Call:
    predictor = _pynn_net(net).predictor(len(x))
    predictor.x[...] = x
    return predictor


# ---- numpy ------------------------------------------------------------------


def _softmax(s: np.ndarray) -> np.ndarray:
    h = np.exp(s - s.max(axis=1, keepdims=True))
    h /= h.sum(axis=1, keepdims=True)
    return h


def train_numpy(p: Problem) -> Trainer:
    """Written by hand, in place where that is natural."""
    rng = np.random.default_rng(0)
    params = [value.copy() for value in p.net.values]
    m = [np.zeros_like(value) for value in params]
    v = [np.zeros_like(value) for value in params]
    rate = np.float32(LEARNING_RATE)
    steps = 0

    def step(a: np.ndarray, t: np.ndarray) -> None:
        nonlocal steps
        steps += 1
        kept = [a]
        for k in range(0, len(params), 2):
            a = a @ params[k]
            a += params[k + 1]
            if k + 2 < len(params):
                np.maximum(a, 0, out=a)
            kept.append(a)
        ds = _softmax(a)
        ds[np.arange(len(ds)), t] -= 1
        ds /= np.float32(len(ds))
        grads: list[np.ndarray] = []
        for k in range(len(params) - 2, -1, -2):
            x = kept[k // 2]
            grads[:0] = [x.T @ ds, ds.sum(axis=0)]
            if k:
                ds = ds @ params[k].T
                ds *= x > 0
        scale = np.float32(LEARNING_RATE * np.sqrt(1 - BETA2**steps) / (1 - BETA1**steps))
        for w, g, mw, vw in zip(params, grads, m, v, strict=True):
            if p.optimizer == "sgd":
                w -= rate * g
                continue
            mw *= np.float32(BETA1)
            mw += np.float32(1 - BETA1) * g
            vw *= np.float32(BETA2)
            vw += np.float32(1 - BETA2) * g * g
            w -= scale * mw / (np.sqrt(vw) + np.float32(EPSILON))

    def epoch() -> None:
        order = rng.permutation(len(p.x))
        for start in range(0, len(order), p.batch):
            rows = order[start : start + p.batch]
            step(p.x[rows], p.labels[rows])

    return Trainer(epoch, lambda: params)


def predict_numpy(net: Net, x: np.ndarray, threads: int | str) -> Call:
    def predict() -> np.ndarray:
        a = x
        for k in range(0, len(net.values), 2):
            a = a @ net.values[k]
            a += net.values[k + 1]
            if k + 2 < len(net.values):
                np.maximum(a, 0, out=a)
        return _softmax(a)

    return predict


# ---- scikit-learn -----------------------------------------------------------


def _sklearn_net(net: Net) -> Any:
    """An `MLPClassifier` as fit leaves it, with our initial values and softmax for two classes too."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    made = MLPClassifier(net.widths[1:-1], alpha=0.0)
    made.coefs_ = [value.copy() for value in net.values[::2]]
    made.intercepts_ = [value.copy() for value in net.values[1::2]]
    made.n_layers_, made.n_outputs_, made.out_activation_ = len(net.widths), net.widths[-1], "softmax"
    made.n_features_in_, made._random_state = net.widths[0], np.random.RandomState(0)
    made.loss, made.n_iter_, made.classes_ = "log_loss", 0, np.arange(net.widths[-1])
    made._label_binarizer = LabelBinarizer().fit(made.classes_)
    return made


def train_sklearn(p: Problem) -> Trainer:
    """The inner loop of `MLPClassifier.fit`: its `_backprop` and optimizer, without validating the data."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
    from sklearn.utils import shuffle

    net = _sklearn_net(p.net)
    params = net.coefs_ + net.intercepts_
    if p.optimizer == "adam":
        optimizer = AdamOptimizer(params, LEARNING_RATE, BETA1, BETA2, EPSILON)
    else:
        optimizer = SGDOptimizer(params, LEARNING_RATE, momentum=0.0, nesterov=False)
    goals = p.labels[:, None] == net.classes_
    widths = p.net.widths
    activations: list[Any] = [None] + [np.empty((p.batch, o), np.float32) for o in widths[1:]]
    deltas = [np.empty_like(a) for a in activations[1:]]
    dcoefs = [np.empty_like(w) for w in net.coefs_]
    dintercepts = [np.empty_like(b) for b in net.intercepts_]

    def epoch() -> None:
        order = shuffle(np.arange(len(p.x)), random_state=net._random_state)
        for start in range(0, len(order), p.batch):
            rows = order[start : start + p.batch]
            activations[0] = p.x[rows]
            _, dw, db = net._backprop(
                activations[0], goals[rows], None, activations, deltas, dcoefs, dintercepts
            )
            optimizer.update_params(params, dw + db)

    return Trainer(epoch, lambda: [v for pair in zip(net.coefs_, net.intercepts_, strict=True) for v in pair])


def predict_sklearn(net: Net, x: np.ndarray, threads: int | str) -> Call:
    made = _sklearn_net(net)
    return lambda: made.predict_proba(x)


# ---- PyTorch ----------------------------------------------------------------


def _torch_net(net: Net) -> Any:
    import torch

    layers: list[Any] = []
    for w, b in zip(net.values[::2], net.values[1::2], strict=True):
        layer = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w.T))
            layer.bias.copy_(torch.from_numpy(b))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _torch_params(parameters: Sequence[Any]) -> list[np.ndarray]:
    return [p.detach().numpy().T for p in parameters]


def _torch_epoch(p: Problem, step: Callable[[Any], None]) -> Call:
    import torch

    def epoch() -> None:
        torch.set_num_threads(int(p.threads))
        for rows in torch.randperm(len(p.x)).split(p.batch):
            step(rows)

    return epoch


def train_torch(p: Problem, compiled: bool = False) -> Trainer:
    """Eager, with the fused optimizer; or forward, loss and backward compiled."""
    import torch

    net = _torch_net(p.net)
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    optimizer = kinds[p.optimizer](net.parameters(), lr=LEARNING_RATE, fused=True)
    x, t = torch.from_numpy(p.x), torch.from_numpy(p.labels.astype(np.int64))

    def loss(rows: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(x[rows]), t[rows])

    if compiled:
        loss = torch.compile(loss, fullgraph=True, dynamic=False)

    def step(rows: Any) -> None:
        optimizer.zero_grad()
        loss(rows).backward()
        optimizer.step()

    return Trainer(_torch_epoch(p, step), lambda: _torch_params(list(net.parameters())))


def train_torch_compiled(p: Problem) -> Trainer:
    return train_torch(p, compiled=True)


def train_torch_whole(p: Problem) -> Trainer:
    """The whole step, update included, compiled as one."""
    import torch

    params = [parameter.detach() for parameter in _torch_net(p.net).parameters()]
    m, v = [torch.zeros_like(w) for w in params], [torch.zeros_like(w) for w in params]
    count = torch.zeros(())
    x, t = torch.from_numpy(p.x), torch.from_numpy(p.labels.astype(np.int64))

    def loss(params: Sequence[Any], x: Any, t: Any) -> Any:
        for k in range(0, len(params), 2):
            x = torch.nn.functional.linear(x, params[k], params[k + 1])
            if k + 2 < len(params):
                x = torch.relu(x)
        return torch.nn.functional.cross_entropy(x, t)

    @torch.compile(fullgraph=True, dynamic=False)
    def step(params: Any, m: Any, v: Any, count: Any, rows: Any) -> None:
        grads = torch.func.grad(loss)(params, x[rows], t[rows])
        count.add_(1)
        scale = LEARNING_RATE * torch.sqrt(1 - BETA2**count) / (1 - BETA1**count)
        for w, g, mw, vw in zip(params, grads, m, v, strict=True):
            if p.optimizer == "sgd":
                w.sub_(LEARNING_RATE * g)
                continue
            mw.mul_(BETA1).add_(g, alpha=1 - BETA1)
            vw.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            w.sub_(scale * mw / (vw.sqrt() + EPSILON))

    def run(rows: Any) -> None:
        with torch.no_grad():
            step(params, m, v, count, rows)

    return Trainer(_torch_epoch(p, run), lambda: _torch_params(params))


def forget_compiled() -> None:
    """torch.compile refuses a function that it has compiled for some nets, unless those are forgotten."""
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


def predict_torch(net: Net, x: np.ndarray, threads: int | str) -> Call:
    """Eager, from a tensor that is ready."""
    import torch

    torch.set_num_threads(int(threads))
    made, rows = torch.nn.Sequential(_torch_net(net), torch.nn.Softmax(1)).eval(), torch.from_numpy(x)

    def predict() -> Any:
        with torch.inference_mode():
            return made(rows)

    return predict


def predict_torch_traced(net: Net, x: np.ndarray, threads: int | str) -> Call:
    """Traced and frozen, without Python in the net."""
    import torch

    torch.set_num_threads(int(threads))
    rows = torch.from_numpy(x)
    with torch.inference_mode():
        made = torch.nn.Sequential(_torch_net(net), torch.nn.Softmax(1)).eval()
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(made, rows)))

    def predict() -> Any:
        with torch.inference_mode():
            return frozen(rows)

    return predict


# ---- JAX --------------------------------------------------------------------


def _jax_scores(params: Any, x: Any) -> Any:
    import jax

    for k in range(0, len(params), 2):
        x = x @ params[k] + params[k + 1]
        if k + 2 < len(params):
            x = jax.nn.relu(x)
    return x


def train_jax(p: Problem, whole_epoch: bool = False) -> Trainer:
    """A jitted step with donated buffers, data on the device, dispatched without waiting until the epoch
    ends; or the epoch as one jitted scan over its steps.
    """
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    x, t = jnp.asarray(p.x), jnp.asarray(p.labels)
    steps = len(p.x) // p.batch

    def loss(params: Any, x: Any, t: Any) -> Any:
        goals = jax.nn.one_hot(t, p.net.widths[-1], dtype=jnp.float32)
        return -(goals * jax.nn.log_softmax(_jax_scores(params, x))).sum(axis=1).mean()

    def step(state: Any, x: Any, t: Any, order: Any) -> Any:
        params, m, v, count = state
        rows = jax.lax.dynamic_slice(order, [count % steps * p.batch], [p.batch])
        grads = jax.grad(loss)(params, x[rows], t[rows])
        count += 1
        if p.optimizer == "sgd":
            params = [w - LEARNING_RATE * g for w, g in zip(params, grads, strict=True)]
        else:
            m = [BETA1 * mw + (1 - BETA1) * g for mw, g in zip(m, grads, strict=True)]
            v = [BETA2 * vw + (1 - BETA2) * g * g for vw, g in zip(v, grads, strict=True)]
            done = count.astype(jnp.float32)
            scale = LEARNING_RATE * jnp.sqrt(1 - BETA2**done) / (1 - BETA1**done)
            params = [w - scale * a / (jnp.sqrt(b) + EPSILON) for w, a, b in zip(params, m, v, strict=True)]
        return params, m, v, count

    def scan(state: Any, x: Any, t: Any, order: Any) -> Any:
        return jax.lax.scan(lambda s, _: (step(s, x, t, order), None), state, None, length=steps)[0]

    run = jax.jit(scan if whole_epoch else step, donate_argnums=0)
    values = [jnp.asarray(value) for value in p.net.values]
    moments = [[jnp.zeros_like(value) for value in values if p.optimizer == "adam"] for _ in range(2)]
    state = (values, *moments, jnp.zeros((), jnp.int32))

    def epoch() -> None:
        nonlocal state
        order = jnp.asarray(rng.permutation(len(p.x)).astype(np.int32))
        for _ in range(1 if whole_epoch else steps):
            state = run(state, x, t, order)
        jax.block_until_ready(state)

    return Trainer(epoch, lambda: [np.asarray(value) for value in state[0]])


def train_jax_scan(p: Problem) -> Trainer:
    return train_jax(p, whole_epoch=True)


def predict_jax(net: Net, x: np.ndarray, threads: int | str) -> Call:
    """Jitted, from an array on the device."""
    import jax
    import jax.numpy as jnp

    values, rows = [jnp.asarray(value) for value in net.values], jnp.asarray(x)
    run = jax.jit(lambda values, x: jax.nn.softmax(_jax_scores(values, x)))
    return lambda: run(values, rows).block_until_ready()


# ---- ONNX Runtime -----------------------------------------------------------


def _onnxruntime_session(net: Net, rows: int, threads: int | str) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, values, name = [], [], "x"
    last = len(net.values) // 2 - 1
    for k, (w, b) in enumerate(zip(net.values[::2], net.values[1::2], strict=True)):
        values += [numpy_helper.from_array(w, f"w{k}"), numpy_helper.from_array(b, f"b{k}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{k}", f"b{k}"], [f"s{k}"]))
        name = f"a{k}" if k < last else "y"
        nodes.append(helper.make_node("Relu" if k < last else "Softmax", [f"s{k}"], [name]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width])
        for name, width in (("x", net.widths[0]), ("y", net.widths[-1]))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def predict_onnxruntime(net: Net, x: np.ndarray, threads: int | str) -> Call:
    session, feed = _onnxruntime_session(net, len(x), threads), {"x": x}
    return lambda: session.run(None, feed)[0]


def predict_onnxruntime_bound(net: Net, x: np.ndarray, threads: int | str) -> Call:
    """From and into buffers that are bound once."""
    session, y = _onnxruntime_session(net, len(x), threads), np.empty((len(x), net.widths[-1]), np.float32)
    bound = session.io_binding()
    bound.bind_cpu_input("x", x)
    bound.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def predict() -> np.ndarray:
        session.run_with_iobinding(bound)
        return y

    return predict


# ---- all --------------------------------------------------------------------

TRAINERS: dict[str, Callable[[Problem], Trainer]] = {
    "pynn": train_pynn,
    "numpy": train_numpy,
    "scikit-learn": train_sklearn,
    "torch eager": train_torch,
    "torch compile": train_torch_compiled,
    "torch compile step": train_torch_whole,
    "jax jit": train_jax,
    "jax scan": train_jax_scan,
}

PREDICTORS: dict[str, Callable[[Net, np.ndarray, int | str], Call]] = {
    "pynn predict(x)": predict_pynn,
    "pynn p(row)": predict_pynn_row,
    "pynn p()": predict_pynn_own,
    "numpy": predict_numpy,
    "scikit-learn": predict_sklearn,
    "torch eager": predict_torch,
    "torch traced": predict_torch_traced,
    "jax jit": predict_jax,
    "ONNX Runtime": predict_onnxruntime,
    "ONNX Runtime bound": predict_onnxruntime_bound,
}

# The ways to use a library, of which the fastest counts.
LIBRARIES = {
    "PyTorch": ("torch eager", "torch compile", "torch compile step", "torch traced"),
    "JAX": ("jax jit",),
    "scikit-learn": ("scikit-learn",),
    "numpy": ("numpy",),
    "ONNX Runtime": ("ONNX Runtime",),
}


def fastest(seconds: dict[str, float], library: str) -> float | None:
    """The time of the fastest way that was measured."""
    return min((seconds[name] for name in LIBRARIES[library] if name in seconds), default=None)


# ---- the same work ----------------------------------------------------------


def check_trainers(
    names: Sequence[str], case: Case, optimizer: str, x: np.ndarray, labels: np.ndarray
) -> None:
    """Asserts that five steps on one full batch bring all from the same values to the same values as numpy's.
    What cannot be run is passed over here; it will be missed when it is measured.

    The batches of the timed epochs are shuffled, in each library in its own way; in a full batch the order of
    the rows does not matter.
    """
    net = initial(case.widths)
    problem = Problem(net, case.batch, optimizer, x[: case.batch].copy(), labels[: case.batch].copy(), 1)
    moved: dict[str, np.ndarray] = {}
    for name in ["numpy", *names]:
        try:
            trainer = TRAINERS[name](problem)
            for _ in range(5):
                trainer.epoch()
        except Exception:
            continue
        moved[name] = np.concatenate([value.ravel() for value in trainer.params()]) - net.flat
        assert moved[name].dtype == np.float32, name
        apart = np.linalg.norm(moved[name] - moved["numpy"]) / np.linalg.norm(moved["numpy"])
        assert apart < 1e-2, f"{name} takes other steps than numpy: they are {apart:.1%} apart"


def check_predictions(calls: dict[str, Call], net: Net, x: np.ndarray) -> None:
    """Asserts that all predict what numpy does."""
    expected = predict_numpy(net, x, 1)()
    for name, call in calls.items():
        y = np.asarray(call())
        assert y.dtype == np.float32, name
        assert np.allclose(y.reshape(expected.shape), expected, atol=1e-4), f"{name} predicts something else"
