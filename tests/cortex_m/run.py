"""pynn on a Cortex-M4F: programs that predict and train, emulated by QEMU, and what they take of its memory.

    python tests/cortex_m/run.py LIBRARY [--table]

They must print the digests that they print here, linked with LIBRARY. A size is the code and constants of
everything that is linked but startup, newlib and the program itself, so that software doubles count. A
program that is larger than its goal fails, and so does a call that takes more stack than stack.c allows.
--table: the sizes as tables for docs/c-api.md. Exit status 1 if anything fails; 0, with a line that says
so, where the tools are missing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from same_bits import BUILD, ROOT, NotRunError, targets, tool  # noqa: E402

SMALL = ("-Os", "-std=gnu11", "-ffunction-sections", "-fdata-sections")
ALONE = ("-DPYNN_WITHOUT_THREADS", "-DPYNN_WITHOUT_ENVIRONMENT", "-DPYNN_WITHOUT_KNOWN_ANSWERS")


@dataclass(frozen=True)
class Program:
    """A program, its switches, and the most bytes that it may take."""

    name: str
    source: str
    goal: int
    switches: tuple[str, ...] = ()


PROGRAMS = (
    Program("prediction alone, dense and ReLU", "predict.c", 4608, (
        *ALONE, "-DPYNN_WITHOUT_TRAINING", "-DPYNN_ONLY_LAYERS=1<<PYNN_RELU",
    )),
    Program("prediction alone, every activation and softmax", "predict.c", 9216, (
        *ALONE, "-DPYNN_WITHOUT_TRAINING", "-DEVERY_ACTIVATION",
    )),
    Program("training, dense and ReLU, SGD, squared error", "train.c", 15360, (
        *ALONE, "-DPYNN_ONLY_LAYERS=1<<PYNN_RELU", "-DPYNN_ONLY_LOSSES=1<<PYNN_MEAN_SQUARED_ERROR",
        "-DPYNN_ONLY_OPTIMIZERS=1<<PYNN_SGD",
    )),
    Program("training, dense, ReLU and softmax, Adam, cross-entropy", "train.c", 21504, (
        *ALONE, "-DPYNN_ONLY_LAYERS=1<<PYNN_RELU|1<<PYNN_SOFTMAX", "-DPYNN_ONLY_LOSSES=1<<PYNN_CROSS_ENTROPY",
        "-DPYNN_ONLY_OPTIMIZERS=1<<PYNN_ADAM", "-DADAM",
    )),
)  # fmt: skip
STACK = Program("stack", "stack.c", 1 << 20)


def run(command):
    """What a command prints."""
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"exit status {done.returncode} of {command[-1]}: {done.stdout.strip()}")
    return done.stdout


def build(compiler, linker, program, folder):
    """The program for the board, and the map of what was linked."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {f"pynn-{path.stem}.o": path for path in sorted((ROOT / "csrc").rglob("*.c"))}
    sources["program.o"] = HERE / program.source
    command = [*compiler, *SMALL, *program.switches, "-I", ROOT / "csrc", "-c"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda item: run([*command, item[1], "-o", folder / item[0]]), sources.items()))
    objects = [folder / name for name in sources]
    elf, placed = folder / "elf", folder / "map"
    run([*compiler, *SMALL, "-Wl,--gc-sections", f"-Wl,-Map={placed}", *objects, *linker, "-o", elf])
    return elf, placed.read_text("utf-8")


def taken(text):
    """The bytes of code and constants that the files of pynn and libgcc have in a program, by its map."""
    placed = text[text.index("Linker script and memory map") :]
    pieces = re.findall(r"^ \.(?:text|rodata)\S*\s+0x[0-9a-f]+\s+(0x[0-9a-f]+) (\S.*)$", placed, re.MULTILINE)
    ours = [int(size, 16) for size, file in pieces if "/pynn-" in file]
    doubles = [int(size, 16) for size, file in pieces if "libgcc.a" in file]
    return sum(ours), sum(doubles)


def check(board, program, library, table):
    """Whether a program gives the digests of this machine, and is not too large."""
    compiler, linker, runner = board
    folder = BUILD / "cortex-m" / re.sub(r"\W+", "-", program.name)
    elf, text = build(compiler, linker, program, folder)
    there = run([*runner, elf])
    native = folder / "native"
    source, include = HERE / program.source, ROOT / "csrc"
    run(["cc", "-O1", *program.switches, "-I", include, source, library, "-pthread", "-o", native])
    here = run([native])
    ours, doubles = taken(text)
    if table:
        print(f"| {program.name} | {ours + doubles:,} | {doubles:,} | {program.goal:,} |")
    else:
        print(f"{program.name}: {ours + doubles:,} bytes ({doubles:,} of libgcc)")
        print("".join(f"    {line}\n" for line in there.splitlines()), end="")
    if there != here:
        print(f"DIFFERS from this machine:\n{here}")
    if ours + doubles > program.goal:
        print(f"MORE than {program.goal:,} bytes")
    return there == here and ours + doubles <= program.goal


def show_stack(board, table):
    """What the calls take of the stack; the program fails where that is too much."""
    compiler, linker, runner = board
    elf, _ = build(compiler, linker, STACK, BUILD / "cortex-m" / "stack")
    lines = [line.split() for line in run([*runner, elf]).splitlines()]
    if table:
        print("\n| call | bytes of stack |\n|---|---|")
    for call, size in lines:
        name = f"`{call}`" if call.startswith("pynn_") else call.replace("_", " ")
        print(f"| {name} | {int(size, 16):,} |" if table else f"stack of {name}: {int(size, 16):,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    target = next(target for target in targets() if "Cortex-M4F" in target.name)
    try:
        board = tool(target.compiler, target.packages), target.more, tool(target.runner, target.packages)
    except NotRunError as reason:
        print(f"cortex-m: not run, {reason}")
        return 0
    try:
        if given.table:
            print("| program | bytes | of these libgcc | at most |\n|---|---|---|---|")
        good = [check(board, program, given.library, given.table) for program in PROGRAMS]
        show_stack(board, given.table)
    except RuntimeError as failure:
        print(f"FAILED: {failure}")
        return 1
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
