"""A process from its start: `cold.py LIBRARY data.npz` imports, fits the digits and predicts;
`cold.py memory` trains and prints the bytes that this took at its peak.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS, BATCH, EPOCHS, RATE = (64, 100, 10), 64, 20, 1e-3


def pynn(x: np.ndarray, labels: np.ndarray) -> Any:
    import pynn

    first, last = pynn.Dense(*WIDTHS[:2]), pynn.Dense(*WIDTHS[1:])
    net = pynn.Sequential(first, pynn.ReLU(), last, pynn.Softmax())
    net.fit(x, labels, epochs=EPOCHS, batch_size=BATCH, optimizer=pynn.Adam(RATE), verbose=0)
    return net.predict(x)


def sklearn(x: np.ndarray, labels: np.ndarray) -> Any:
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(
        WIDTHS[1:-1],
        batch_size=BATCH,
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        alpha=0.0,
        learning_rate_init=RATE,
    )
    return net.fit(x, labels).predict_proba(x)


def torch(x: np.ndarray, labels: np.ndarray) -> Any:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(*WIDTHS[:2]), torch.nn.ReLU(), torch.nn.Linear(*WIDTHS[1:]))
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    rows, goals = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))
    for _ in range(EPOCHS):
        for some in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(rows[some]), goals[some]).backward()
            optimizer.step()
    with torch.inference_mode():
        return net(rows).softmax(1).numpy()


PROCESSES = {"pynn": pynn, "scikit-learn": sklearn, "PyTorch": torch}


def memory() -> int:
    """Bytes at the peak of a fit, net included, beside the data; Linux."""
    from cases import NETS, problem_data
    from contestants import Problem, initial, train_pynn

    def of(field: str) -> int:
        return 1024 * int(re.findall(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[0])

    warm, case = NETS[0], NETS[-1]
    train_pynn(Problem(initial(warm.widths), warm.batch, "adam", *problem_data(warm, warm.batch), 1)).epoch()
    problem = Problem(initial(case.widths), case.batch, "adam", *problem_data(case, 2 * case.batch), 1)
    before = of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again
    train_pynn(problem).epoch()
    return of("VmHWM") - before


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        print(memory())
    else:
        with np.load(sys.argv[2]) as file:
            x, labels = file["x"], file["labels"]
        h = PROCESSES[sys.argv[1]](x, labels)
        if np.mean(h.argmax(axis=1) == labels) < 0.9:
            raise SystemExit("it has not learned the digits")
