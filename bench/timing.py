"""The one timing loop, and what every measurement needs around it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
LEAST_ROUNDS = 3
SHORT = 0.05  # seconds; what is shorter is called once untimed before each sample
SETTLE = 0.005  # seconds between contestants, in which the other's spinning threads go to sleep


def rounds(
    works: Mapping[str, Callable[[], object]], count: int, least: float = 0.02, budget: float = 8.0
) -> dict[str, dict[str, Any]]:
    """Calls the works in turns, so that all see the same machine.

    A sample is as many calls as last `least` seconds. After `budget` seconds no further round starts, if
    there were LEAST_ROUNDS. Gives for each name "seconds" of a call, the median of the rounds, "all" of them
    in order, and "cores": processor time over time.
    """
    calls = {}
    for name, work in works.items():
        seconds = 0.0
        for _ in range(2):  # the first warms up, unless it is so long that it need not
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
            if seconds > 10 * least:
                break
        calls[name] = max(1, round(least / max(seconds, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in works}
    busy = dict.fromkeys(works, 0.0)
    begin = time.perf_counter()
    for round_ in range(count):
        if round_ >= LEAST_ROUNDS and time.perf_counter() - begin > budget:
            break
        for name, work in works.items():
            time.sleep(SETTLE)
            if not samples[name] or samples[name][-1] < SHORT:
                work()
            processor, start = time.process_time(), time.perf_counter()
            for _ in range(calls[name]):
                work()
            seconds = time.perf_counter() - start
            busy[name] += time.process_time() - processor
            samples[name].append(seconds / calls[name])
    return {
        name: {
            "seconds": statistics.median(all_),
            "all": all_,
            "cores": busy[name] / (calls[name] * sum(all_)),
        }
        for name, all_ in samples.items()
    }


def environment(threads: int) -> dict[str, str]:
    """One in which every library has that many threads; they read it when they are loaded."""
    new = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        new[name] = str(threads)  # NPROC is XLA's
    new["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("true" if threads > 1 else "false")
    new["JAX_PLATFORMS"] = "cpu"
    new["TORCHINDUCTOR_CACHE_DIR"] = str(BUILD / "inductor")
    return new


def in_process(program: str, threads: int, *arguments: str) -> Any:
    """Runs `program` of this folder in a process; gives the JSON that is the last line it prints."""
    command = [sys.executable, str(Path(__file__).parent / program), *arguments]
    done = subprocess.run(command, env=environment(threads), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def kernels(*arguments: str) -> list[dict[str, Any]]:
    """The records of kernels.c."""
    done = subprocess.run([str(BUILD / "kernels"), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def peak() -> float:
    """Operations a second of a loop of fma on registers, one core, best instruction set, now."""
    (record,) = kernels("--peak")
    return float(record["work"]) / float(record["seconds"])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned for the terminal: the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def duration(seconds: float | None) -> str:
    """Three digits and a unit."""
    if seconds is None:
        return "-"
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
    unit = next((name for name, size in units.items() if seconds >= size), "ns")
    value = seconds / units[unit]
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
