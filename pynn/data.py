"""Rows: which ones a batch takes, and which ones are held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _calls, _gate
from .errors import PynnValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from ._memory import Order

    Pair = tuple[NDArray[Any], NDArray[Any]]

MOST_ROWS = 2**32 - 1


def epoch_order(n: int, seed: int, epoch: int, shuffle: bool) -> Order:
    """The rows 0 to n - 1 in the order of an epoch."""
    order = np.arange(n, dtype=np.uint32)
    if shuffle:
        _calls.permute(order, seed, epoch)
    return order


def batches(
    n: int, batch_size: int, seed: int = 0, epoch: int = 0, shuffle: bool = True
) -> Iterator[NDArray[np.intp]]:
    """The batches of an epoch: arrays of row numbers, exactly those that `fit` takes.

    Args:
        n: rows, at least 1.
        batch_size: rows of a batch, at least 1; the last batch of an epoch may have fewer.
        seed: that of the net.
        epoch: counts from 0, the epochs that the net has done before.
        shuffle: False takes the rows in their order.

    Raises:
        ValueError: a number out of range.
    """
    n = _gate.integer("n", n, 1, MOST_ROWS)
    batch_size = _gate.integer("batch_size", batch_size, 1)
    epoch, shuffle = _gate.integer("epoch", epoch, 0, 2**32 - 1), _gate.boolean("shuffle", shuffle)
    order = epoch_order(n, _gate.seed(seed), epoch, shuffle).astype(np.intp)
    return (order[first : first + batch_size] for first in range(0, n, batch_size))


def split(
    x: ArrayLike, t: ArrayLike, fraction: float, stratify: ArrayLike | bool | None = None, seed: int = 0
) -> tuple[Pair, Pair]:
    """Holds out a part of the rows at random: `(x, t), (xv, tv) = pynn.split(x, t, 0.2)`.

    Args:
        x, t: arrays of n rows, at least 2.
        fraction: the share that is held out, 0 < fraction < 1; round(fraction n) rows, at least 1 of each
            part.
        stratify: labels (n,), or True for t: every class then has its share in both parts, to within one row.
        seed: which rows.

    Returns:
        Two pairs of copies, the rest and the part held out, rows in their order.

    Raises:
        ValueError: a number out of range; lengths that differ.
    """
    x, t = _gate.unmasked("x", x), _gate.unmasked("t", t)
    if x.ndim == 0 or t.ndim == 0 or len(x) != len(t) or len(x) < 2:
        raise PynnValueError(
            f"x and t must have the same number of rows, at least 2, not {x.shape} and {t.shape}"
        )
    n = len(x)
    fraction = _gate.real("fraction", fraction, 0, 1, above=True)
    count = min(max(round(fraction * n), 1), n - 1)
    order = epoch_order(n, _gate.seed(seed), 0, shuffle=True)
    held = np.zeros(n, bool)
    if stratify is None or stratify is False:
        held[order[:count]] = True
    else:
        held[_stratified(order, t if stratify is True else _gate.unmasked("stratify", stratify), count)] = (
            True
        )
    return (x[~held], t[~held]), (x[held], t[held])


def _stratified(order: Order, labels: NDArray[Any], count: int) -> Order:
    """`count` rows, of each class its share; what rounding leaves over goes to the largest remainders."""
    n = len(order)
    if labels.shape != (n,):
        raise PynnValueError(f"stratify must have the shape ({n},), not {labels.shape}")
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    quotas, remainders = sizes * count // n, sizes * count % n
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    by_class = order[np.argsort(classes.reshape(n)[order], kind="stable")]
    rank = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return by_class[rank < np.repeat(quotas, sizes)]
