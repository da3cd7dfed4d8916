"""What the tests share: the option that writes the golden digests anew, and fixtures."""

from __future__ import annotations

import pytest

import pynn


def pytest_addoption(parser):
    parser.addoption(
        "--regenerate", action="store_true", help="write tests/data/golden.json anew; only for a new contract"
    )


def available():
    """The instruction sets of this build and machine."""
    before, found = pynn.instruction_set(), []
    for name in ("scalar", "sse2", "avx2", "avx512", "neon"):
        try:
            found.append(pynn.instruction_set(name))
        except pynn.PynnRuntimeError:
            continue
    pynn.instruction_set(before)
    return found


@pytest.fixture
def instruction_sets():
    """The names of all instruction sets that can be chosen here; afterwards the first choice is back."""
    before = pynn.instruction_set()
    yield available()
    pynn.instruction_set(before)


@pytest.fixture(scope="session")
def digits():
    """1,797 images of digits, 64 numbers from 0 to 1 each, and their labels."""
    data = pytest.importorskip("sklearn.datasets").load_digits()
    return (data.data / 16).astype("f4"), data.target.astype("i4")
