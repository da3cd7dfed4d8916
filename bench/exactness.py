"""`make bench-exactness`: the price of the arithmetic contract, as the time of a training step with its rules
over that without them.

The copy without rules does not flush, sums products in one chain whatever their length, takes sums in any
order and fuses what it can (-ffast-math).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
from pathlib import Path

import timing
from cases import NETS, Case

OURS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno"]
RELAXED = ["-O3", "-std=gnu11", "-ffast-math", "-Wno-unknown-pragmas", "-DPYNN_WITHOUT_KNOWN_ANSWERS"]
# What is taken out of the copy: file, text, what stands there instead.
EDITS = [
    (
        "arith.h",
        "#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)",
        "#if 0",
    ),
    ("arith.h", "#if defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)", "#if 0"),
    ("arith.h", '#pragma GCC optimize("fp-contract=off")', ""),
    ("arith.h", "#pragma STDC FP_CONTRACT OFF", ""),
    (
        "kernels/math.inc",
        "return vf_select(vi_lt(size, vi_set1(27 << 23)), vf_set1(0.0f), x);",
        "(void)size; return x;",
    ),
]


def one_chain(gemm: str) -> str:
    """The text of the products, where a later block goes on from the sum so far instead of being added."""
    begin, loop = gemm.index("    if (at->k0 > 0) {"), gemm.index("    for (size_t k = at->k0,")
    end = gemm.index("#ifdef PYNNI_SMALL", begin)
    block = gemm[begin:end].replace("vf_add(load_lanes(", "load_lanes(")
    block = block.replace(", last), c[r * vecs + v]);", ", last);")
    if "vf_add" in block:
        raise SystemExit("gemm.inc adds blocks in another way than this program knows")
    return gemm[:loop] + block + gemm[loop:begin] + gemm[end:]


def relax(folder: Path) -> None:
    """Takes the rules out of a copy of csrc."""
    for name, old, new in EDITS:
        path = folder / name
        text = path.read_text("utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{name} no longer holds {old!r} once")
        path.write_text(text.replace(old, new), "utf-8")
    gemm = folder / "kernels" / "gemm.inc"
    gemm.write_text(one_chain(gemm.read_text("utf-8")), "utf-8")


def build(source: Path, flags: list[str]) -> Path:
    """The program step.c with a copy of the library."""
    program = source.parent / "step"
    files = [str(path) for path in sorted(source.rglob("*.c"))]
    step = str(Path(__file__).parent / "step.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, *flags, "-pthread", "-I", str(source), step, *files, "-lm", "-o", str(program)], check=True
    )
    return program


def seconds(program: Path, case: Case) -> float:
    arguments = [str(case.batch), str(max(2, case.steps)), *map(str, case.widths)]
    done = subprocess.run([str(program), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    programs = []
    for name, flags in (("contract", OURS), ("relaxed", RELAXED)):
        source = timing.BUILD / name / "csrc"
        shutil.rmtree(source.parent, ignore_errors=True)
        shutil.copytree(timing.ROOT / "csrc", source)
        if name == "relaxed":
            relax(source)
        programs.append(build(source, flags))
    rows = []
    for case in NETS:
        times = []
        for round_ in range(rounds):  # who goes first alternates
            pair = {program: seconds(program, case) for program in programs[:: 1 - 2 * (round_ % 2)]}
            times.append([pair[program] for program in programs])
        contract, relaxed = (statistics.median(t) for t in zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in times)
        rows.append(
            [case.name, timing.duration(contract), timing.duration(relaxed), f"{100 * (ratio - 1):+.1f} %"]
        )
    print(timing.table(["step, Adam, one thread", "contract", "without", "price"], rows))


if __name__ == "__main__":
    main()
