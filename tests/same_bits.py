"""Builds and runs the self-test on every platform that this machine can run or emulate, and prints one table.

    python tests/same_bits.py [--quick] [--write]

--quick: this machine and 64-bit Arm alone, with -O2. --write: puts the table into docs/same-bits.md.

Debian's packages are installed where the user is root and has apt-get, those of PyPI into build/; what cannot
be installed is reported as not run, with the reason. Deviations are planted in copies of the sources, to
see that they are caught. Exit status 1 if a build fails, a platform that ran has other digests, or a
deviation is missed.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "same-bits"
PAGE = ROOT / "docs" / "same-bits.md"
MACHINE = platform.machine().replace("amd64", "x86_64").replace("arm64", "aarch64")
THREADS = (1, 2, 3, 4, 7)
LEVELS = ("-O0", "-O2", "-O3")
HEADINGS = ("platform", "instruction set", "compiler", "threads", "result")


class NotRunError(Exception):
    """Why a platform could not be tried."""


# ---- platforms --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A platform: how to compile for it, and how to run what comes out."""

    name: str
    compiler: tuple[str, ...]
    runner: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()  # Debian's, of compiler and runner
    levels: tuple[str, ...] = ("-O2",)
    isas: tuple[str, ...] = ("scalar",)
    threads: tuple[int, ...] = THREADS
    more: tuple[str, ...] = ()  # what the linker gets besides
    edits: tuple[tuple[str, str, str], ...] = ()  # of the sources: file, old and new text


def linux(name, triple, libc, *flags, emulator, isas=("scalar",), levels=("-O2",)):
    """Debian's cross compiler, and QEMU's emulation of user programs."""
    return Target(
        name, (f"{triple}-gcc", *flags, "-static", "-pthread"), emulator,
        (f"gcc-{triple}", f"libc6-dev-{libc}-cross", *(["qemu-user"] if emulator else [])), levels, isas,
    )  # fmt: skip


def cortex_m(name, board, cpu, *flags):
    """Bare metal, with newlib, in QEMU's emulation of a board; output goes to the debugger's channel."""
    here = ROOT / "tests" / "cortex_m"
    runner = ("qemu-system-arm", "-M", board, "-cpu", cpu, "-nographic")
    return Target(
        name, ("arm-none-eabi-gcc", f"-mcpu={cpu}", "-mthumb", *flags),
        (*runner, "-semihosting-config", "enable=on,target=native", "-kernel"),
        ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"), threads=(1,),
        more=(str(here / "start.c"), "--specs=rdimon.specs", "-T", str(here / "mps2.ld")),
    )  # fmt: skip


AARCH64 = linux(
    "Linux, aarch64, qemu-user", "aarch64-linux-gnu", "arm64",
    emulator=("qemu-aarch64",), isas=("scalar", "neon"), levels=LEVELS,
)  # fmt: skip
FLUSHING = "crtfastmath.o"  # what gcc adds to a program that is linked with -ffast-math
EMULATED = (
    *(
        (file, "#include <immintrin.h>", f'#include "{ROOT}/tests/c/emulated/immintrin.h"')
        for file in ("kernels/avx512.c", "kernels/simd_avx512.h")
    ),
    ("dispatch.c", '__builtin_cpu_supports("avx512f")', "1"),
)
X86 = ("scalar", "sse2", "avx2", "avx512")
NATIVE_ISAS = {"x86_64": X86, "aarch64": ("scalar", "neon")}.get(MACHINE, ("scalar",))
NATIVE = f"{platform.system()}, {MACHINE}, this machine"


def targets():
    """All of them, the native ones first."""
    yield Target(NATIVE, ("gcc", "-pthread"), (), ("gcc",), LEVELS, NATIVE_ISAS)
    yield Target(NATIVE, ("clang", "-pthread"), (), ("clang",), LEVELS, NATIVE_ISAS)
    if MACHINE == "x86_64":
        yield Target(NATIVE, ("clang", "-pthread", "-mfma"), (), ("clang",), ("-O2",), NATIVE_ISAS)
        yield Target(
            f"{NATIVE}, set to flush subnormals", ("gcc", "-pthread"), (), ("gcc",),
            isas=NATIVE_ISAS, more=(FLUSHING,),
        )  # fmt: skip
        yield Target(
            "Linux, x86_64 without fma and AVX, qemu-user", ("gcc", "-pthread", "-static"),
            ("qemu-x86_64", "-cpu", "Nehalem"), ("gcc", "qemu-user"), isas=("scalar", "sse2"),
        )  # fmt: skip
        yield Target(
            f"{NATIVE}, AVX-512 written out in C", ("gcc", "-pthread", "-Wno-psabi"), (), ("gcc",),
            isas=("avx512",), more=("-lm",), edits=EMULATED,
        )  # fmt: skip
    yield AARCH64
    yield linux("Linux, riscv64, qemu-user", "riscv64-linux-gnu", "riscv64", emulator=("qemu-riscv64",))
    yield linux("Linux, s390x (big-endian), qemu-user", "s390x-linux-gnu", "s390x", emulator=("qemu-s390x",))
    yield linux(
        "Linux, 32-bit Arm without fma, qemu-user", "arm-linux-gnueabihf", "armhf", emulator=("qemu-arm",)
    )
    yield linux(
        "Linux, 32-bit x86 with SSE2", "i686-linux-gnu", "i386", "-msse2", "-mfpmath=sse",
        emulator=() if MACHINE == "x86_64" else ("qemu-i386",),
    )  # fmt: skip
    yield Target("WebAssembly, wasmtime", ("zig", "-target", "wasm32-wasi"), ("wasmtime",), threads=(1,))
    yield Target(
        "Windows, x86_64, wine", ("zig", "-target", "x86_64-windows-gnu"), ("wine64",), ("wine64",),
        isas=("scalar", "sse2"), threads=(1,),
    )  # fmt: skip
    yield Target("macOS, aarch64", ("zig", "-target", "aarch64-macos"), ("a Mac",), isas=("scalar", "neon"))
    yield cortex_m(
        "bare metal, Cortex-M4F, qemu-system-arm", "mps2-an386", "cortex-m4",
        "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16",
    )  # fmt: skip
    yield cortex_m(
        "bare metal, Cortex-M3 (software floating point), qemu-system-arm", "mps2-an385", "cortex-m3"
    )


# ---- tools ------------------------------------------------------------------------------------------------


@functools.cache
def installed(packages):
    """Whether Debian's packages are there, after an attempt to install them."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    command = ["apt-get", "install", "-qq", "--no-install-recommends", *packages]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


@functools.cache
def from_pypi(package):
    """The interpreter of an environment in build/ that has a package of PyPI."""
    python = BUILD / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(BUILD / "venv", with_pip=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise NotRunError(f"{package} cannot be installed from PyPI")
    return str(python)


WASMTIME = """
import sys, wasmtime
engine = wasmtime.Engine()
store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
linker.define_wasi()
wasi = wasmtime.WasiConfig()
wasi.inherit_stdout()
wasi.argv = sys.argv[1:]
store.set_wasi(wasi)
try:
    linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1])).exports(store)["_start"](store)
except wasmtime.ExitTrap as end:
    sys.exit(end.code)
"""


def tool(command, packages):
    """A command that can be started, installed if need be."""
    if command[:1] == ("zig",):
        return [from_pypi("ziglang"), "-m", "ziglang", "cc", *command[1:]]
    if command == ("wasmtime",):
        return [from_pypi("wasmtime"), "-c", WASMTIME]
    if command == ("a Mac",):
        raise NotRunError("there is no emulator; it compiles and links")
    path = os.pathsep.join([os.environ["PATH"], "/usr/lib/wine"])
    if command and shutil.which(command[0], path=path) is None:
        installed(packages)
    if command and shutil.which(command[0], path=path) is None:
        raise NotRunError(f"{command[0]} is missing: apt-get install {' '.join(packages)}")
    return [shutil.which(command[0], path=path), *command[1:]] if command else []


def flushing():
    """Where gcc keeps that object."""
    command = ["gcc", f"-print-file-name={FLUSHING}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# ---- build and run ----------------------------------------------------------------------------------------


def edited(edits):
    """The folder of the sources, or of a copy with other texts in them."""
    if not edits:
        return ROOT / "csrc"
    folder = BUILD / "edited"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "csrc", folder)
    for file, old, new in edits:
        text = (folder / file).read_text("utf-8")
        if text.count(old) != 1:
            raise RuntimeError(f"{file} has not one {old!r}")
        (folder / file).write_text(text.replace(old, new), "utf-8")
    return folder


SELFTEST = ROOT / "examples" / "selftest.c"
CALLERS_ENVIRONMENT = ROOT / "tests" / "c" / "test_dispatch.c"


def build(name, compiler, flags, more=(), edits=(), main=SELFTEST):
    """Compiles the sources and a program in one command, as an embedder would; its path."""
    program, sources = BUILD / (re.sub(r"\W+", "-", name) + ".exe"), edited(edits)
    files = [*sorted(sources.rglob("*.c")), main]
    command = [*compiler, *flags, "-w", "-I", sources, *files, *more, "-o", program]
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(BUILD / "zig"), "ZIG_LOCAL_CACHE_DIR": str(BUILD / "zig")}
    done = subprocess.run(command, env={**os.environ, **cache}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise RuntimeError(f"cannot be built: {errors[0]}")
    return program


@functools.cache
def wine_prefix():
    """A folder for what Wine keeps, outside this tree: it links to /, where setuptools would follow it."""
    folder = tempfile.mkdtemp(prefix="same-bits-wine-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def run(runner, program, isa, threads):
    """Exit status and output of the self-test."""
    variables = {"PYNN_ISA": isa, "QEMU_SET_ENV": f"PYNN_ISA={isa}"}
    wine = {"WINEPREFIX": str(wine_prefix()), "WINEDEBUG": "-all"}
    arguments = [str(threads)] if threads > 1 else []
    try:
        done = subprocess.run(
            [*runner, program, *arguments], env={**os.environ, **wine, **variables}, capture_output=True,
            text=True, timeout=600, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, "no end after 600 seconds"
    return done.returncode, done.stdout


def digest(output):
    """One short digest of those that a self-test has printed."""
    found = re.findall(r"\b[0-9a-f]{64}\b", output)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:12] if found else ""


def try_isa(target, runner, program, isa):
    """The threads that ran, and what came out: "same ...", "DIFFERS ..." or "not run ..."."""
    found = set()
    for threads in target.threads:
        status, output = run(runner, program, isa, threads)
        last = (output.strip().splitlines() or ["no output"])[-1]
        if status == 2 and "lacks the instruction set" in last:
            return "", "not run: this machine lacks it"
        if status != 0:
            return str(threads), f"DIFFERS {digest(output)}: {last}"
        found.add(digest(output))
    shown = " ".join(map(str, target.threads))
    return shown, f"same {found.pop()}" if len(found) == 1 else f"DIFFERS {' '.join(sorted(found))}"


def rows(target, levels):
    """The lines of the table that a target gives."""
    for level in levels:
        compiler = " ".join([*target.compiler, level]).replace(str(ROOT) + "/", "")
        try:
            command = tool(target.compiler, target.packages)
            more = [flushing() if x == FLUSHING else x for x in target.more]
            program = build(target.name + compiler, command, [level], more, target.edits)
            test = None
            if target.name.startswith("Linux") and level == "-O2":
                flags = [level, "-std=gnu11"]
                test = build("test", command, flags, [*more, "-lm"], target.edits, CALLERS_ENVIRONMENT)
            runner = tool(target.runner, target.packages)
        except NotRunError as reason:
            yield target.name, " ".join(target.isas), compiler, "", f"not run: {reason}"
            continue
        except RuntimeError as failure:
            yield target.name, " ".join(target.isas), compiler, "", f"FAILED, {failure}"
            continue
        for isa in target.isas:
            yield target.name, isa, compiler, *try_isa(target, runner, program, isa)
        if test is not None:
            kept = run(runner, test, "", 1)[0] == 0
            yield target.name, "all, in other rounding modes", compiler, "1", "same" if kept else "DIFFERS"


# ---- planted deviations -----------------------------------------------------------------------------------

DEVIATIONS = {
    "a sum of 16 lanes, reassociated": (
        "kernels/vec.inc",
        "sums[i] += sums[i + 4];",
        "sums[i] += sums[7 - i];",
    ),
    "a multiply-add of SGD, contracted": (
        "kernels/vec.inc",
        "p->w = vf_sub(p->w, vf_mul(k->rate, clipped_and_decayed(g, p->w, k)));",
        "p->w = vf_fma(m_neg(k->rate), clipped_and_decayed(g, p->w, k), p->w);",
    ),
    "subnormals flushed, and no way to change it": (
        "dispatch.c",
        "static void environment_set(uint64_t value) { _mm_setcsr((uint32_t)value); }",
        "static void environment_set(uint64_t value) { (void)value; }",
    ),
}


def said(edit, more):
    """What the self-test says of the sources with this edit."""
    program = build("planted", tool(("cc", "-pthread"), ("gcc",)), ["-O1"], more, [edit])
    status, output = run([], program, "scalar", 1)
    if status == 2:
        return "refused: " + output.strip().partition("; ")[2]
    right, wrong = output.count(" ok\n"), output.count(" WRONG\n")
    return f"{wrong} of {wrong + right} digests differ" if wrong else "NOTHING"


def planted():
    """The name of each deviation, and what the self-test says of it."""
    for name, edit in DEVIATIONS.items():
        flushes = edit[0] == "dispatch.c"
        if flushes and MACHINE != "x86_64":
            continue
        more = [flushing()] if flushes else []
        yield name, said(edit, more)


# ---- the page ---------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    chosen = [t for t in targets() if t.name == NATIVE or t is AARCH64] if given.quick else targets()
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    print("\n".join(lines), flush=True)
    results, wrong = set(), 0
    for target in chosen:
        for row in rows(target, ("-O2",) if given.quick else target.levels):
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
            wrong += row[-1].startswith(("DIFFERS", "FAILED"))
            results |= {row[-1]} if row[-1].startswith("same ") else set()
    wrong += len(results) > 1
    lines += ["", "| planted deviation | what the self-test says |", "|---|---|"]
    print("\n".join(lines[-3:]))
    for row in planted():
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
        wrong += "NOTHING" in row
    if given.write:
        text = PAGE.read_text("utf-8")
        marked = re.compile(r"(<!-- table: begin -->\n).*(<!-- table: end -->)", re.DOTALL)
        table = "\n".join(lines)
        PAGE.write_text(marked.sub(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text), "utf-8")
    return int(wrong > 0 or not results)


if __name__ == "__main__":
    sys.exit(main())
