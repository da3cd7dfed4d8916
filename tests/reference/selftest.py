"""The runs of the self-test, by the second implementation of the contract: what they are is read from
csrc/selftest.c, what they give is computed here.

    python -m reference.selftest      (in tests/) compares all of them with the golden digests in that file
"""

from __future__ import annotations

import hashlib
import re
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from . import contract
from .contract import F

SOURCE = Path(__file__).resolve().parents[2] / "csrc" / "selftest.c"
INPUTS, TARGETS, LABELS, WEIGHTS, DRAWN = range(3 << 24, (3 << 24) + 5)
SEED, DROPOUT = 1, 0.3
INITS = ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform")
LOSSES = (
    *("squared_error", "half_squared_error", "mean_squared_error"),
    *("cross_entropy", "binary_cross_entropy"),
)


def digest_of(parts):
    """SHA-256 of numbers, little-endian; every NaN is 7fc00000."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, float):
            sha.update(struct.pack("<d", part))
        elif isinstance(part, int):
            sha.update(struct.pack("<Q", part))
        elif part.dtype == F:
            sha.update(np.where(np.isnan(part), F(np.nan), part).astype("<f4").tobytes())
        else:
            sha.update(part.astype("<u4").tobytes())
    return sha.hexdigest()


def small(words):
    return F([((word >> 8) - 2**23) * 2.0**-22 for word in words])


def quarters(words):
    return F([(word >> 30) / 4 for word in words])


def subnormal(words):
    return np.array([word & 0x807FFFFF for word in words], np.uint32).view(F)


def drawn(shape, stream, f):
    return f(contract.words(int(np.prod(shape)), 0, stream, SEED)).reshape(shape)


def random_numbers():
    """Words across a carry of the counter, an order, weights."""
    yield np.array(contract.words(300, 0xFFFFFFFF, DRAWN, 0xFEDCBA9876543210, 2**40 - 7))
    yield np.array(contract.permutation(300, SEED, 3))
    for init in INITS:
        yield contract.initial(11, 13, init, SEED, 5)


def functions():
    """Activations over floats of all sizes."""
    s = (np.arange(2**14, dtype=np.uint32) * np.uint32(262147)).view(F)
    da = np.tile(drawn(64, DRAWN, small), 2**14 // 64)
    for kind in contract.FORWARD:
        a = contract.FORWARD[kind](s)
        ds = contract.flushed(contract.BACKWARD[kind](da, s, a))
        yield np.stack([a.reshape(-1, 64), ds.reshape(-1, 64)], axis=1)


def losses():
    """Softmax and every loss, over rows of several widths."""
    for width in (1, 2, 15, 16, 17, 40):
        s = drawn((3, width), INPUTS, small) * F(16)
        t = drawn((3, width), TARGETS, contract.unit)
        h = contract.softmax(s)
        yield h
        yield contract.softmax_backward(t, h)
        labels = np.arange(3) * 7 % width
        for kind, goal in [*((kind, t) for kind in LOSSES), ("cross_entropy", labels)]:
            total, weight, each, ds = contract.loss(kind, s, goal, np.ones(3))
            yield total / weight
            yield each
            yield ds


def training(first, second, kind, flags, optimizer, rows, batch, epochs, inputs, hidden, middle, outputs):
    """Trains; then predictions, and gradients of another step."""
    layers = [(inputs, hidden), first, (hidden, middle), second, (middle, outputs)]
    layers += {"cross_entropy": ["softmax"], "binary_cross_entropy": ["sigmoid"]}.get(kind, [])
    net = contract.Net(layers, SEED)
    x = drawn((rows, inputs), INPUTS, subnormal if "SUBNORMAL" in flags else small)
    t = drawn((rows, outputs), TARGETS, contract.unit)
    if kind == "cross_entropy":
        t[:, 1] = F(1) - t[:, 0]
        t[:, 2:] = 0
    if "BY_LABEL" in flags:
        t = np.array(contract.words(rows, 0, LABELS, SEED)) % outputs
    weights = drawn(rows, WEIGHTS, quarters) if "WEIGHTED" in flags else np.ones(rows, F)

    state = contract.Training(net)
    for _ in range(epochs):
        yield from state.epoch(optimizer, optimizer.clip_norm, x, t, weights, kind, batch, DROPOUT, SEED)
    yield net.flat
    yield from state.moments[: optimizer.moments]
    yield state.steps
    yield from state.powers
    for end in ("outputs", "scores"):
        yield net.forward(x, end)[-1]
    mask = (DROPOUT, SEED, state.steps)
    total, weight, grads, _ = net.loss_and_grad(x, t, weights, kind, mask)
    yield total / weight
    yield grads
    values = net.forward(x, "outputs", mask)
    yield from net.backward(values, values[-1], mask)


FIELDS = ("kind", "nesterov", "momentum", "beta1", "beta2", "epsilon", "weight_decay", "clip_norm")


def _optimizers(source):
    """The recipes of the C file, by name; what is not named there is 0."""
    found = {}
    for name, fields in re.findall(r"static const pynn_optimizer (\w+) = \{([^}]*)\};", source):
        recipe = SimpleNamespace(**dict.fromkeys(FIELDS, 0.0))
        for field, value in re.findall(r"\.(\w+) = ([^,\s]+)", fields):
            assert field in FIELDS, field
            setattr(recipe, field, value if field == "kind" else float(value))
        recipe.kind = recipe.kind.removeprefix("PYNN_").lower()
        recipe.moments = (recipe.momentum > 0) if recipe.kind == "sgd" else 2
        found[name] = recipe
    return found


def runs():
    """(name, golden digest, function that gives the parts to be hashed) of every run."""
    source = SOURCE.read_text("utf-8")
    optimizers = _optimizers(source)
    for name, golden, rest in re.findall(r'\{"([\w ,]+)",\s*"(\w*)",\s*(\w[^{}]*)[{}]', source):
        if not rest.startswith("TRAINING("):
            yield name, golden, globals()[rest.split(",")[0]]
            continue
        words = re.findall(r"[\w.]+(?: \| \w+)*", rest)[1:]
        first, second, kind = (word.removeprefix("PYNN_").lower() for word in words[:3])
        recipe = SimpleNamespace(**vars(optimizers[words[4]]), learning_rate=float(words[5]))
        arguments = (first, second, kind, words[3], recipe, *map(int, words[6:]))
        yield name, golden, lambda arguments=arguments: training(*arguments)


def main():
    """Exit status: whether a run differs."""
    wrong = 0
    for name, golden, parts in runs():
        found = digest_of(parts())
        wrong += found != golden
        print(f"{name:22} {found} {'ok' if found == golden else 'WRONG'}", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
