"""docs/arithmetic.md once more, in numpy: a second implementation, to the bit and independent of the C code.

Sections and their numbers are those of that page. It is written to be compared with the page, not to be fast.
"""

from __future__ import annotations

import functools
import math

import numpy as np

F = np.float32


def bits(x):
    """The bits of floats as integers."""
    return np.asarray(x, F).view(np.int32)


# ---- 2, 3, 6, 9: fma, sums, flushing ----------------------------------------------------------------------


def fma(a, b, c):
    """a b + c, rounded once: the product is exact in double, the sum is rounded to odd there."""
    p, d = np.asarray(np.float64(a) * np.float64(b)), np.float64(c)
    with np.errstate(invalid="ignore", over="ignore"):
        s = np.asarray(p + d)
        t = s - p
        error = (p - (s - t)) + (d - t)
        even = (s.view(np.int64) & 1) == 0
        inexact = (error < 0) | (error > 0)
        away = np.where((error > 0) == (s > 0), 1, -1)
        return (s.view(np.int64) + np.where(even & inexact, away, 0)).view(np.float64).astype(F)


def product(a, b, start=0):
    """a b (2): chains over 256 terms, added in order."""
    total = None
    for first in range(0, a.shape[1], 256):
        chain = np.broadcast_to(F(0 if first else start), (len(a), b.shape[1]))
        for k in range(first, min(first + 256, a.shape[1])):
            chain = fma(a[:, k, None], b[k], chain)
        total = chain if total is None else total + chain
    return total


def reduced(x, into):
    """The sum over each row (3); `into` gives the new lanes of some elements from the old ones."""
    lanes = np.zeros((len(x), 16), F)
    for first in range(0, x.shape[1], 16):
        part = slice(first, min(first + 16, x.shape[1]))
        lanes[:, : part.stop - first] = into(lanes[:, : part.stop - first], part)
    for half in (8, 4, 2, 1):
        lanes[:, :half] = lanes[:, :half] + lanes[:, half : 2 * half]
    return lanes[:, :1]


def flushed(x):
    """+0 for what is smaller than 2^-100 (6)."""
    return np.where(np.abs(x) < F(2.0**-100), F(0), x).astype(F)


# ---- 8: elementary functions ------------------------------------------------------------------------------


def polynomial(x, *coefficients):
    """By Horner's rule with fma, the highest power first."""
    value = F(float.fromhex(coefficients[0]))
    for c in coefficients[1:]:
        value = fma(value, x, F(float.fromhex(c)))
    return value


def at_most(x, limit):
    return np.where(F(limit) < x, F(limit), x)


def at_least(x, limit):
    return np.where(x < F(limit), F(limit), x)


MAGIC = F(1.5 * 2**23)


def exponential(x, low=0):
    """The integer n and E with exp(x + low) = 2^n (1 + E)."""
    n = fma(x, F(float.fromhex("0x1.715476p+0")), MAGIC) - MAGIC
    high = fma(n, F(float.fromhex("-0x1.62e43p-1")), x)
    low = fma(n, F(float.fromhex("0x1.05c61p-29")), low)
    r = high + low
    q = polynomial(r, "0x1.7051f6p-10", "0x1.12313ep-7", "0x1.554fe6p-5", "0x1.5554ap-3", "0x1.000004p-1")
    return n, high + fma(r * r, q, low)


def scaled(x, n):
    """x 2^n, rounded once."""
    with np.errstate(over="ignore", under="ignore"):
        return (np.float64(x) * np.exp2(np.float64(n))).astype(F)


def exp(x):
    n, e = exponential(at_most(at_least(x, -104), 89))
    return scaled(e + F(1), n)


def log_part(f, k):
    z = f * f
    q = polynomial(
        f,
        *("-0x1.38d51p-4", "0x1.056c1ep-3", "-0x1.0d86bp-3", "0x1.22d7cep-3", "-0x1.5471f8p-3"),
        *("0x1.99a024p-3", "-0x1.000228p-2", "0x1.555554p-2", "-0x1p-1"),
    )
    q = fma(z, q, k * F(float.fromhex("-0x1.05c61p-29")))
    return fma(k, F(float.fromhex("0x1.62e43p-1")), f + q)


def log(x):
    """For 0 < x < infinity, which is all that losses and random numbers need."""
    tiny = x < F(2.0**-126)
    y = np.where(tiny, x * F(2.0**23), x)
    k = (bits(y) - 0x3F3504F3) >> 23
    f = (bits(y) - (k << 23)).view(F) - F(1)
    return log_part(f, F(k) - np.where(tiny, F(23), F(0)))


def log1p(x):
    """On [0, 1]."""
    near = x < F(float.fromhex("0x1.a8279ap-2"))
    return log_part(np.where(near, x, fma(x, F(0.5), F(-0.5))), np.where(near, F(0), F(1)))


def tanh(x):
    a = at_most(np.abs(x), 10)
    n, e = exponential(a + a)
    power = scaled(F(1), n)
    below = fma(power, e, power + F(1))
    above = np.where(F(0.625) < a, below - F(2), fma(power, e, power - F(1)))
    return np.copysign(above / below, x)


def sigmoid(x):
    e = exp(-np.abs(x))
    return np.where(x < 0, e, F(1)) / (e + F(1))


def softplus(x):
    return np.where(F(0) < x, x, F(0)) + log1p(exp(-np.abs(x)))


def gauss(a):
    """exp(-a^2 / 2) as `exponential` gives it."""
    x = a * (a * F(-0.5))
    return exponential(x, fma(a, a * F(-0.5), -x))


def density(s):
    n, e = gauss(at_most(np.abs(s), 14.5))
    c = F(float.fromhex("0x1.988454p-2"))
    return scaled(fma(e, c, c), n)


def tail(a):
    n, e = gauss(a)
    g = polynomial(
        (a - F(1.734375)) / (a + F(2.75)),
        *("0x1.5e6fdap-13", "0x1.17009p-13", "-0x1.68fb66p-11", "-0x1.6bda52p-10", "0x1.f8abep-10"),
        *("0x1.269b62p-7", "-0x1.230c06p-7", "-0x1.03b2d8p-4", "0x1.ba45c2p-3", "-0x1.5b5a1ap-2"),
        "0x1.7dc2e4p-3",
    )
    return scaled(fma(e, g, g), n)


def cumulative(s):
    t = tail(at_most(np.abs(s), 14.5))
    return np.where(F(0) < s, F(1) - t, t)


def gelu(s):
    a = at_most(np.abs(s), 14.5)
    return fma(-a, tail(a), np.where(np.signbit(s), F(-0.0), s))


def gelu_slope(s):
    return fma(at_most(at_least(s, -14.5), 14.5), density(s), cumulative(s))


def cospi(x):
    """For |x| < 2^24."""
    a = np.abs(x)
    y = fma(fma(a, F(0.5), MAGIC) - MAGIC, F(-2), a)
    t = fma(y, F(2), MAGIC)
    r = fma(t - MAGIC, F(-0.5), y)
    z = r * r
    cosine = polynomial(z, "0x1.d47d46p-3", "-0x1.55b146p+0", "0x1.03c1aep+2", "-0x1.3bd3ccp+2", "0x1p+0")
    sine = polynomial(z, "-0x1.2da132p-1", "0x1.465ee8p+1", "-0x1.4abbbap+2", "-0x1.a0f39cp-24")
    sine = fma(r, F(float.fromhex("0x1.921fb6p+1")), r * sine)
    turns = bits(t) & 3  # quarters
    return np.where(turns & 1, sine, cosine) * np.where((turns + 1) & 2, F(-1), F(1)) + F(0)


# ---- 4: activations ---------------------------------------------------------------------------------------

SLOPE = F(0.1)  # of the leaky relu in the runs
FORWARD = {
    "identity": lambda s: s,
    "relu": lambda s: np.where(s <= 0, F(0), s),
    "leaky_relu": lambda s: np.where(s <= 0, SLOPE * s, s),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
    "gelu": gelu,
    "silu": lambda s: s * sigmoid(s),
}
BACKWARD = {
    "identity": lambda da, s, a: da,
    "relu": lambda da, s, a: np.where(a <= 0, F(0), da),
    "leaky_relu": lambda da, s, a: np.where(a <= 0, SLOPE * da, da),
    "sigmoid": lambda da, s, a: da * (a * (F(1) - a)),
    "tanh": lambda da, s, a: da * fma(-a, a, F(1)),
    "softplus": lambda da, s, a: da * sigmoid(s),
    "gelu": lambda da, s, a: da * gelu_slope(s),
    "silu": lambda da, s, a: da * (sigmoid(s) * fma(s, F(1) - sigmoid(s), F(1))),
}


def softmax_parts(s):
    """d, e and S."""
    d = s - s.max(axis=1, keepdims=True)
    e = exp(d)
    return d, e, reduced(e, lambda lanes, part: lanes + e[:, part])


def softmax(s):
    _, e, total = softmax_parts(s)
    return e / total


def softmax_backward(dh, h):
    dot = reduced(dh, lambda lanes, part: fma(dh[:, part], h[:, part], lanes))
    return flushed(h * (dh - dot))


# ---- 5: losses --------------------------------------------------------------------------------------------


def ordered_sum(numbers):
    """In double, one after the other."""
    return functools.reduce(lambda total, x: total + float(x), numbers, 0.0)


def divisor(normalise, weights):
    """D of a batch: by "weights", by "rows", or the number that is given."""
    return {"weights": ordered_sum(weights), "rows": float(len(weights))}.get(normalise, normalise)


def scales(kappa, weights, d):
    """c_r."""
    return np.array([kappa * float(w) / d if d else 0 for w in weights]).astype(F)[:, None]


def loss(kind, y, t, weights, normalise="weights", output_weights=None):
    """The weighted sum of the losses of the rows, D, the losses, and ds. output_weights: (B, O)."""
    counts = np.asarray(weights) != 0
    kappa = {"squared_error": 2.0, "mean_squared_error": 2.0 / y.shape[1]}.get(kind, 1.0)
    v = np.ones_like(y) if output_weights is None else output_weights
    whole = F(1)  # what h is multiplied by
    if kind == "cross_entropy":
        d, e, total = softmax_parts(y)
        term = log(total) - d
        h = flushed(e / total)
        if t.ndim == 1:
            label = np.where(counts, t, 0)[:, None]
            v = np.take_along_axis(v, label, 1)
            each = v * np.take_along_axis(term, label, 1)
            t = F(np.arange(y.shape[1]) == label)
        else:
            targets, t = t, t * v
            each = reduced(y, lambda lanes, p: np.where(t[:, p] > 0, fma(t[:, p], term[:, p], lanes), lanes))
            if output_weights is not None:
                whole = reduced(y, lambda lanes, p: fma(targets[:, p], v[:, p], lanes))
            v = F(1)
    elif kind == "binary_cross_entropy":
        h = sigmoid(y)
        term = v * ((FORWARD["relu"](y) - y * t) + log1p(exp(-np.abs(y))))
        each = reduced(y, lambda lanes, p: lanes + term[:, p])
    else:
        h = y
        d = y - t
        each = reduced(y, lambda lanes, p: fma(v[:, p] * d[:, p], d[:, p], lanes))
        each = each / F({"half_squared_error": 2, "mean_squared_error": y.shape[1]}.get(kind, 1))
    each = np.where(counts, each[:, 0], F(0))
    total = ordered_sum(float(w) * float(x) for w, x in zip(weights, each, strict=True))
    d = divisor(normalise, weights)
    ds = flushed(((h * whole - t) * v) * scales(kappa, weights, d))
    return total, d, each, np.where(counts[:, None], ds, F(0))


# ---- 7: optimizers ----------------------------------------------------------------------------------------


def clipped(g, limit):
    """The gradient, shortened to `limit`."""
    if not limit:
        return g
    square = 0.0
    for first in range(0, len(g), 4096):
        chunk = g[None, first : first + 4096]
        square += float(reduced(chunk, lambda lanes, p, x=chunk: fma(x[:, p], x[:, p], lanes))[0, 0])
    norm = float(np.sqrt(F(square)))
    return g * F(limit / norm) if norm > limit else g


def step(optimizer, w, g, moments, powers, decays, clip=0.0):
    """One step: the new w; moments and powers change in place. decays: which of w are weights."""
    g = clipped(g, clip)
    lr, decay = optimizer.learning_rate, optimizer.weight_decay
    if decay and optimizer.kind != "adamw":
        g = np.where(decays, fma(F(decay), w, g), g)
    if optimizer.kind == "sgd":
        if not optimizer.momentum:
            return w - F(lr) * g
        moments[0] = flushed(fma(F(optimizer.momentum), moments[0], g))
        along = fma(F(optimizer.momentum), moments[0], g) if optimizer.nesterov else moments[0]
        return w - F(lr) * along
    b1, b2 = optimizer.beta1, optimizer.beta2
    powers[0] *= b1
    powers[1] *= b2
    r = float(np.sqrt(F(1 - powers[1])))
    length, epsilon = F(lr * r / (1 - powers[0])), F(optimizer.epsilon * r)
    moments[0] = flushed(fma(F(b1), moments[0], F(1 - b1) * g))
    moments[1] = flushed(fma(F(b2), moments[1], (F(1 - b2) * g) * g))
    if decay and optimizer.kind == "adamw":
        w = np.where(decays, w * F(1 - lr * decay), w)
    return w - (length * moments[0]) / (np.sqrt(moments[1]) + epsilon)


def kind_of(optimizer):
    """Another one than before starts moments and powers afresh."""
    return optimizer.kind, bool(getattr(optimizer, "momentum", 0))


# ---- 10: random numbers -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
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


def words(n, step, stream, seed, first=0):
    """Words first .. first + n of a stream: e is word e // 16 mod 4 of block 16 (e // 64) + e mod 16."""
    return [philox(16 * (e // 64) + e % 16, step, stream, seed)[e // 16 % 4] for e in range(first, first + n)]


def unit(words):
    """On [0, 1)."""
    return F([(word >> 8) * 2.0**-24 for word in words])


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
    return fma(unit(words(n, 0, INIT + layer, seed)), F(2) * F(spread), -F(spread))


def normal(n, deviation, seed, layer=0):
    """n values of a normal initialisation."""
    random = words(2 * n, 0, INIT + layer, seed)
    radius = np.sqrt(F(-2) * log(F([((word >> 8) + 1) * 2.0**-24 for word in random[::2]])))
    return (radius * cospi(F(2) * unit(random[1::2]))) * F(deviation)


def initial(inputs, outputs, init, seed, layer=0):
    """The weight of a dense layer."""
    fan = inputs if init.startswith("he") else inputs + outputs
    kind, variance = (normal, 2) if init.endswith("normal") else (uniform, 6)
    return kind(inputs * outputs, np.sqrt(F(variance / fan)), seed, layer).reshape(inputs, outputs)


# ---- a whole net ------------------------------------------------------------------------------------------


class Net:
    """Layers by name, a dense one as its pair of sizes, and their parameters W, b, W, b ..."""

    def __init__(self, layers, seed):
        self.layers, self.parameters = layers, []
        he = ("relu", "leaky_relu", "softplus", "gelu", "silu")
        for layer, behind in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(layer, tuple):
                init = "he_normal" if behind in he else "glorot_uniform"
                weight = initial(*layer, init, seed, len(self.parameters) // 2)
                self.parameters += [weight, np.zeros(layer[1], F)]

    @property
    def flat(self):
        return np.concatenate([p.ravel() for p in self.parameters])

    @flat.setter
    def flat(self, values):
        ends = np.cumsum([p.size for p in self.parameters])[:-1]
        self.parameters = [
            v.reshape(p.shape) for v, p in zip(np.split(values, ends), self.parameters, strict=True)
        ]

    @property
    def decays(self):
        return np.concatenate([np.full(p.size, p.ndim == 2) for p in self.parameters])

    def until(self, end):
        """The layers of a pass that ends at the "scores" or "outputs"."""
        return self.layers[: -1 if end == "scores" and self.layers[-1] in ("softmax", "sigmoid") else None]

    def forward(self, x, end, mask=None):
        """What every layer gives, the input first; mask is (p, seed, step)."""
        values, dense, dropouts = [x], 0, 0
        for layer in self.until(end):
            s = values[-1]
            if isinstance(layer, tuple):
                values.append(product(s, self.parameters[2 * dense], self.parameters[2 * dense + 1]))
                dense += 1
            elif layer == "softmax":
                values.append(softmax(s))
            elif layer == "dropout":
                values.append(self.dropped(s, mask, dropouts))
                dropouts += 1
            else:
                values.append(FORWARD[layer](s))
        return values

    @staticmethod
    def dropped(x, mask, layer):
        if mask is None:
            return x
        p, seed, step = mask
        scale = F(65536 / (65536 - int(65536 * p + 0.5)))
        return np.where(dropout_mask(*x.shape, p, seed, step, layer), x * scale, F(0))

    def backward(self, values, ds, mask):
        """The flat gradient, and dx; values as forward gives them, ds the gradient of the last."""
        layers = self.layers[: len(values) - 1]
        dense = sum(isinstance(layer, tuple) for layer in layers)
        dropouts, grads = layers.count("dropout"), []
        for layer, s, a in reversed(list(zip(layers, values, values[1:], strict=False))):
            if isinstance(layer, tuple):
                dense -= 1
                grads += [product(np.ones((1, len(s)), F), ds).ravel(), product(s.T, ds).ravel()]
                ds = flushed(product(ds, self.parameters[2 * dense].T))
            elif layer == "softmax":
                ds = softmax_backward(ds, a)
            elif layer == "dropout":
                dropouts -= 1
                ds = ds if mask is None else flushed(self.dropped(ds, mask, dropouts))
            else:
                ds = flushed(BACKWARD[layer](ds, s, a))
        return np.concatenate(grads[::-1]), ds

    def loss_and_grad(self, x, t, weights, kind, mask, normalise="weights", output_weights=None):
        """The weighted sum of losses, D, the flat gradient, and dx."""
        counts = np.asarray(weights)[:, None] != 0
        x = np.where(counts | np.isfinite(x).all(axis=1, keepdims=True), x, F(0))
        values = self.forward(x, "scores" if kind.endswith("cross_entropy") else "outputs", mask)
        total, d, _, ds = loss(kind, values[-1], t, weights, normalise, output_weights)
        if not d:
            return 0.0, 0.0, np.zeros_like(self.flat), np.zeros_like(x)
        values = [np.where(counts | np.isfinite(value), value, F(0)) for value in values]
        return total, d, *self.backward(values, ds, mask)

    def own_gradient(self, x, dscores, weights, mask):
        """The flat gradient under a loss of one's own."""
        ds = dscores.astype(F) * scales(1, weights, ordered_sum(weights))
        return self.backward(self.forward(x, "scores", mask), ds, mask)[0]


class Training:
    """What training keeps from step to step."""

    def __init__(self, net):
        self.net, self.kind, self.steps, self.epochs = net, None, 0, 0

    def update(self, optimizer, grads, clip=0.0):
        """One step."""
        if self.kind != kind_of(optimizer):
            self.kind, self.powers = kind_of(optimizer), [1.0, 1.0]
            self.moments = [np.zeros_like(grads), np.zeros_like(grads)]
        net = self.net
        net.flat = step(optimizer, net.flat, grads, self.moments, self.powers, net.decays, clip)
        self.steps += 1

    def epoch(self, optimizer, clip, x, t, weights, kind, batch, p, seed, normalise="weights", v=None):
        """Shuffled batches: the sums of their weighted losses, and of their D."""
        order, sums = permutation(len(x), seed, self.epochs), np.zeros(2)
        for first in range(0, len(x), batch):
            rows = order[first : first + batch]
            total, d, grads, _ = self.net.loss_and_grad(
                *(x[rows], t[rows], weights[rows], kind, (p, seed, self.steps), normalise),
                output_weights=None if v is None else v[rows],
            )
            if d:
                assert math.isfinite(total)
                self.update(optimizer, grads, clip)
                sums += total, d
        self.epochs += 1
        return map(float, sums)
