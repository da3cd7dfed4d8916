"""Losses alone: values, gradients, targets, weights; metrics."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import LOSSES, bits, labels, normal

import pynn
from pynn import losses


def targets_for(kind, rows, outputs, seed=9):
    """Targets that a loss takes, of (rows, outputs)."""
    t = normal(rows, outputs, seed=seed)
    if kind == "cross_entropy":
        return reference.softmax(t.astype(float)).astype("f4")
    return (1 / (1 + np.exp(-t))).astype("f4") if kind == "binary_cross_entropy" else t


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (5, 1), (6, 2), (7, 16), (3, 17), (64, 10), (2, 100)])
@pytest.mark.parametrize("kind", LOSSES)
def test_loss_against_double(kind, shape):
    """Losses within 1e-6 relative and gradients within 1e-6 of the largest, weighted or not."""
    y, t = 3 * normal(*shape), targets_for(kind, *shape)
    for weights in (None, np.abs(normal(shape[0], seed=3)) + 0.1):
        loss, dy = pynn.loss_and_grad(y, t, kind, weights)
        expected, _, gradient = reference.loss(kind, y, t, weights)
        assert isinstance(loss, float)
        assert loss == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert dy.shape == shape
        np.testing.assert_allclose(dy, gradient, atol=1e-6 * max(1, np.abs(gradient).max()))


@pytest.mark.parametrize("kind", LOSSES)
def test_gradient_is_the_derivative(kind):
    """The gradient is that of central differences of the loss, within 2e-3."""
    y, t = np.round(normal(3, 4) * 64) / 64, targets_for(kind, 3, 4)
    weights = [1, 0.5, 2]
    dy = pynn.loss_and_grad(y, t, kind, weights)[1]
    h = 1 / 64
    for index in np.ndindex(*y.shape):
        ends = []
        for sign in (1, -1):
            moved = y.copy()
            moved[index] += sign * h
            ends.append(pynn.loss_and_grad(moved, t, kind, weights)[0])
        assert dy[index] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "loss", "gradient"),
    [
        ("squared_error", 13, [4, 6]),
        ("half_squared_error", 6.5, [2, 3]),
        ("mean_squared_error", 6.5, [2, 3]),
    ],
)
def test_squared_errors_by_hand(kind, loss, gradient):
    """(3, 4) against (1, 1): differences 2 and 3."""
    found, dy = pynn.loss_and_grad([[3, 4]], [[1, 1]], kind)
    assert found == loss
    assert dy.tolist() == [gradient]


def test_cross_entropies_by_hand():
    """Even scores: log of the number of classes, and 1/classes less the target."""
    loss, dy = pynn.loss_and_grad(np.zeros((2, 4)), [1, 3], "cross_entropy")
    assert loss == pytest.approx(np.log(4), rel=1e-7)
    assert dy.tolist() == [[0.125, -0.375, 0.125, 0.125], [0.125, 0.125, 0.125, -0.375]]
    loss, dy = pynn.loss_and_grad(np.zeros((1, 3)), [[1, 0, 0.5]], "binary_cross_entropy")
    assert loss == pytest.approx(3 * np.log(2), rel=1e-6)
    assert dy.tolist() == [[-0.5, 0.5, 0]]


def test_extreme_scores():
    """Fused losses of scores that are far off are large, finite and exact."""
    loss, dy = pynn.loss_and_grad([[1000, 0], [-1000, 1000]], [1, 0], "cross_entropy")
    assert loss == 1500
    assert dy.tolist() == [[0.5, -0.5], [-0.5, 0.5]]
    loss, dy = pynn.loss_and_grad([[1000], [-1000]], [0, 1], "binary_cross_entropy")
    assert loss == 1000
    assert dy.tolist() == [[0.5], [-0.5]]


def test_labels_equal_one_hot_and_probabilities():
    """Labels, one-hot rows and rows of probability 1 give the same bits."""
    y, t = 4 * normal(33, 7), labels(33, 7)
    by_label = pynn.loss_and_grad(y, t, "cross_entropy")
    by_row = pynn.loss_and_grad(y, np.eye(7, dtype="f4")[t], "cross_entropy")
    assert by_label[0] == by_row[0]
    assert bits(by_label[1]) == bits(by_row[1])


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_are_repetition(kind):
    """A row of weight k counts as k rows: equal loss within 1e-6, equal gradients summed over the copies."""
    y, t = normal(6, 3), targets_for(kind, 6, 3)
    weights = np.array([1, 2, 0, 3, 1, 1])
    loss, dy = pynn.loss_and_grad(y, t, kind, weights)
    repeated = np.repeat(np.arange(6), weights)
    many, dmany = pynn.loss_and_grad(y[repeated], t[repeated], kind)
    assert loss == pytest.approx(many, rel=1e-6)
    np.testing.assert_allclose(dy, [dmany[repeated == r].sum(axis=0) for r in range(6)], atol=1e-6)
    assert not dy[2].any()


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_of_powers_of_two_do_not_matter(kind):
    """Only ratios of weights count: 4 each gives the bits of none."""
    y, t = normal(9, 3), targets_for(kind, 9, 3)
    one, four = pynn.loss_and_grad(y, t, kind), pynn.loss_and_grad(y, t, kind, np.full(9, 4))
    assert one[0] == four[0]
    assert bits(one[1]) == bits(four[1])


def test_column_targets():
    """(n,) targets count where O = 1, and only there."""
    y, t = normal(5, 1), normal(5, seed=1)
    assert bits(pynn.loss_and_grad(y, t, "squared_error")[1]) == bits(
        pynn.loss_and_grad(y, t[:, None], "squared_error")[1]
    )
    with pytest.raises(pynn.PynnValueError, match=r"t must have the shape \(5, 2\), not \(5,\)"):
        pynn.loss_and_grad(normal(5, 2), t, "squared_error")
    with pytest.raises(pynn.PynnValueError, match=r"t must have the shape \(5, 5\), not \(5,\)"):
        pynn.loss_and_grad(normal(5, 5), t, "mean_squared_error")
    with pytest.raises(
        pynn.PynnValueError, match=r"t must have the shape \(rows, 1\)|t must have the shape \(5, 1\)"
    ):
        pynn.loss_and_grad(y, normal(5, 2), "squared_error")


@pytest.mark.parametrize(
    ("kind", "t", "message"),
    [
        (
            "cross_entropy",
            [[0.5, 0.6]],
            r"the sum of a row of t must be 1 within 0.001; it holds 1.1\d* at row 0",
        ),
        ("cross_entropy", [[0, 0]], r"the sum of a row of t must be 1"),
        (
            "cross_entropy",
            [[-0.5, 1.5]],
            r"t must be at least 0, as probabilities; it holds -0.5 at row 0, column 0",
        ),
        ("binary_cross_entropy", [[0.5, 1.1]], r"t must be from 0 to 1.*it holds 1.1\d* at row 0, column 1"),
        ("binary_cross_entropy", [[-1, 1]], r"t must be from 0 to 1.*it holds -1.0 at row 0, column 0"),
        ("squared_error", [[np.nan, 1]], r"t holds nan at row 0, column 0"),
        ("squared_error", [[1, 2, 3]], r"t must have the shape \(1, 2\), not \(1, 3\)"),
        ("squared_error", [[1]], r"t must have the shape \(1, 2\), not \(1, 1\)"),
    ],
)
def test_bad_targets(kind, t, message):
    """What is no target of a loss is refused with its place."""
    with pytest.raises(pynn.PynnValueError, match=message):
        pynn.loss_and_grad([[0.5, 0.25]], t, kind)


def test_rounded_probabilities_pass():
    """Rows of float32 probabilities need not sum to 1 exactly."""
    t = np.full((1, 3), 1 / 3, "f4")
    assert pynn.loss_and_grad(np.zeros((1, 3)), t, "cross_entropy")[0] == pytest.approx(np.log(3), rel=1e-6)


def test_metrics():
    """Accuracy, binary accuracy, and mean errors, against their definitions."""
    t, y = np.array([0, 1, 2]), np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7]], "f4")
    assert losses.accuracy(t, y) == pytest.approx(2 / 3)
    assert losses.accuracy(np.eye(3)[t], y) == pytest.approx(2 / 3)
    assert losses.binary_accuracy(
        np.array([[1], [0], [1]]), np.array([[0.5], [0.4], [0.2]])
    ) == pytest.approx(2 / 3)
    assert losses.mean_squared_error(t, y) == pytest.approx(np.mean((y - np.eye(3)) ** 2), rel=1e-6)
    assert losses.mean_absolute_error(np.eye(3)[t], y) == pytest.approx(np.mean(abs(y - np.eye(3))), rel=1e-6)
