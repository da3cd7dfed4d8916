"""What is measured: nets and batches, and the ratios aimed at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

OPTIMIZERS = ("adam", "sgd")
MANY_ROWS = 8192


@dataclass(frozen=True)
class Case:
    """A net of dense layers with ReLU between and softmax behind, and its batch.

    `targets` are the least ratios of the time of a step to ours, one thread, by library; `peak` is the least
    share of the fma peak.
    """

    widths: tuple[int, ...]
    batch: int
    targets: dict[str, float] = field(default_factory=dict)
    peak: float | None = None

    @property
    def name(self) -> str:
        return "-".join(map(str, self.widths))

    @property
    def layers(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise(self.widths))

    @property
    def parameters(self) -> int:
        return sum(i * o + o for i, o in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of the products of a step: forward, dW, and dX of all layers but one."""
        return 2 * self.batch * sum((3 if k else 2) * i * o for k, (i, o) in enumerate(self.layers))

    @property
    def steps(self) -> int:
        """Steps of an epoch that is long enough to be timed."""
        return int(np.clip(4e9 / self.flops, 1, 512))


def _targets(torch: float, jax: float, sklearn: float) -> dict[str, float]:
    return {"PyTorch": torch, "JAX": jax, "scikit-learn": sklearn}


NETS = [
    Case((4, 16, 16, 2), 32, _targets(100, 20, 45)),
    Case((16, 64, 64, 4), 64, _targets(16, 5, 8), 0.60),
    Case((64, 100, 10), 200, _targets(7, 3, 4), 0.70),
    Case((784, 128, 10), 128, _targets(2.4, 1.5, 1.9), 0.83),
    Case((784, 512, 512, 10), 128, _targets(2.0, 1.4, 1.8), 0.83),
    Case((256, 1024, 1024, 1024, 10), 512, _targets(1.6, 1.3, 1.3), 0.85),
    Case((2048, 2048, 2048, 10), 1024, _targets(1.4, 1.15, 1.15), 0.88),
]

# One row: the least ratios of the time of a prediction to that of p(row), by net.
ONE_ROW = {
    (16, 64, 64, 4): {"ONNX Runtime": 11.0, "PyTorch": 35.0},
    (784, 128, 10): {"ONNX Runtime": 3.0},
}

# Seconds of one row of 16-64-64-4.
ONE_ROW_SECONDS = {
    "pynn p(row)": 1.0e-6,
    "pynn p()": 0.4e-6,
    "pynn from C": 0.2e-6,
    "pynn predict(x)": 1.5e-6,
}

KERNEL_PEAK = 0.97  # of a tile with a full chain
ADAM_CYCLES = 1.2  # a parameter, in cache
TWO_THREADS = 1.8  # for steps above
TWO_THREADS_SECONDS = 200e-6
AUTO_SLOWER = 0.02
COLD = {"scikit-learn": 10.0, "PyTorch": 20.0}
MEMORY_SLACK = 16 * 2**20  # bytes beyond parameters, gradients, moments and activations
LINEAR = 0.15

SWEEP_WIDTHS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 256, 512)
SWEEP_BATCH = 128


def some(items: Sequence[Item], quick: bool) -> Sequence[Item]:
    """All, or for a quick run every fourth."""
    return items[1::4] if quick else items


def sweep_case(width: int, batch: int = SWEEP_BATCH) -> Case:
    """The net of pytorch#144633."""
    return Case((10, width, width, 10), batch)


def problem_data(case: Case, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows (rows, I), float32, and labels (rows,), int32."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, case.widths[0]), dtype=np.float32)
    return x, rng.integers(0, case.widths[-1], rows).astype(np.int32)
