"""How far products of matrices are from exact ones, beside other libraries on the same data."""

from __future__ import annotations

import numpy as np
import pytest

import pynn

SIZES = (64, 256, 257, 784, 1024, 2048, 4096)
OPENBLAS = "openblas" in str(np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"])


def operands(k, positive):
    """(64, K) and (K, 64), uniform on [0, 1) or [-1, 1)."""
    rng = np.random.default_rng(k)
    a, b = rng.random((64, k), dtype="f4"), rng.random((k, 64), dtype="f4")
    return (a, b) if positive else (2 * a - 1, 2 * b - 1)


def error_ratio(c, a, b):
    """The worst error of an element in units of eps |a| |b|, eps = 2^-23, as netlib's tests of BLAS have it;
    they take 16 for a failure.
    """
    a, b = a.astype(float), b.astype(float)
    return (np.abs(c - a @ b) / (2.0**-23 * (np.abs(a) @ np.abs(b)))).max()


def ours(a, b):
    dense = pynn.Dense(*b.shape)
    dense.weight, dense.bias = b, np.zeros(b.shape[1], "f4")
    return dense.forward(a)


@pytest.mark.parametrize("positive", [False, True], ids=["signs", "positive"])
@pytest.mark.parametrize("k", SIZES)
def test_products_beside_numpy(k, positive, record_property):
    """Below netlib's limit, and no worse than numpy's BLAS, but for luck."""
    a, b = operands(k, positive)
    found, numpys = error_ratio(ours(a, b), a, b), error_ratio(a @ b, a, b)
    record_property("error ratio", (found, numpys))
    assert found < 16
    assert found <= (1.5 if OPENBLAS else 3) * numpys  # others may add in shorter chains


@pytest.mark.parametrize("positive", [False, True], ids=["signs", "positive"])
@pytest.mark.parametrize("k", SIZES)
def test_products_beside_torch(k, positive, record_property):
    """Of the size of PyTorch's, whose library adds in shorter chains: docs/same-bits.md."""
    torch = pytest.importorskip("torch")
    a, b = operands(k, positive)
    theirs = (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
    found, torchs = error_ratio(ours(a, b), a, b), error_ratio(theirs, a, b)
    record_property("error ratio", (found, torchs))
    assert found <= 3 * torchs


def main():
    """The table of docs/same-bits.md."""
    import torch  # noqa: PLC0415

    print("| K | data | pynn | numpy | PyTorch |\n|---|---|---|---|---|")
    for k in SIZES:
        for positive in (False, True):
            a, b = operands(k, positive)
            theirs = (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
            ratios = (error_ratio(c, a, b) for c in (ours(a, b), a @ b, theirs))
            print(f"| {k} | {('signs', 'positive')[positive]} |", *(f"{r:.2f} |" for r in ratios))


if __name__ == "__main__":
    main()
