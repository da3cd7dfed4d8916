"""The mathematics once more, in plain numpy and double: what the tests hold pynn against. `contract` is the
arithmetic contract once more, to the bit, and `selftest` the runs of the self-test by it.
"""

from __future__ import annotations

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])


def _logistic(s):
    return np.where(s >= 0, 1 / (1 + np.exp(-np.abs(s))), np.exp(-np.abs(s)) / (1 + np.exp(-np.abs(s))))


def _normal_cdf(s):
    return 0.5 * (1 + _erf(s / math.sqrt(2)))


def _normal_density(s):
    return np.exp(-0.5 * s * s) / math.sqrt(2 * math.pi)


def activation(layer, s):
    """f(s) and f'(s) of an elementwise layer."""
    s = np.asarray(s, float)
    q = _logistic(s)
    if layer.kind in ("identity", "dropout"):
        return s, np.ones_like(s)
    if layer.kind in ("relu", "leaky_relu"):
        slope = float(np.float32(getattr(layer, "slope", 0)))
        return np.where(s > 0, s, slope * s), np.where(s > 0, 1.0, slope)
    if layer.kind == "sigmoid":
        return q, q * (1 - q)
    smooth = {
        "tanh": lambda: (np.tanh(s), 1 - np.tanh(s) ** 2),
        "softplus": lambda: (np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))), q),
        "gelu": lambda: (s * _normal_cdf(s), s * _normal_density(s) + _normal_cdf(s)),
        "silu": lambda: (s * q, q * (1 + s * (1 - q))),
    }
    return smooth[layer.kind]()


def softmax(s):
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(net, x):
    """What every layer of a net gives, the input first."""
    values = [np.asarray(x, float)]
    for layer in net.layers:
        s = values[-1]
        if layer.kind == "dense":
            values.append(s @ layer.weight.astype(float) + layer.bias)
        elif layer.kind == "softmax":
            values.append(softmax(s))
        else:
            values.append(activation(layer, s)[0])
    return values


def backward(net, values, dy):
    """The flat gradient of all parameters, and that of the input, from that of the output."""
    grads, d = [], np.asarray(dy, float)
    for layer, s, a in reversed(list(zip(net.layers, values, values[1:], strict=False))):
        if layer.kind == "dense":
            grads += [d.sum(axis=0), (s.T @ d).ravel()]
            d = d @ layer.weight.astype(float).T
        elif layer.kind == "softmax":
            d = a * (d - (d * a).sum(axis=1, keepdims=True))
        else:
            d = d * activation(layer, s)[1]
    return np.concatenate(grads[::-1]), d


def loss(kind, y, t, weights=None):
    """The mean loss, the losses of the rows, and the gradient of y; y as pynn.loss_and_grad takes it."""
    y, t = np.asarray(y, float), np.asarray(t)
    rows, outputs = y.shape
    if kind == "cross_entropy" and t.ndim == 1:
        t = np.eye(outputs)[t.astype(int)]
    t = t.reshape(rows, outputs).astype(float)
    if kind == "cross_entropy":
        shifted = y - y.max(axis=1, keepdims=True)
        each = -(t * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1)
        dy = softmax(y) - t
    elif kind == "binary_cross_entropy":
        each = (np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y)))).sum(axis=1)
        dy = _logistic(y) - t
    else:
        factor = {"squared_error": 1, "half_squared_error": 0.5, "mean_squared_error": 1 / outputs}[kind]
        each = factor * ((y - t) ** 2).sum(axis=1)
        dy = 2 * factor * (y - t)
    w = np.ones(rows) if weights is None else np.asarray(weights, float)
    share = w / w.sum()
    return float(share @ each), each, dy * share[:, None]


def loss_and_grad(net, x, t, kind, weights=None):
    """Loss and flat gradient of a whole net."""
    values = forward(net, x)
    fused = kind.endswith("cross_entropy")
    total, _, dy = loss(kind, values[-2 if fused else -1], t, weights)
    if fused:
        stub = type("Front", (), {"layers": net.layers[:-1]})
        return total, backward(stub, values[:-1], dy)[0]
    return total, backward(net, values, dy)[0]


def biases(net):
    """Which of the flat parameters are biases."""
    return np.concatenate(
        [
            np.repeat([False, True], [layer.inputs * layer.outputs, layer.outputs])
            for layer in net.layers
            if layer.kind == "dense"
        ]
    )
