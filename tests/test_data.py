"""Rows: the order of an epoch and its batches, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import bits, labels, net_of, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import contract

import pynn

FEW = settings(max_examples=60, deadline=None, derandomize=True)


# ---- random numbers, against a second implementation ------------------------------------------------------


def test_philox_known_answers():
    """The second implementation has the published answers of Philox 4x32-10."""
    ones = 0xFFFFFFFF
    assert contract.philox(0, 0, 0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert contract.philox(ones | ones << 32, ones, ones, ones | ones << 32) == [
        0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD,
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("n", [1, 2, 3, 31, 32, 33, 200])
def test_order_of_an_epoch(n, seed):
    """The order is the contract's permutation for seed and epoch."""
    for epoch in (0, 1, 2**32 - 1):
        found = np.concatenate(list(pynn.batches(n, n, seed=seed, epoch=epoch)))
        assert found.tolist() == contract.permutation(n, seed, epoch)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 64), (9, 33)])
def test_dropout_masks(shape):
    """A mask is the contract's for seed, step and place; the first dropout of a net has the place 0."""
    for seed, p in ((0, 0.5), (2**40 + 3, 0.1)):
        layer = pynn.Dropout(p, seed=seed)
        for step in range(2):
            kept = layer.forward(np.ones(shape), training=True) != 0
            assert (kept == contract.dropout_mask(*shape, p, seed, step)).all()
    net = net_of(pynn.Dropout(0.5), pynn.Dropout(0.5), pynn.Dense(shape[1], 1), seed=6)
    net.params = np.append(2.0 ** -np.arange(shape[1]), 0) if shape[1] < 20 else np.ones(shape[1] + 1)
    both = contract.dropout_mask(*shape, 0.5, 6, 0, 0) & contract.dropout_mask(*shape, 0.5, 6, 0, 1)
    expected = 4 * both @ net[2].weight + net[2].bias
    assert np.array_equal(net.forward(np.ones(shape), training=True), expected)


def test_uniform_initial_values():
    """Glorot and He uniform values are the contract's, layer by layer of a net."""
    lone = pynn.Dense(5, 9, init="glorot_uniform", seed=2**33 + 1).weight
    assert bits(lone) == bits(contract.uniform(45, np.sqrt(np.float32(6 / 14)), 2**33 + 1).reshape(5, 9))
    net = net_of(pynn.Dense(5, 9, init="he_uniform"), pynn.Tanh(), pynn.Dense(9, 4), seed=7)
    assert bits(net[0].weight.ravel()) == bits(contract.uniform(45, np.sqrt(np.float32(6 / 5)), 7))
    assert bits(net[2].weight.ravel()) == bits(contract.uniform(36, np.sqrt(np.float32(6 / 13)), 7, 1))


# ---- batches ----------------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_batches_cover_every_row_once(n, size, seed, epoch):
    """All batches are full but the last; every row comes once; equal arguments give equal batches."""
    found = list(pynn.batches(n, size, seed, epoch))
    assert [len(rows) for rows in found[:-1]] == [size] * (len(found) - 1)
    assert 1 <= len(found[-1]) <= size
    assert sorted(np.concatenate(found).tolist()) == list(range(n))
    again = pynn.batches(n, size, seed=seed, epoch=epoch)
    assert all(bits(a) == bits(b) for a, b in zip(found, again, strict=True))


def test_batches_depend_on_seed_and_epoch():
    """Other epochs and seeds have other orders; without shuffling rows come as they stand."""
    orders = [
        tuple(np.concatenate(list(pynn.batches(100, 30, s, e))).tolist()) for s in range(3) for e in range(3)
    ]
    assert len(set(orders)) == 9
    still = list(pynn.batches(5, 2, shuffle=False))
    assert [rows.tolist() for rows in still] == [[0, 1], [2, 3], [4]]
    normal(5, 2)[still[0]]


def test_permutations_are_even():
    """Every row comes first about equally often: 6,000 epochs of 6 rows, within 5 deviations."""
    firsts = np.bincount([next(pynn.batches(6, 1, 0, epoch))[0] for epoch in range(6000)], minlength=6)
    assert np.abs(firsts - 1000).max() < 5 * np.sqrt(6000 * 5 / 36)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "n must be from 1"),
        ((2**32, 1), "n must be from 1 to 4294967295"),
        ((5, 0), "batch_size must be from 1"),
        ((5, -1), "batch_size must be from 1"),
        ((5, 1, -1), "seed must be from 0"),
        ((5, 1, 0, -1), "epoch must be from 0"),
        ((5, 1, 0, 2**32), "epoch must be from 0 to 4294967295"),
    ],
)
def test_bad_batches(arguments, message):
    """Numbers out of range are refused at the call, not at the first batch."""
    with pytest.raises(pynn.PynnValueError, match=message):
        pynn.batches(*arguments)
    with pytest.raises(pynn.PynnTypeError, match="n must be an integer"):
        pynn.batches(5.0, 1)


# ---- split ------------------------------------------------------------------------------------------------


@FEW
@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(0, 2**64 - 1))
def test_split(n, fraction, seed):
    """Both parts together are all rows, in their order; x and t stay together; the share is as asked."""
    x, t = np.arange(2 * n).reshape(n, 2), np.arange(n)
    (xa, ta), (xb, tb) = pynn.split(x, t, fraction, seed=seed)
    assert len(tb) == min(max(round(fraction * n), 1), n - 1)
    assert sorted([*ta, *tb]) == list(range(n))
    assert (np.diff(ta) > 0).all()
    assert (np.diff(tb) > 0).all()
    assert np.array_equal(xa, x[ta])
    assert np.array_equal(xb, x[tb])
    assert not any(np.shares_memory(part, whole) for part in (xa, xb, ta, tb) for whole in (x, t))


@FEW
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_split_by_class(sizes, fraction, seed):
    """Each class has its share of the part held out to within one row, by t or by other labels."""
    t = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if len(t) < 2:
        return
    (_, ta), (_, tb) = pynn.split(t[:, None], t, fraction, stratify=True, seed=seed)
    held = len(tb) / len(t)
    assert len(tb) == min(max(round(fraction * len(t)), 1), len(t) - 1)
    for label, size in enumerate(sizes):
        assert abs(np.sum(tb == label) - held * size) < 1
    names = np.array(list("abcdefgh"))[t]
    (_, tc), _ = pynn.split(t[:, None], np.zeros(len(t)), fraction, stratify=names, seed=seed)
    assert len(tc) == len(ta)


def test_split_depends_on_the_seed():
    """The same seed gives the same rows, another gives others."""
    x = np.arange(100)
    parts = [pynn.split(x, x, 0.3, seed=seed)[1][0].tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    stratified = [pynn.split(x, x % 4, 0.3, True, seed)[1][0].tolist() for seed in (0, 0, 1)]
    assert stratified[0] == stratified[1] != stratified[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(5), np.ones(4), 0.5), r"same number of rows.*\(5,\) and \(4,\)"),
        ((np.ones(1), np.ones(1), 0.5), "at least 2"),
        ((1.0, 1.0, 0.5), "same number of rows"),
        ((np.ones(5), np.ones(5), 0), "fraction must be above 0"),
        ((np.ones(5), np.ones(5), 1), "fraction must be .* less than 1"),
        ((np.ones(5), np.ones(5), -0.5), "fraction must be above 0"),
        ((np.ones(5), np.ones(5), np.nan), "fraction must be .*nan"),
        ((np.ones(5), np.ones(5), 0.5, np.ones(4)), r"stratify must have the shape \(5,\), not \(4,\)"),
        ((np.ones(5), np.ones((5, 2)), 0.5, True), r"stratify must have the shape \(5,\), not \(5, 2\)"),
        ((np.ones(5), np.ones(5), 0.5, None, -1), "seed must be from 0"),
    ],
)
def test_bad_split(arguments, message):
    """Lengths that differ and shares out of range are refused."""
    with pytest.raises(pynn.PynnValueError, match=message):
        pynn.split(*arguments)


def test_split_feeds_fit():
    """The pairs go straight into fit."""
    (x, t), validation = pynn.split(normal(40, 3), labels(40, 2), 0.25, stratify=True)
    net = net_of(pynn.Dense(3, 2), pynn.Softmax())
    assert len(net.fit(x, t, epochs=2, validation_data=validation)["val_loss"]) == 2
