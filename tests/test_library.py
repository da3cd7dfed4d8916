"""The extension behind Python: its constants by name, its refusals as exceptions."""

from __future__ import annotations

import pytest

import pynn
from pynn import _library


def test_errors_are_of_pynn_and_of_python():
    """Every error class derives from PynnError, and all but that from a builtin."""
    errors = [e for e in vars(pynn).values() if isinstance(e, type) and issubclass(e, BaseException)]
    assert len(errors) == 8
    for error in errors:
        assert issubclass(error, pynn.PynnError)
        assert error.__doc__
    assert issubclass(pynn.PynnValueError, ValueError)
    assert issubclass(pynn.PynnTypeError, TypeError)
    assert issubclass(pynn.PynnRuntimeError, RuntimeError)
    assert issubclass(pynn.PynnMemoryError, MemoryError)
    assert issubclass(pynn.PynnImportError, ImportError)
    assert issubclass(pynn.BusyError, RuntimeError)
    assert issubclass(pynn.DivergedError, ArithmeticError)


def test_status_becomes_exception():
    """Every status of the C library is raised as a PynnError with its code and its text."""
    for name, code in _library.CODES.items():
        if name == "ok":
            _library.check(code)
            continue
        with pytest.raises(pynn.PynnError, match=r"^somewhere: \w[^()]+$") as caught:
            _library.check(code, "somewhere")
        assert caught.value.code == code


def test_a_refused_argument_is_named():
    """A status that says which argument was refused is raised with its name, and the code alone."""
    empty = _library.ffi.new("pynn_layer[1]")
    status = _library.lib.pynn_net_init(_library.ffi.NULL, empty, 1)
    assert status > 255
    with pytest.raises(pynn.PynnRuntimeError, match=r"a required pointer is NULL \(net\)$") as caught:
        _library.check(status)
    assert caught.value.code == _library.CODES["null_pointer"] == 1


def test_losses_are_those_with_a_name():
    """What the C library chooses by itself is no name of a loss in Python."""
    assert set(_library.LOSSES) == {
        "squared_error",
        "half_squared_error",
        "mean_squared_error",
        "cross_entropy",
        "binary_cross_entropy",
    }
