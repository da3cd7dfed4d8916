"""The time of a training step of every contestant, in a process with so many threads; prints JSON."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from typing import Any

import timing
from cases import NETS, OPTIMIZERS, SWEEP_WIDTHS, Case, problem_data, some, sweep_case
from contestants import TRAINERS, Problem, check_trainers, forget_compiled, initial

CASES = {"nets": NETS, "sweep": [sweep_case(width) for width in SWEEP_WIDTHS]}
CHECKED = NETS[1]


def measure(case: Case, optimizer: str, threads: int, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """A record; what cannot be run is named under "failed", with the reason. A name may end in @ and a number
    of threads of its own.
    """
    x, labels = problem_data(case, case.steps * case.batch)
    forget_compiled()
    epochs, failed = {}, {}
    for name in names:
        try:
            trainer, _, own = name.partition("@")
            count = own if own == "auto" else int(own or threads)
            problem = Problem(initial(case.widths), case.batch, optimizer, x, labels, count)
            epoch = TRAINERS[trainer](problem).epoch
            epoch()
        except Exception as error:  # whatever goes wrong in a peer's compiler, the others are measured
            if name.startswith("pynn"):
                raise
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            timing.progress(f"{name} failed: {failed[name]}")
        else:
            epochs[name] = epoch
    before = timing.peak()
    measured = timing.rounds(epochs, rounds)
    seconds = {name: record["seconds"] / case.steps for name, record in measured.items()}
    timing.progress(f"{case.name}, batch {case.batch}, {optimizer}, threads {threads}: " + ", ".join(
        f"{name} {timing.duration(s)}" for name, s in seconds.items()
    ))  # fmt: skip
    return {
        "widths": case.widths,
        "batch": case.batch,
        "flops": case.flops,
        "optimizer": optimizer,
        "threads": threads,
        "peak": (before + timing.peak()) / 2,
        "seconds": seconds,
        "cores": {name: record["cores"] for name, record in measured.items()},
        "failed": failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", choices=CASES, default="nets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS)
    parser.add_argument("--names", nargs="+", default=["pynn", "numpy"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")  # of convergence
    records = []
    for optimizer in arguments.optimizers:
        trainers = list(dict.fromkeys(name.partition("@")[0] for name in arguments.names))
        check_trainers(trainers, CHECKED, optimizer, *problem_data(CHECKED, CHECKED.batch))
        for case in some(CASES[arguments.cases], arguments.quick):
            records.append(measure(case, optimizer, arguments.threads, arguments.names, arguments.rounds))
    print(json.dumps(records))


if __name__ == "__main__":
    main()
