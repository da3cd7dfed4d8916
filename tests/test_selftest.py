"""The self-test, and the second implementation of the contract that its digests rest on."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers import bits, net_of, normal, run_python
from reference import contract, selftest

import pynn
from pynn import _calls, _structs

RUNS = {name: (golden, parts) for name, golden, parts in selftest.runs()}


def exact(a, b, c):
    """a b + c by integers, rounded once to nearest, ties to even."""
    sum_ = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(sum_))
    ways = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    ways = [w for w in ways if np.isfinite(w)]
    return min(ways, key=lambda w: (abs(Fraction(float(w)) - sum_), int(w.view(np.uint32)) & 1))


def test_the_fma_of_the_reference():
    """It is that of exact integers: short mantissas, halves of an ULP, cancellation, subnormal results."""
    rng = np.random.default_rng(0)
    short = (rng.integers(2**23, 2**24, (3, 4000)) & (-1 << rng.integers(0, 24, (3, 4000)))).astype("f4")
    short *= rng.choice([-1, 1], short.shape).astype("f4")
    a, b, c = np.ldexp(short, rng.integers(-60, -20, (3, 4000)), dtype="f4")
    c[::4] = -(a * b)[::4]
    c[1::4] = np.ldexp(a * b, rng.integers(-50, 50, 4000), dtype="f4")[1::4]
    a[2::4] *= np.float32(2.0**-40)
    b[2::4] *= np.float32(2.0**-50)
    c[2::4] *= np.float32(2.0**-120)
    found, wanted = contract.fma(a, b, c), [exact(*abc) for abc in zip(a, b, c, strict=True)]
    assert (np.abs(found[2::4]) < 2.0**-126).mean() > 0.1
    np.testing.assert_array_equal(found, np.array(wanted, "f4"))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", RUNS)
def test_two_implementations_agree(name):
    """What numpy gives by docs/arithmetic.md has the digest that the C library holds every machine to."""
    golden, parts = RUNS[name]
    assert selftest.digest_of(parts()) == golden


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_every_instruction_set_conforms(instruction_sets, threads):
    """All runs, in every instruction set of this machine."""
    for name in instruction_sets:
        pynn.instruction_set(name)
        found = [(run, digest) for run, digest, right in _calls.selftest(threads) if right]
        assert found == [(run, golden) for run, (golden, _) in RUNS.items()], name


def test_command(tmp_path):
    """python -m pynn selftest prints each run with its digest; the exit status tells."""
    code = "import sys; from pynn.__main__ import main; sys.exit(main(['selftest', '--threads', '2']))"
    lines = run_python(code, tmp_path, PYNN_ISA="scalar").splitlines()
    assert lines[0] == f"pynn {pynn.__version__}, scalar, 2 threads"
    for line, (run, (golden, _)) in zip(lines[1:-1], RUNS.items(), strict=True):
        assert line == f"{run:22} {golden} ok"
    assert lines[-1] == "all right: version 1 of the arithmetic contract"
    code = "from pynn.__main__ import main; print(main(['selftest']))"
    assert run_python(code, tmp_path, PYNN_ISA="mmx").endswith("lacks the instruction set\n2\n")
    code = "from pynn.__main__ import main; print(main(['selftest', '--threads', '0']))"
    assert run_python(code, tmp_path) == "pynn: threads must be from 1 to 1024, not 0\n2\n"


def test_command_says_what_is_wrong(monkeypatch, capsys):
    """A wrong digest is exit status 1; a broken rule is named, with exit status 2."""
    from pynn.__main__ import main  # noqa: PLC0415

    found = [("one", "0" * 64, True), ("two", "1" * 64, False)]
    monkeypatch.setattr(_calls, "selftest", lambda threads: found)
    assert main(["selftest"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"one{' ' * 19} {'0' * 64} ok",
        f"two{' ' * 19} {'1' * 64} WRONG",
        "1 wrong: this build or machine does not keep the arithmetic contract",
    ]

    def refuse(threads):
        raise pynn.PynnRuntimeError("bad arithmetic")

    monkeypatch.setattr(_calls, "selftest", refuse)
    monkeypatch.setattr(_calls, "broken_rule", lambda: "rule 1: flushes")
    assert main(["selftest"]) == 2
    assert capsys.readouterr().out.splitlines()[1:] == ["pynn: bad arithmetic; rule 1: flushes"]


def test_batch_invariance(instruction_sets, monkeypatch):
    """Row i of a prediction has the bits of row i alone, for any batch and number of threads."""
    x = normal(523, 300)
    net = net_of(pynn.Dense(300, 37), pynn.GELU(), pynn.Dense(37, 5), pynn.Softmax())
    monkeypatch.setattr(
        _structs.Net, "advise", lambda net, rows, available: min(available, 7)
    )  # even for so few
    alone = bits(np.concatenate([net.predict(x[i : i + 1]) for i in range(len(x))]))
    for name in instruction_sets:
        pynn.instruction_set(name)
        for threads in (1, 2, 3, 4, 7):
            assert bits(net.predict(x, threads=threads)) == alone, name
        for batch in (2, 3, 5, 8, 13, 64, 127, 192, 257):
            parts = [net.predict(x[i : i + batch]) for i in range(0, len(x), batch)]
            assert bits(np.concatenate(parts)) == alone, (name, batch)
