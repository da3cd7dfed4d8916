"""PyTorch and scikit-learn as oracles; each test is skipped, visibly, where its peer is absent."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers import ACTIVATIONS, LOSSES, OPTIMIZERS, labels, net_of, normal

import pynn


@pytest.fixture(scope="module")
def torch():
    """PyTorch, on one thread."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def close(found, expected, limit):
    """Whether two arrays agree within `limit` of the longest, as vectors."""
    expected = np.asarray(expected, float)
    return np.linalg.norm(found - expected) <= limit * max(np.linalg.norm(expected), 1e-12)


# ---- PyTorch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*ACTIVATIONS, "softmax"])
def test_torch_activations(torch, kind):
    """Values and gradients within 2e-6 in norm of PyTorch's in double, for scores up to 20."""
    f = torch.nn.functional
    theirs = {
        "identity": lambda s: s * 1,
        "relu": torch.relu,
        "leaky_relu": lambda s: f.leaky_relu(s, 0.1),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": lambda s: f.softplus(s, threshold=1e9),
        "gelu": f.gelu,
        "silu": f.silu,
        "softmax": lambda s: torch.softmax(s, dim=1),
    }[kind]
    for scale in (0.01, 1, 6):
        s, da = np.float32(scale) * normal(40, 13), normal(40, 13, seed=1)
        layer = pynn.Softmax() if kind == "softmax" else ACTIVATIONS[kind]()
        scores = torch.tensor(s.astype(float), requires_grad=True)
        output = theirs(scores)
        output.backward(torch.tensor(da.astype(float)))
        assert close(layer.forward(s), output.detach().numpy(), 2e-6)
        assert close(layer.backward(da), scores.grad.numpy(), 2e-6)


def torch_loss(torch, kind, y, t, w):
    """A loss of PyTorch: y outputs or scores, t rows or labels, w weights or None."""
    f, outputs = torch.nn.functional, y.shape[1]
    if kind == "cross_entropy":
        each = f.cross_entropy(y, t, reduction="none")
    elif kind == "binary_cross_entropy":
        each = outputs * f.binary_cross_entropy_with_logits(y, t, reduction="none").mean(dim=1)
    else:
        factor = {"squared_error": outputs, "half_squared_error": outputs / 2, "mean_squared_error": 1}[kind]
        each = factor * f.mse_loss(y, t, reduction="none").mean(dim=1)
    return each.mean() if w is None else (w * each).sum() / w.sum()


def targets_of(torch, kind, rows, outputs, labelled):
    """Targets, for us and for PyTorch."""
    if labelled:
        t = labels(rows, outputs, seed=3)
        return t, torch.tensor(t.astype("i8"))
    t = np.abs(normal(rows, outputs, seed=3)).astype(float) % 1
    if kind == "cross_entropy":
        t /= t.sum(axis=1, keepdims=True)
    t = t.astype("f4")
    return t, torch.tensor(t.astype(float))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [*LOSSES, "labels"])
def test_torch_losses(torch, kind, weighted):
    """Values within 1e-6 relative, gradients within 2e-6 in norm, of PyTorch's in double."""
    name = "cross_entropy" if kind == "labels" else kind
    y = 3 * normal(37, 6)
    t, their_t = targets_of(torch, name, 37, 6, kind == "labels")
    w = np.abs(normal(37, seed=4)) + np.float32(0.1) if weighted else None
    scores = torch.tensor(y.astype(float), requires_grad=True)
    expected = torch_loss(torch, name, scores, their_t, None if w is None else torch.tensor(w.astype(float)))
    expected.backward()
    loss, dy = pynn.loss_and_grad(y, t, name, w)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert close(dy, scores.grad.numpy(), 2e-6)


def twin(torch, net):
    """The same net in PyTorch, in double, up to its scores."""
    modules = []
    for layer in net.layers:
        if layer.kind == "dense":
            linear = torch.nn.Linear(layer.inputs, layer.outputs, dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(layer.weight.T.astype(float)))
                linear.bias.copy_(torch.tensor(layer.bias.astype(float)))
            modules.append(linear)
        elif layer is not net.layers[-1]:
            modules.append(getattr(torch.nn, type(layer).__name__)())
    return torch.nn.Sequential(*modules)


def flat(model, of):
    """Parameters or gradients in the order of pynn."""
    parts = []
    for module in model:
        if hasattr(module, "weight"):
            parts += [of(module.weight).T.ravel(), of(module.bias)]
    return np.concatenate([part.detach().numpy().ravel() for part in parts])


@pytest.mark.parametrize("activation", ["ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softplus", "GELU", "SiLU"])
@pytest.mark.parametrize("kind", [*LOSSES, "labels"])
def test_torch_gradients_of_nets(torch, kind, activation):
    """Loss within 1e-6 and the whole gradient within 5e-6 in norm of PyTorch's in double."""
    name = "cross_entropy" if kind == "labels" else kind
    last = {"cross_entropy": [pynn.Softmax()], "binary_cross_entropy": [pynn.Sigmoid()]}.get(name, [])
    act = getattr(pynn, activation)
    net = net_of(pynn.Dense(7, 20), act(), pynn.Dense(20, 11), act(), pynn.Dense(11, 4), *last, seed=2)
    x = normal(33, 7)
    t, their_t = targets_of(torch, name, 33, 4, kind == "labels")
    model = twin(torch, net)
    expected = torch_loss(torch, name, model(torch.tensor(x.astype(float))), their_t, None)
    expected.backward()
    loss, grads = net.loss_and_grad(x, t, name)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert close(grads, flat(model, lambda p: p.grad), 5e-6)


MORE = {
    **OPTIMIZERS,
    "sgd_l2": pynn.SGD(0.05, weight_decay=0.1),
    "momentum_l2": pynn.SGD(0.05, momentum=0.8, weight_decay=0.1),
    "adam_other": pynn.Adam(0.01, beta1=0.8, beta2=0.95, epsilon=1e-4, weight_decay=0.1),
}


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("optimizer", MORE)
def test_torch_ten_steps(torch, optimizer, clip):
    """Ten steps end within 2e-5 in norm of the way PyTorch's take in double; biases do not decay."""
    recipe = MORE[optimizer]
    net = net_of(pynn.Dense(6, 15), pynn.Tanh(), pynn.Dense(15, 4), pynn.Softmax(), seed=3)
    start, model = net.params.astype(float), twin(torch, net)
    decay = [p for name, p in model.named_parameters() if name.endswith("weight")]
    plain = [p for name, p in model.named_parameters() if name.endswith("bias")]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if recipe.kind == "sgd":
        theirs = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov
        )
    else:
        cls = torch.optim.Adam if recipe.kind == "adam" else torch.optim.AdamW
        theirs = cls(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon)
    x, t = normal(40, 6), labels(40, 4)
    for k in range(10):
        rows = slice(4 * k, 4 * k + 4)
        net.train_step(x[rows], t[rows], optimizer=recipe, clip_norm=clip)
        theirs.zero_grad()
        scores = model(torch.tensor(x[rows].astype(float)))
        torch.nn.functional.cross_entropy(scores, torch.tensor(t[rows].astype("i8"))).backward()
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            assert norm > clip
        theirs.step()
    way = flat(model, lambda p: p) - start
    assert close(net.params - start, way, 2e-5)


# ---- scikit-learn -----------------------------------------------------------------------------------------


def sklearn_net(neural_network, net, x, t, **settings):
    """An MLPClassifier with one hidden layer that holds the numbers of a net."""
    first, second = net.layers[0], net.layers[2]
    model = neural_network.MLPClassifier(
        (first.outputs,), alpha=0, batch_size=len(x), shuffle=False, random_state=0, **settings
    )
    model.partial_fit(x, t, classes=np.unique(t))
    for i, layer in enumerate((first, second)):
        model.coefs_[i][:] = layer.weight
        model.intercepts_[i][:] = layer.bias
    return model


@pytest.mark.parametrize(
    ("activation", "theirs"), [("ReLU", "relu"), ("Tanh", "tanh"), ("Sigmoid", "logistic")]
)
def test_sklearn_predictions_and_loss(activation, theirs):
    """Probabilities within 1e-6 of MLPClassifier's, and log_loss within 1e-6 relative."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    metrics = pytest.importorskip("sklearn.metrics")
    net = net_of(pynn.Dense(6, 12), getattr(pynn, activation)(), pynn.Dense(12, 5), pynn.Softmax())
    x, t = normal(60, 6), np.arange(60) % 5
    model = sklearn_net(neural_network, net, x.astype(float), t, activation=theirs)
    expected, weights = model.predict_proba(x.astype(float)), np.abs(normal(60)).astype(float)
    np.testing.assert_allclose(net.predict(x), expected, atol=1e-6)
    assert net.evaluate(x, t)["loss"] == pytest.approx(metrics.log_loss(t, expected), rel=1e-6)
    assert net.evaluate(x, t, sample_weight=weights)["loss"] == pytest.approx(
        metrics.log_loss(t, expected, sample_weight=weights), rel=1e-6
    )
    assert net.evaluate(x, t, metrics="accuracy")["accuracy"] == metrics.accuracy_score(
        t, expected.argmax(axis=1)
    )


@pytest.mark.parametrize(
    ("activation", "theirs"), [("ReLU", "relu"), ("Tanh", "tanh"), ("Sigmoid", "logistic")]
)
def test_sklearn_gradient(activation, theirs):
    """One step of plain descent moves every parameter as MLPClassifier's does, within 1e-5 in norm."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    net = net_of(pynn.Dense(6, 12), getattr(pynn, activation)(), pynn.Dense(12, 5), pynn.Softmax())
    x, t = normal(60, 6), np.arange(60) % 5
    model = sklearn_net(
        neural_network,
        net,
        x.astype(float),
        t,
        activation=theirs,
        solver="sgd",
        learning_rate_init=1.0,
        momentum=0.0,
    )
    model.partial_fit(x.astype(float), t)
    grads = net.loss_and_grad(x, t)[1]
    after = [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]
    moved = net.params - np.concatenate([a.ravel() for a in after])
    assert close(grads, moved, 1e-5)


def test_sklearn_accuracy_on_digits(digits):
    """A stratified fifth of the digits: 95 %, no worse than MLPClassifier by 1 %; 97 % with dropout."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    exceptions = pytest.importorskip("sklearn.exceptions")
    (x, t), (xv, tv) = pynn.split(*digits, 0.2, stratify=True)

    def accuracy(*dropout):
        net = net_of(pynn.Dense(64, 100), pynn.ReLU(), *dropout, pynn.Dense(100, 10), pynn.Softmax())
        net.fit(x, t, epochs=60, batch_size=64, optimizer=pynn.Adam(2e-3))
        return net.evaluate(xv, tv, metrics="accuracy")["accuracy"]

    model = neural_network.MLPClassifier(
        (100,),
        batch_size=64,
        learning_rate_init=2e-3,
        alpha=0,
        max_iter=60,
        n_iter_no_change=60,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        theirs = model.fit(x, t).score(xv, tv)
    assert accuracy() >= max(0.95, theirs - 0.01)
    assert accuracy(pynn.Dropout(0.3)) >= 0.97
