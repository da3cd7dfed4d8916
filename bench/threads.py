"""Threads of pynn: 1 to n, "auto" against 1, and whether they rest after a fit."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import timing
from cases import NETS, OPTIMIZERS, Case, problem_data, some, sweep_case
from contestants import Problem, Trainer, initial, train_pynn

from pynn.threads import available

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # widths and batches of the sweep


def processors() -> int:
    return available()


def _trainer(case: Case, optimizer: str, threads: int | str, steps: int) -> Trainer:
    x, labels = problem_data(case, steps * case.batch)
    return train_pynn(Problem(initial(case.widths), case.batch, optimizer, x, labels, threads))


def scaling(most: int, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Seconds of a step of every net with 1, 2, 4, ... and `most` threads, by number."""
    records = []
    numbers = sorted({1 << k for k in range(most.bit_length()) if 1 << k <= most} | {most})
    for optimizer in OPTIMIZERS:
        for case in some(NETS, quick):
            epochs = {str(n): _trainer(case, optimizer, n, case.steps).epoch for n in numbers}
            measured = timing.rounds(epochs, rounds)
            seconds = {name: record["seconds"] / case.steps for name, record in measured.items()}
            records.append(
                {"widths": case.widths, "batch": case.batch, "optimizer": optimizer, "seconds": seconds}
            )
            timing.progress(f"{case.name}, {optimizer}, threads: " + ", ".join(
                f"{name} {timing.duration(s)}" for name, s in seconds.items()
            ))  # fmt: skip
    return records


def auto(rounds: int, quick: bool) -> list[dict[str, Any]]:
    """How much slower a step is with threads="auto" than with 1, over widths and batches.

    Both as the median over the rounds of the ratio to a run with 1 beside it: "auto", and as a measure of the
    noise another run with 1, "again".
    """
    records = []
    for width in some(SIZES, quick):
        for batch in some(SIZES, quick):
            case = sweep_case(width, batch)
            # One fit of some 20 ms: roughly what a call, a row and an operation take.
            steps = math.ceil(0.02 / (1e-6 + 5e-8 * batch + case.flops / 5e10))
            works: dict[str, int | str] = {"one": 1, "auto": "auto", "again": 1}
            epochs = {name: _trainer(case, "adam", threads, steps).epoch for name, threads in works.items()}
            measured = timing.rounds(epochs, rounds)
            one = measured["one"]["all"]
            ratio = {
                name: statistics.median(a / b for a, b in zip(measured[name]["all"], one, strict=True))
                for name in ("auto", "again")
            }
            records.append(
                {"width": width, "batch": batch, "seconds": measured["one"]["seconds"] / steps, **ratio}
            )
        timing.progress(f'width {width}, threads "auto"/1: ' + " ".join(
            f"{record['auto']:.3f}" for record in records if record["width"] == width
        ))  # fmt: skip
    return records


def idle(most: int) -> float:
    """Processors in use in the quarter of a second after a fit."""
    _trainer(NETS[3], "adam", most, 20).epoch()
    processor, start = time.process_time(), time.perf_counter()
    time.sleep(0.25)
    return (time.process_time() - processor) / (time.perf_counter() - start)
