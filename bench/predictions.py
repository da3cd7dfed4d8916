"""The time of a prediction of every contestant, in a process with so many threads; prints JSON."""

from __future__ import annotations

import argparse
import json
import warnings

import timing
from cases import MANY_ROWS, NETS, problem_data, some
from contestants import PREDICTORS, check_predictions, initial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, MANY_ROWS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--names", nargs="+", choices=PREDICTORS, default=["pynn predict(x)", "numpy"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")  # torch.jit is deprecated
    records = []
    for rows in arguments.rows:
        for case in some(NETS, arguments.quick):
            net, (x, _) = initial(case.widths), problem_data(case, rows)
            # A predictor is for few rows on the calling thread.
            names = [name for name in arguments.names if rows == 1 or not name.startswith("pynn p(")]
            calls = {}
            for name in names:
                try:
                    calls[name] = PREDICTORS[name](net, x, arguments.threads)
                    calls[name]()
                except Exception as error:  # whatever fails in a peer, the others are measured
                    if name.startswith("pynn"):
                        raise
                    calls.pop(name, None)
                    timing.progress(f"{name} failed: {type(error).__name__}: {error}".splitlines()[0])
            check_predictions(calls, net, x)
            measured = timing.rounds(calls, arguments.rounds)
            seconds = {name: record["seconds"] for name, record in measured.items()}
            timing.progress(f"{case.name}, {rows} rows, threads {arguments.threads}: " + ", ".join(
                f"{name} {timing.duration(s)}" for name, s in seconds.items()
            ))  # fmt: skip
            records.append(
                {"widths": case.widths, "rows": rows, "threads": arguments.threads, "seconds": seconds,
                 "cores": {name: record["cores"] for name, record in measured.items()}}
            )  # fmt: skip
    print(json.dumps(records))


if __name__ == "__main__":
    main()
