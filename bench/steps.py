"""The time of a training step, pynn beside its peers in one run: `python bench/steps.py`.

The contestants take turns, so that all see the same machine; the median of the rounds counts. GFLOP/s are
those of the products of matrices alone, 2 B I O for each of forward, dW and dX (no dX for the first layer),
so whatever else a step does lowers them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import warnings

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy loads its BLAS

import numpy as np
from contestants import TRAINERS, one_thread

CASES = [
    ((4, 16, 16, 2), 32),
    ((16, 64, 64, 4), 64),
    ((64, 100, 10), 200),
    ((784, 128, 10), 128),
    ((784, 512, 512, 10), 128),
]


def flops(widths: tuple[int, ...], batch: int) -> int:
    """Floating-point operations of the products of a step."""
    products = [(3 if layer else 2) * i * o for layer, (i, o) in enumerate(itertools.pairwise(widths))]
    return 2 * batch * sum(products)


def measure(widths: tuple[int, ...], batch: int, optimizer: str, rounds: int) -> dict[str, float]:
    """Seconds a step of each contestant, the median of the rounds."""
    steps = int(np.clip(2e9 / flops(widths, batch), 4, 256))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps * batch, widths[0])).astype(np.float32)
    labels = rng.integers(0, widths[-1], len(x)).astype(np.int32)
    epochs = {name: make(widths, batch, optimizer, x, labels) for name, make in TRAINERS.items()}
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for round_ in range(rounds + 1):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            if round_:  # the first warms up
                times[name].append((time.perf_counter() - start) / steps)
    return {name: float(np.median(t)) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    arguments = parser.parse_args()
    one_thread()
    warnings.filterwarnings("ignore")  # of convergence
    names = list(TRAINERS)
    peers = [name for name in names if name != "pynn"]
    head = f"{'net':>22} {'batch':>5} {'GFLOP/s':>8}" + "".join(f"{name + ' us':>12}" for name in names)
    print(head + "".join(f"{name + '/pynn':>14}" for name in peers))
    for widths, batch in CASES:
        seconds = measure(widths, batch, arguments.optimizer, arguments.rounds)
        speed = flops(widths, batch) / seconds["pynn"] / 1e9
        line = f"{'-'.join(map(str, widths)):>22} {batch:>5} {speed:>8.1f}"
        line += "".join(f"{seconds[name] * 1e6:>12.1f}" for name in names)
        print(line + "".join(f"{seconds[name] / seconds['pynn']:>14.1f}" for name in peers))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
