"""The gate: every number and array that crosses to C gives an exact result or a documented error."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import bits, classifier, net_of, normal, snapshot

import pynn
from pynn import _gate

# ---- arrays: dtype x layout -------------------------------------------------------------------------------

REAL = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", ">f4", ">f8", ">i4"]
UNREAL = {
    "object": lambda a: a.astype(object),
    "str": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S4"),
    "date": lambda a: a.astype("M8[D]"),
    "timedelta": lambda a: a.astype("m8[s]"),
    "complex64": lambda a: a.astype("c8"),
    "complex128": lambda a: a.astype("c16"),
    "structured": lambda a: a.astype([("re", "f4"), ("im", "f4")]),
    "void": lambda a: a.astype("f4").view("V4"),
}
PATTERN = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0]])  # every real dtype holds it exactly


def memmap(a):
    """The same array in a file."""
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, a.dtype, "w+", shape=a.shape)
        mapped[:] = a
        return mapped


def unaligned(a):
    """The same array one byte beside where it belongs; objects stay where they are."""
    if a.dtype.hasobject:
        return a.copy()
    memory = np.zeros(a.nbytes + 1, np.uint8)
    out = np.ndarray(a.shape, a.dtype, memory.data, 1)
    out[:] = a
    return out


def readonly(a):
    """The same array, not to be written."""
    a = a.copy()
    a.flags.writeable = False
    return a


def spread(a):
    """The same array as every other element of a larger one, in both directions."""
    out = np.ones((2 * a.shape[0], 2 * a.shape[1]), a.dtype)[::2, ::2]
    out[:] = a
    return out


def apart(a):
    """The same array with dense rows that lie apart."""
    out = np.ones((a.shape[0], a.shape[1] + 2), a.dtype)[:, : a.shape[1]]
    out[:] = a
    return out


class Sub(np.ndarray):
    """A subclass."""


class Interface:
    """Offers an array by __array_interface__ alone."""

    def __init__(self, a):
        self._kept = a
        self.__array_interface__ = a.__array_interface__


class Convertible:
    """Offers an array by __array__ alone."""

    def __init__(self, a):
        self._kept = a

    def __array__(self, dtype=None, copy=None):
        return self._kept


LAYOUTS = {
    "c": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "spread": spread,
    "rows_apart": apart,
    "rows_backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "columns_backwards": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "unaligned": unaligned,
    "readonly": readonly,
    "memmap": memmap,
    "masked": lambda a: np.ma.MaskedArray(a, mask=np.zeros(a.shape, bool)),
    "subclass": lambda a: a.view(Sub),
    "interface": Interface,
    "convertible": Convertible,
    "list": lambda a: a.tolist(),
}


def identity_net(width):
    """A net that gives what it gets."""
    net = net_of(pynn.Dense(width, width))
    net.layers[0].weight = np.eye(width)
    return net


def backward_of(a):
    """An array through a backward pass that leaves it as it is."""
    layer = pynn.ReLU()
    layer.forward(np.ones((4, 3)))
    return layer.backward(a)


def weight_of(a):
    """An array as a weight."""
    dense = pynn.Dense(4, 3)
    dense.weight = a
    return dense.weight


def targets_of(a):
    """An array back from the gradient of half squared errors at 0, 4 rows."""
    return -4 * pynn.loss_and_grad(np.zeros((4, 3), "f4"), a, "half_squared_error")[1]


DOORS = {
    "predict": identity_net(3).predict,
    "predictor": identity_net(3).predictor(4),
    "forward": identity_net(3).forward,
    "dense": identity_net(3).layers[0].forward,
    "identity": pynn.Identity().forward,
    "dropout": pynn.Dropout(0.5).forward,
    "backward": backward_of,
    "weight": weight_of,
    "targets": targets_of,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", REAL)
def test_real_array_gives_exact_result(dtype, layout):
    """A real array of any dtype and layout counts with its values, is not changed and not shared."""
    given = LAYOUTS[layout](PATTERN.astype(dtype))
    seen = np.asarray(given)
    before = bits(seen)
    for door, through in DOORS.items():
        result = through(given)
        assert result.dtype == np.float32, door
        assert np.array_equal(result + 0, PATTERN), door
        assert not np.shares_memory(result, np.asarray(given)), door
        assert bits(seen) == before, door


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "list"])
@pytest.mark.parametrize("dtype", UNREAL)
def test_other_dtypes_are_refused(dtype, layout):
    """An array that does not hold real numbers raises a TypeError that names argument and dtype."""
    given = LAYOUTS[layout](UNREAL[dtype](PATTERN.astype("i8")))
    for door, through in DOORS.items():
        with pytest.raises(
            pynn.PynnTypeError, match=r"(x|row|da|weight|t) must hold real numbers; its dtype is "
        ):
            through(given), door


def test_float64_bytes_are_not_read_as_float32():
    """Values that float64 and float32 write differently arrive as values."""
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert bits(identity_net(3).predict(x)) == bits(identity_net(3).predict(x.astype("f4")))
    assert np.array_equal(identity_net(3).predict(x), x.astype("f4"))


def test_broadcast_and_overlapping_rows_count_with_their_values():
    """Views whose rows are the same memory, or overlap, are copied."""
    row = np.arange(3, dtype="f4")
    assert np.array_equal(identity_net(3).predict(np.broadcast_to(row, (5, 3))), np.tile(row, (5, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(8, dtype="f4"), 3)
    assert np.array_equal(identity_net(3).predict(windows), windows)
    odd = np.zeros((4, 14), np.uint8)[:, :12].view("f4")  # rows 14 bytes apart
    odd[:] = PATTERN
    assert np.array_equal(identity_net(3).predict(odd), PATTERN)


@pytest.mark.parametrize("value", [1.0, np.float32(1), np.array(1.0), True, None, "x", object(), {"a": 1}])
def test_scalars_are_no_arrays(value):
    """A single value is refused, not spread over a batch."""
    for door, through in DOORS.items():
        if door != "predictor" or value is not None:  # p(None) is p()
            with pytest.raises((pynn.PynnValueError, pynn.PynnTypeError)):
                through(value)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0), (0,)])
def test_empty_arrays_are_refused(shape):
    """An array of size 0 raises a ValueError that says so."""
    for through in DOORS.values():
        with pytest.raises(pynn.PynnValueError, match=r"is empty; its shape is|must have"):
            through(np.zeros(shape, "f4"))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 4), (1, 4, 3), (4, 3, 1), (12,), (3, 4)])
def test_wrong_shapes_are_refused(shape):
    """No shape is stretched, squeezed or transposed to fit."""
    for door in ("predict", "predictor", "forward", "dense", "backward", "weight", "targets"):
        with pytest.raises(pynn.PynnValueError, match=r"must have the shape|must have 4 rows"):
            DOORS[door](np.ones(shape, "f4"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_not_finite_is_refused(value, dtype):
    """NaN and infinity raise a ValueError that names argument, row, column and value."""
    given = np.ones((4, 3), dtype)
    given[2, 1] = value
    for through in DOORS.values():
        with pytest.raises(pynn.PynnValueError, match=rf"{value} at row 2, column 1, which is not finite"):
            through(given)


def test_beyond_float32_is_refused():
    """A finite number that float32 cannot hold is not made infinite."""
    given = np.ones((4, 3))
    given[3, 0] = 1e39
    for through in DOORS.values():
        with pytest.raises(
            pynn.PynnValueError, match=r"holds 1e\+39 at row 3, column 0, which is beyond float32"
        ):
            through(given)


def test_masked_entries_are_refused():
    """A masked entry has no value that could be meant."""
    mask = np.zeros((4, 3), bool)
    mask[1, 2] = True
    with pytest.raises(pynn.PynnValueError, match=r"x is masked at row 1, column 2"):
        DOORS["predict"](np.ma.MaskedArray(PATTERN, mask))


def test_ragged_lists_are_refused():
    """A list without a shape raises a ValueError of pynn."""
    with pytest.raises(pynn.PynnValueError, match="x is not an array of numbers"):
        DOORS["predict"]([[1, 2, 3], [1, 2]])


def test_subnormals_and_signed_zeros_pass():
    """The gate does not change small numbers."""
    x = np.array([[1e-45, -0.0, 1e-39]], "f4")
    assert bits(pynn.Identity().forward(x)) == bits(x)


def test_float32_is_used_in_place():
    """C-contiguous float32, and rows that lie apart, are not copied."""
    for x in (normal(4, 3), apart(normal(4, 3))):
        assert np.shares_memory(_gate.floats("x", x, (None, 3), strided=True), x)
    assert _gate.floats("x", apart(normal(4, 3)), (None, 3)).flags.c_contiguous


# ---- labels and weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", REAL)
def test_labels_of_any_real_dtype(dtype):
    """Integers, booleans and whole-number floats count as labels."""
    y, t = normal(4, 3), np.array([0, 1, 1, 0])
    expected = pynn.loss_and_grad(y, t.astype("i4"), "cross_entropy")
    for given in (t.astype(dtype), readonly(t.astype(dtype)), np.repeat(t, 2).astype(dtype)[::2]):
        found = pynn.loss_and_grad(y, given, "cross_entropy")
        assert found[0] == expected[0]
        assert bits(found[1]) == bits(expected[1])


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0, 1, 2, 3], r"t must be labels from 0 to 2; it holds 3 at row 3"),
        ([0, -1, 2, 1], r"t must be labels from 0 to 2; it holds -1 at row 1"),
        ([0, 1, 0.5, 1], r"t must be whole numbers, as labels of classes; it holds 0.5 at row 2"),
        ([0, 1, np.nan, 1], r"t must be finite; it holds nan at row 2"),
        ([0, 1, np.inf, 1], r"t must be finite; it holds inf at row 2"),
        (np.array([0, 2**32, 0, 0]), r"it holds 4294967296 at row 1"),
        (np.array([0, 2**63, 0, 0], "u8"), r"it holds 9223372036854775808 at row 1"),
        ([0, 1e30, 0, 0], r"it holds 1e\+30 at row 1"),
        ([0, 1, 2], r"t must have 4 rows"),
        ([[0], [1], [2], [1]], r"t must have the shape \(4,\) as labels, or \(4, 3\), not \(4, 1\)"),
        ([[0, 1, 2, 1]], r"t must have 4 rows"),
    ],
)
def test_bad_labels(t, message):
    """Labels out of range, fractional or in a shape that could mean something else are refused."""
    with pytest.raises(pynn.PynnValueError, match=message):
        pynn.loss_and_grad(normal(4, 3), t, "cross_entropy")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, -1, 1], r"sample_weight must be at least 0; it holds -1.0 at row 2"),
        ([0, 0, 0, 0], r"sample_weight is zero in every row"),
        ([1, 1, np.nan, 1], r"sample_weight holds nan at row 2"),
        ([1, 1, 1], r"sample_weight must have the shape \(4,?\), not \(3,\)"),
        ([[1], [1], [1], [1]], r"sample_weight must have the shape"),
        (1.0, r"sample_weight must have the shape"),
        ([1e-60, 0, 0, 0], r"sample_weight is zero in every row"),
    ],
)
def test_bad_weights(weights, message):
    """Weights that are negative, all zero, not finite or of a wrong shape are refused."""
    with pytest.raises(pynn.PynnValueError, match=message):
        pynn.loss_and_grad(normal(4, 3), [0, 1, 2, 0], "cross_entropy", weights)


# ---- bad input to a net: the message names it, and nothing changes ----------------------------------------

X, T = normal(6, 5), np.array([0, 1, 2, 0, 1, 2])


def with_value(array, index, value):
    """A copy with one other value."""
    out = np.array(array, float)
    out[index] = value
    return out


BAD_USES = {
    "x_width": (
        lambda n: n.fit(normal(6, 4), T),
        ValueError,
        r"x must have the shape \(rows, 5\), not \(6, 4\)",
    ),
    "x_1d": (lambda n: n.predict(np.ones(5)), ValueError, r"x must have the shape \(rows, 5\), not \(5,\)"),
    "x_nan": (
        lambda n: n.fit(with_value(X, (3, 2), np.nan), T),
        ValueError,
        r"x holds nan at row 3, column 2",
    ),
    "x_inf": (
        lambda n: n.predict(with_value(X, (0, 4), np.inf)),
        ValueError,
        r"x holds inf at row 0, column 4",
    ),
    "x_object": (
        lambda n: n.fit(X.astype(object), T),
        TypeError,
        "x must hold real numbers; its dtype is object",
    ),
    "x_complex": (lambda n: n.fit(X.astype("c8"), T), TypeError, "its dtype is complex64"),
    "x_none": (lambda n: n.fit(None, T), TypeError, "x must hold real numbers"),
    "x_empty": (lambda n: n.fit(np.zeros((0, 5)), []), ValueError, r"x is empty; its shape is \(0, 5\)"),
    "predict_empty": (lambda n: n.predict(np.zeros((0, 5))), ValueError, "x is empty"),
    "t_rows": (lambda n: n.fit(X, T[:5]), ValueError, r"t must have 6 rows"),
    "t_column": (lambda n: n.fit(X, T[:, None]), ValueError, r"not \(6, 1\)"),
    "t_row": (lambda n: n.fit(X, T[None]), ValueError, r"t must have 6 rows.*\(1, 6\)"),
    "t_narrow": (lambda n: n.fit(X, np.ones((6, 2)) / 2), ValueError, r"t must have the shape \(6, 3\)"),
    "t_3d": (lambda n: n.fit(X, np.ones((6, 3, 1))), ValueError, r"t must have the shape \(6, 3\)"),
    "t_scalar": (lambda n: n.fit(X, 1), ValueError, r"t must have 6 rows"),
    "t_label_high": (lambda n: n.fit(X, [0, 1, 2, 3, 1, 2]), ValueError, "it holds 3 at row 3"),
    "t_label_low": (lambda n: n.fit(X, [0, 1, 2, 0, -1, 2]), ValueError, "it holds -1 at row 4"),
    "t_fraction": (lambda n: n.fit(X, [0, 1, 2, 0, 1.5, 2]), ValueError, "it holds 1.5 at row 4"),
    "t_nan": (lambda n: n.fit(X, [0, 1, np.nan, 0, 1, 2]), ValueError, "it holds nan at row 2"),
    "t_text": (lambda n: n.fit(X, list("abcabc")), TypeError, "t must hold real numbers"),
    "t_not_probabilities": (
        lambda n: n.fit(X, with_value(np.eye(3)[T], (4, 0), 0.5)),
        ValueError,
        r"the sum of a row of t must be 1 within 0.001; it holds 1.5 at row 4",
    ),
    "t_negative_probability": (
        lambda n: n.fit(X, np.tile([1.5, -0.5, 0], (6, 1))),
        ValueError,
        "t must be at least 0, as probabilities; it holds -0.5 at row 0, column 1",
    ),
    "labels_for_squares": (
        lambda n: n.fit(X, T, loss="squared_error"),
        ValueError,
        r"t must have the shape \(6, 3\), not \(6,\); labels are for cross_entropy",
    ),
    "weight_negative": (
        lambda n: n.fit(X, T, sample_weight=[1, 1, -2, 1, 1, 1]),
        ValueError,
        "sample_weight must be at least 0; it holds -2.0 at row 2",
    ),
    "weight_zero": (lambda n: n.fit(X, T, sample_weight=np.zeros(6)), ValueError, "sample_weight is zero"),
    "weight_shape": (
        lambda n: n.fit(X, T, sample_weight=np.ones((6, 1))),
        ValueError,
        "sample_weight must have",
    ),
    "loss_unknown": (
        lambda n: n.fit(X, T, loss="mse"),
        ValueError,
        "unknown loss 'mse'; known are binary_cross_entropy, cross_entropy, half_squared_error, "
        "mean_squared_error, squared_error",
    ),
    "loss_without_layer": (
        lambda n: n.fit(X, np.eye(3)[T], loss="binary_cross_entropy"),
        ValueError,
        "'binary_cross_entropy' needs a last layer sigmoid",
    ),
    "loss_number": (lambda n: n.fit(X, T, loss=3), TypeError, "loss must be a name, not 3"),
    "optimizer_unknown": (
        lambda n: n.fit(X, T, optimizer="rmsprop"),
        ValueError,
        "unknown optimizer 'rmsprop'; known are adam, adamw, sgd",
    ),
    "optimizer_class": (
        lambda n: n.fit(X, T, optimizer=pynn.Adam),
        TypeError,
        r"must be made first: Adam\(\)",
    ),
    "optimizer_none": (
        lambda n: n.fit(X, T, optimizer=None),
        TypeError,
        "optimizer must be a name, not None",
    ),
    "metric_unknown": (
        lambda n: n.fit(X, T, metrics=["f1"]),
        ValueError,
        "unknown metric 'f1'; known are accuracy, mean_absolute_error, mean_squared_error",
    ),
    "metric_twice": (lambda n: n.fit(X, T, metrics=["accuracy"] * 2), ValueError, "two metrics are called"),
    "epochs_zero": (lambda n: n.fit(X, T, epochs=0), ValueError, "epochs must be from 1 to .*, not 0"),
    "epochs_float": (lambda n: n.fit(X, T, epochs=2.0), TypeError, "epochs must be an integer, not 2.0"),
    "epochs_true": (lambda n: n.fit(X, T, epochs=True), TypeError, "epochs must be an integer, not True"),
    "batch_zero": (lambda n: n.fit(X, T, batch_size=0), ValueError, "batch_size must be from 1 to .*, not 0"),
    "batch_negative": (lambda n: n.fit(X, T, batch_size=-4), ValueError, "batch_size must be .*, not -4"),
    "clip_zero": (lambda n: n.fit(X, T, clip_norm=0), ValueError, "clip_norm must be above 0"),
    "clip_negative": (
        lambda n: n.fit(X, T, clip_norm=-1),
        ValueError,
        "clip_norm must be above 0.*, not -1",
    ),
    "clip_nan": (lambda n: n.fit(X, T, clip_norm=np.nan), ValueError, "clip_norm must be .*, not nan"),
    "seed_negative": (lambda n: n.fit(X, T, seed=-1), ValueError, "seed must be from 0 to .*, not -1"),
    "seed_large": (
        lambda n: n.fit(X, T, seed=2**64),
        ValueError,
        "seed must be from 0 to 18446744073709551615",
    ),
    "validation_shape": (
        lambda n: n.fit(X, T, validation_data=(normal(2, 4), [0, 1])),
        ValueError,
        r"x of validation_data must have the shape \(rows, 5\), not \(2, 4\)",
    ),
    "validation_labels": (
        lambda n: n.fit(X, T, validation_data=(X, T + 1)),
        ValueError,
        "t of validation_data must be labels from 0 to 2; it holds 3 at row 2",
    ),
    "validation_kind": (lambda n: n.fit(X, T, validation_data=X), TypeError, "validation_data must be"),
    "callback_class": (
        lambda n: n.fit(X, T, callbacks=[pynn.EarlyStopping]),
        TypeError,
        r"must be made first: EarlyStopping\(",
    ),
    "callback_kind": (lambda n: n.fit(X, T, callbacks=[7]), TypeError, "callback 7 has none of on_fit_begin"),
    "step_x": (lambda n: n.train_step(normal(6, 4), T), ValueError, "x must have the shape"),
    "step_t": (lambda n: n.train_step(X, T + 1), ValueError, "it holds 3 at row 2"),
    "gradient_t": (lambda n: n.loss_and_grad(X, T - 1), ValueError, "it holds -1 at row 0"),
    "evaluate_t": (lambda n: n.evaluate(X, T + 1), ValueError, "it holds 3 at row 2"),
    "trace_t": (lambda n: n.trace(X, T + 1), ValueError, "it holds 3 at row 2"),
    "params_short": (
        lambda n: setattr(n, "params", [1.0]),
        ValueError,
        r"params must have the shape \(66,?\)",
    ),
    "params_nan": (lambda n: setattr(n, "params", [np.nan] * 66), ValueError, "params holds nan at index 0"),
    "grads_wide": (lambda n: setattr(n, "grads", np.ones((1, 66))), ValueError, "grads must have the shape"),
    "weight_wide": (
        lambda n: setattr(n.layers[0], "weight", np.ones((7, 5))),
        ValueError,
        r"weight must have the shape \(5, 7\), not \(7, 5\)",
    ),
    "bias_scalar": (lambda n: setattr(n.layers[0], "bias", 1.0), ValueError, "bias must have the shape"),
    "dy_shape": (lambda n: (n.forward(X), n.backward(np.ones((6, 1)))), ValueError, "dy must have the shape"),
    "predictor_batch": (lambda n: n.predictor(0), ValueError, "batch must be from 1"),
    "predictor_row": (lambda n: n.predictor(2)(np.ones(5)), ValueError, r"row must have the shape \(2, 5\)"),
    "predictor_nan": (lambda n: n.predictor()([1, 2, np.nan, 4, 5]), ValueError, "row holds nan at index 2"),
}


@pytest.mark.parametrize("case", BAD_USES)
def test_bad_use_of_a_net(case):
    """Bad input raises a PynnError that is also the builtin that fits, names it, and changes nothing."""
    use, builtin, message = BAD_USES[case]
    net = classifier()
    net.fit(X, T, epochs=2, batch_size=4)
    net.loss_and_grad(X, T)
    before = snapshot(net)
    with pytest.raises(pynn.PynnError, match=message) as caught:
        use(net)
    assert isinstance(caught.value, builtin)
    assert snapshot(net) == before
    net.fit(X, T, epochs=1, batch_size=4)
    assert net.epochs_done == 3


RATE = "learning_rate must be at least 0 and finite, not"
BAD_NUMBERS = {
    "rate_nan": (lambda: pynn.SGD(np.nan), ValueError, f"{RATE} nan"),
    "rate_inf": (lambda: pynn.SGD(np.inf), ValueError, f"{RATE} inf"),
    "rate_negative": (lambda: pynn.Adam(-1e-3), ValueError, f"{RATE} -0.001"),
    "rate_text": (lambda: pynn.Adam("fast"), TypeError, "learning_rate must be a number, not 'fast'"),
    "rate_none": (lambda: pynn.AdamW(None), TypeError, "learning_rate must be a number, not None"),
    "rate_array": (lambda: pynn.SGD(np.ones(2)), TypeError, "learning_rate must be a number"),
    "rate_true": (lambda: pynn.SGD(True), TypeError, "learning_rate must be a number, not True"),
    "decay": (lambda: pynn.SGD(weight_decay=-1), ValueError, "weight_decay must be at least 0"),
    "momentum": (
        lambda: pynn.SGD(momentum=1),
        ValueError,
        "momentum must be at least 0 and less than 1, not 1",
    ),
    "nesterov": (lambda: pynn.SGD(nesterov=True), ValueError, "nesterov=True needs momentum > 0"),
    "nesterov_kind": (
        lambda: pynn.SGD(momentum=0.5, nesterov="no"),
        TypeError,
        "nesterov must be True or False",
    ),
    "beta1": (lambda: pynn.Adam(beta1=1.0), ValueError, "beta1 must be at least 0 and less than 1"),
    "beta2": (lambda: pynn.Adam(beta2=-0.1), ValueError, "beta2 must be at least 0 and less than 1"),
    "epsilon": (lambda: pynn.Adam(epsilon=0), ValueError, "epsilon must be at least 1e-12"),
    "inputs_zero": (lambda: pynn.Dense(0, 3), ValueError, "inputs must be from 1 to .*, not 0"),
    "outputs_negative": (lambda: pynn.Dense(3, -2), ValueError, "outputs must be from 1 to .*, not -2"),
    "inputs_float": (lambda: pynn.Dense(3.0, 2), TypeError, "inputs must be an integer, not 3.0"),
    "inputs_text": (lambda: pynn.Dense("3", 2), TypeError, "inputs must be an integer, not '3'"),
    "init": (
        lambda: pynn.Dense(3, 2, init="xavier"),
        ValueError,
        "unknown init 'xavier'; known are auto, glorot_normal, glorot_uniform, he_normal, he_uniform, zeros",
    ),
    "dense_seed": (lambda: pynn.Dense(3, 2, seed=-1), ValueError, "seed must be from 0"),
    "seed_float": (lambda: pynn.Sequential(pynn.Dense(3, 2), seed=1.0), TypeError, "seed must be an integer"),
    "p_one": (lambda: pynn.Dropout(1), ValueError, "p must be at least 0 and less than 0.999992, not 1"),
    "p_negative": (lambda: pynn.Dropout(-0.1), ValueError, "p must be at least 0"),
    "p_nan": (lambda: pynn.Dropout(np.nan), ValueError, "p must be .*, not nan"),
    "slope": (lambda: pynn.LeakyReLU(-1), ValueError, "slope must be at least 0"),
    "patience": (lambda: pynn.EarlyStopping(0), ValueError, "patience must be from 1"),
    "min_delta": (lambda: pynn.EarlyStopping(1, min_delta=-1), ValueError, "min_delta must be at least 0"),
    "schedule": (lambda: pynn.LearningRate(0.1), TypeError, "schedule must be callable, not 0.1"),
    "per": (
        lambda: pynn.LearningRate(lambda e: 1, per="day"),
        ValueError,
        "unknown per 'day'; known are epoch, step",
    ),
    "isa": (
        lambda: pynn.instruction_set("mmx"),
        ValueError,
        "unknown instruction set 'mmx'; known are avx2,",
    ),
    "loss": (
        lambda: pynn.loss_and_grad([[1]], [[1]], "l1"),
        ValueError,
        "unknown loss 'l1'; known are binary",
    ),
    "no_layers": (pynn.Sequential, ValueError, "at least one Dense"),
    "no_dense": (lambda: pynn.Sequential(pynn.ReLU()), ValueError, "at least one Dense"),
    "widths": (
        lambda: pynn.Sequential(pynn.Dense(2, 3), pynn.ReLU(), pynn.Dense(4, 1)),
        ValueError,
        r"layer 0, Dense\(2, 3\), gives 3 values, but layer 2, Dense\(4, 1\), takes 4",
    ),
    "list_of_layers": (
        lambda: pynn.Sequential([pynn.Dense(2, 3)]),
        TypeError,
        r"layer 0 must be a layer of pynn.*write Sequential\(\*layers\)",
    ),
    "layer_class": (
        lambda: pynn.Sequential(pynn.Dense(2, 3), pynn.ReLU),
        TypeError,
        "layer 1 must be a layer",
    ),
    "nested_net": (
        lambda: pynn.Sequential(pynn.Sequential(pynn.Dense(2, 3))),
        TypeError,
        "layer 0 is a Sequential",
    ),
    "far_too_large": (lambda: net_of(pynn.Dense(2**31 - 1, 2**31 - 1)), MemoryError, "does not fit"),
    "too_large_times_three": (
        lambda: net_of(*(pynn.Dense(2**31 - 1, 2**31 - 1) for _ in range(3))),
        MemoryError,
        "a size does not fit in memory",
    ),
}


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_bad_numbers(case):
    """Bad sizes, rates and names raise a PynnError that is also the builtin that fits, and names it."""
    make, builtin, message = BAD_NUMBERS[case]
    with pytest.raises(pynn.PynnError, match=message) as caught:
        make()
    assert isinstance(caught.value, builtin)


def test_layer_used_twice():
    """A layer belongs to one net, once; a refused net leaves its layers free."""
    dense, relu = pynn.Dense(3, 3), pynn.ReLU()
    with pytest.raises(pynn.PynnValueError, match=r"layer 2, Dense\(3, 3\), already belongs to a net"):
        pynn.Sequential(dense, relu, dense)
    with pytest.raises(pynn.PynnValueError, match=r"layer 3, ReLU\(\), already belongs to a net"):
        pynn.Sequential(dense, relu, pynn.Dense(3, 3), relu)
    net = pynn.Sequential(dense, relu)
    with pytest.raises(pynn.PynnValueError, match=r"layer 0, Dense\(3, 3\), already belongs to a net"):
        pynn.Sequential(dense)
    assert net.predict(normal(2, 3)).shape == (2, 3)


def test_no_file_is_left_behind(tmp_path):
    """An array that lives in a file is read, not written."""
    path = Path(tmp_path) / "x.npy"
    np.save(path, normal(4, 3))
    before = path.read_bytes()
    x = np.load(path, mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        identity_net(3).fit(x, x, epochs=2)
    assert path.read_bytes() == before
