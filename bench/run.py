"""`make bench`, and with --peers `make bench-peers`: measures, prints tables, writes JSON under build/.

With --peers also docs/benchmarks.md and its plots; a quick run writes them under build/ instead.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import costs
import numpy as np
import report
import threads
import timing
from cases import MANY_ROWS, OPTIMIZERS
from contestants import PREDICTORS, TRAINERS

PACKAGES = ("pynn-core", "numpy", "torch", "jax", "jaxlib", "scikit-learn", "onnxruntime")


def machine() -> dict[str, Any]:
    import pynn

    info = Path("/proc/cpuinfo")
    names = [line.split(": ")[1] for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else [platform.processor()]  # fmt: skip
    compiler = subprocess.run(
        [os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True, check=False
    ).stdout
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": names[0] if names else platform.machine(),
        "processors": threads.processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "instruction_set": pynn.instruction_set(),
        "compiler": compiler.splitlines()[0] if compiler else "unknown",
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
        "python": platform.python_version(),
        "versions": versions,
        "load": os.getloadavg()[0],
    }


def measure(peers: bool, quick: bool) -> dict[str, Any]:
    rounds = 3 if quick else 5
    most = threads.processors()
    optimizers = OPTIMIZERS[:1] if quick else OPTIMIZERS
    trainers = list(TRAINERS) if peers else ["pynn", "numpy"]
    eager = [name for name in trainers if "compile" not in name]  # compilers take most of the time of a run
    predictors = list(PREDICTORS) if peers else [n for n in PREDICTORS if n.split()[0] in ("pynn", "numpy")]
    result: dict[str, Any] = {"peers": peers, "quick": quick, "machine": machine()}
    result["date"] = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    start = time.perf_counter()

    def section(name: str, text: str) -> None:
        """Says what comes, and keeps what has been measured, in case something fails."""
        timing.progress(f"\n{name}: {text}, after {time.perf_counter() - start:.0f} s")
        (timing.BUILD / "unfinished.json").write_text(json.dumps(result), "utf-8")

    section("kernels", "the oracle and every instruction set")
    result["kernels"] = timing.kernels("--rounds", str(rounds))
    result["steps"], result["predictions"] = [], []
    common = ["--rounds", str(rounds), *(["--quick"] if quick else [])]
    for n in [1, 2] if peers and most > 1 else [1]:
        options = [*common, "--threads", str(n), "--names"]
        section("steps", f"{n} thread(s)")
        names = eager if quick and n > 1 else trainers
        result["steps"] += timing.in_process("steps.py", n, "--optimizers", *optimizers, *options, *names)
        section("predictions", f"{n} thread(s)")
        rows = ["1", str(MANY_ROWS)] if n == 1 else [str(MANY_ROWS)]
        result["predictions"] += timing.in_process(
            "predictions.py", n, "--rows", *rows, *options, *predictors
        )
    if peers:
        options = [*common, "--cases", "sweep", "--optimizers", "adam", "--names"]
        section("width sweep", "one thread")
        names = eager if quick else [*eager, "torch compile step"]
        result["widths"] = timing.in_process("steps.py", 1, *options, *names)
        section("width sweep", f"1 to {most} threads")
        names = ["pynn@1", "pynn@auto", "torch eager@1", f"torch eager@{most}"]
        result["sweep"] = timing.in_process("steps.py", most, *options, *names)
    section("threads", f"1 to {most}")
    result["threads"] = threads.scaling(most, rounds, quick)
    section("threads", '"auto" against 1')
    result["auto"] = threads.auto(rounds + 2, quick)
    result["idle"] = threads.idle(most)
    section("costs", "a cold process, memory, growth")
    result["cold"] = costs.cold(["pynn", "scikit-learn", "PyTorch"] if peers else ["pynn"], rounds)
    result["memory"] = costs.memory()
    result["growth"] = costs.growth(rounds)
    result["minutes"] = (time.perf_counter() - start) / 60
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer nets, sizes and rounds")
    parser.add_argument(
        "--remark", default="", help="said of the run in docs/benchmarks.md, such as what else ran"
    )
    arguments = parser.parse_args()
    timing.BUILD.mkdir(parents=True, exist_ok=True)
    result = measure(arguments.peers, arguments.quick) | {"remark": arguments.remark}
    path = timing.BUILD / ("peers.json" if arguments.peers else "bench.json")
    path.write_text(json.dumps(result, indent=1), "utf-8")
    report.show(result)
    print(f"written: {path.relative_to(timing.ROOT)}")
    if arguments.peers:
        report.write(result, timing.BUILD if arguments.quick else timing.ROOT / "docs")


if __name__ == "__main__":
    main()
