"""What else training costs: a cold process, memory, and how the time of a step grows."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timing
from cases import MEMORY_SLACK, NETS, Case, problem_data
from contestants import Problem, initial, train_pynn

COLD = str(Path(__file__).parent / "cold.py")
BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
NEIGHBOURS = range(40, 51)


def cold(libraries: Sequence[str], rounds: int) -> dict[str, float]:
    """Seconds of a process, one thread, that imports, fits the digits for 20 epochs and predicts."""
    table = np.loadtxt(timing.ROOT / "examples" / "data" / "digits.csv.gz", delimiter=",", dtype=np.float32)
    data = str(timing.BUILD / "digits.npz")
    np.savez(data, x=table[:, :64] / 16, labels=table[:, 64].astype(np.int32))

    def process(library: str) -> None:
        subprocess.run(
            [sys.executable, "-W", "ignore", COLD, library, data], env=timing.environment(1), check=True
        )

    works = {name: functools.partial(process, name) for name in libraries}
    measured = timing.rounds(works, rounds, budget=60.0)
    return {name: record["seconds"] for name, record in measured.items()}


def memory() -> dict[str, Any]:
    """Bytes at the peak of training the largest net with Adam, and the bytes aimed at."""
    case = NETS[-1]
    if not Path("/proc/self/clear_refs").exists():
        return {"widths": case.widths, "batch": case.batch, "bytes": None}
    activations = case.batch * sum(case.widths[1:])
    return {
        "widths": case.widths,
        "batch": case.batch,
        "bytes": timing.in_process("cold.py", 1, "memory"),
        "aim": 4 * (case.parameters * (2 + 2) + activations) + MEMORY_SLACK,
    }


def _steps(cases: Sequence[Case], rounds: int) -> list[float]:
    """Seconds of a step with Adam of each, which take turns."""
    steps = [max(1, min(case.steps, 2**16 // case.batch)) for case in cases]
    epochs = {}
    for k, case in enumerate(cases):
        x, labels = problem_data(case, steps[k] * case.batch)
        epochs[str(k)] = train_pynn(Problem(initial(case.widths), case.batch, "adam", x, labels, 1)).epoch
    measured = timing.rounds(epochs, rounds)
    return [measured[str(k)]["seconds"] / count for k, count in enumerate(steps)]


def _deviation(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The largest relative distance from the line a + b size that is nearest by relative squares."""
    x, t = np.asarray(sizes, float), np.asarray(seconds)
    columns = np.stack([1 / t, x / t], axis=1)
    line, *_ = np.linalg.lstsq(columns, np.ones_like(t))
    return float(np.abs(columns @ line - 1).max())


def growth(rounds: int) -> dict[str, Any]:
    """Seconds of a step over batches, parameters and neighbouring widths, and how far they are from lines."""
    batches = [Case((64, 128, 128, 10), batch) for batch in BATCHES]
    widths = [Case((width, width, width, width), 128) for width in WIDTHS]
    neighbours = [Case((16, width, width, 4), 64) for width in NEIGHBOURS]
    found = {}
    for name, cases, sizes in (
        ("batches", batches, BATCHES),
        ("parameters", widths, [case.parameters for case in widths]),
        ("neighbours", neighbours, NEIGHBOURS),
    ):
        seconds = _steps(cases, rounds)
        found[name] = {"sizes": list(sizes), "seconds": seconds}
        if name == "neighbours":
            found[name]["jump"] = max(b / a for a, b in itertools.pairwise(seconds)) - 1
        else:
            found[name]["deviation"] = _deviation(sizes, seconds)
        timing.progress(f"growth over {name}: " + ", ".join(map(timing.duration, seconds)))
    return found
