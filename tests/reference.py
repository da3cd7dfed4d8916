"""The mathematics once more, in plain numpy and double: what the tests hold pynn against."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

import pynn

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


# ---- float32, exactly as the contract has it --------------------------------------------------------------


def rounded(exact):
    """A Fraction as float32, to nearest, ties to even."""
    near = np.float32(float(exact))
    ways = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    ways = [w for w in ways if np.isfinite(w)]
    return min(ways, key=lambda w: (abs(Fraction(float(w)) - exact), int(w.view(np.uint32)) & 1))


def fma(a, b, c):
    """a b + c in float32 with one rounding, element by element."""
    a, b, c = np.broadcast_arrays(np.float32(a), np.float32(b), np.float32(c))
    out = [
        rounded(Fraction(float(p)) * Fraction(float(q)) + Fraction(float(r)))
        for p, q, r in zip(a.flat, b.flat, c.flat, strict=True)
    ]
    return np.array(out, "f4").reshape(a.shape)


def flushed(x):
    """Zero for what is smaller than 2^-100."""
    return np.where(np.abs(x) < np.float32(2.0**-100), np.float32(0), x).astype("f4")


def clipped(g, limit):
    """The gradient, shortened to `limit` (fewer than 4096 numbers)."""
    lanes = np.zeros(16, "f4")
    for i, value in enumerate(g):
        lanes[i % 16] = fma(value, value, lanes[i % 16])
    for half in (8, 4, 2, 1):
        lanes[:half] = lanes[:half] + lanes[half : 2 * half]
    norm = np.sqrt(np.float32(float(lanes[0])))
    if not limit or not norm > np.float32(limit):
        return g
    return g * np.float32(limit / float(norm))


def step(optimizer, w, g, moments, powers, decays, clip=0.0):
    """One step of an optimizer in float32: the new w; moments and powers change in place."""
    f4 = np.float32
    g = clipped(g, clip)
    lr, decay = optimizer.learning_rate, optimizer.weight_decay
    if decay and optimizer.kind != "adamw":
        g = np.where(decays, fma(f4(decay), w, g), g)
    if isinstance(optimizer, pynn.SGD):
        if not optimizer.momentum:
            return w - f4(lr) * g
        moments[0] = fma(f4(optimizer.momentum), moments[0], g)
        along = fma(f4(optimizer.momentum), moments[0], g) if optimizer.nesterov else moments[0]
        return w - f4(lr) * along
    b1, b2 = optimizer.beta1, optimizer.beta2
    powers[0] *= b1
    powers[1] *= b2
    r = float(np.sqrt(f4(1 - powers[1])))
    length, epsilon = f4(lr * r / (1 - powers[0])), f4(optimizer.epsilon * r)
    moments[0] = flushed(fma(f4(b1), moments[0], f4(1 - b1) * g))
    moments[1] = flushed(fma(f4(b2), moments[1], (f4(1 - b2) * g) * g))
    if decay and optimizer.kind == "adamw":
        w = np.where(decays, w * f4(1 - lr * decay), w)
    return w - (length * moments[0]) / (np.sqrt(moments[1]) + epsilon)


# ---- random numbers, as the contract has them -------------------------------------------------------------


def philox(block, step, stream, seed):
    """The four words of a block of Philox 4x32-10."""
    counter = [block & 0xFFFFFFFF, block >> 32, step, stream]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (b >> 32) ^ counter[1] ^ key[0],
            b & 0xFFFFFFFF,
            (a >> 32) ^ counter[3] ^ key[1],
            a & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


INIT, SHUFFLE, DROPOUT = (purpose << 24 for purpose in range(3))


def words(n, step, stream, seed):
    """The first n words of a stream: element e is word e // 16 mod 4 of block 16 (e // 64) + e mod 16."""
    blocks = [philox(b, step, stream, seed) for b in range(16 * (-(-n // 64)))]
    return [blocks[16 * (e // 64) + e % 16][e // 16 % 4] for e in range(n)]


def permutation(n, seed, epoch):
    """Fisher-Yates from the end; each place is drawn with 64 bits."""
    order, random = list(range(n)), words(2 * n, epoch, SHUFFLE, seed)
    for i in range(n - 1, 0, -1):
        j = (random[2 * i] | random[2 * i + 1] << 32) * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


def dropout_mask(rows, width, p, seed, step, layer=0):
    """Which values dropout keeps: those whose 16 bits, low half of a word first, reach 65536 p."""
    n = rows * width
    random = words((n + 1) // 2, step, DROPOUT + layer, seed)
    halves = [half for word in random for half in (word & 0xFFFF, word >> 16)]
    return (np.array(halves[:n]) >= int(65536 * p + 0.5)).reshape(rows, width)


def uniform(n, spread, seed, layer=0):
    """n values of a uniform initialisation on (-spread, spread)."""
    u = np.array([(word >> 8) * 2.0**-24 for word in words(n, 0, INIT + layer, seed)], "f4")
    return fma(u, np.float32(2) * np.float32(spread), -np.float32(spread))
