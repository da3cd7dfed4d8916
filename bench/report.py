"""The tables of a run, for the terminal and for docs/benchmarks.md, which `python bench/report.py
build/bench/peers.json` writes again.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timing
from cases import (
    ADAM_CYCLES,
    AUTO_SLOWER,
    COLD,
    KERNEL_PEAK,
    LINEAR,
    MANY_ROWS,
    NETS,
    ONE_ROW,
    ONE_ROW_SECONDS,
    TWO_THREADS,
    TWO_THREADS_SECONDS,
    Case,
)
from contestants import fastest
from timing import duration

Result = dict[str, Any]

OPTIMIZER_NAMES = {"adam": "Adam", "sgd": "SGD"}


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    head: list[str]
    rows: list[list[str]]
    plot: str = ""


def _name(widths: list[int]) -> str:
    return Case(tuple(widths), 1).name


def _least(value: float | None, target: float | None, percent: bool = False) -> str:
    """A figure beside the least it should be."""
    if value is None:
        return "-"
    figures = [
        f"{v:.0%}".replace("%", " %") if percent else f"{v:.3g}" for v in (value, target) if v is not None
    ]
    return figures[0] if target is None else f"{figures[0]} {'≥' if value >= target else '<'} {figures[1]}"


def _most(value: float | None, target: float, text: Any = duration) -> str:
    return "-" if value is None else f"{text(value)} {'≤' if value <= target else '>'} {text(target)}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


# ---- kernels ----------------------------------------------------------------


def _kernels(result: Result) -> Iterator[Table]:
    records = result["kernels"]
    isas = list(dict.fromkeys(record["isa"] for record in records))
    hertz = next(r["work"] / r["seconds"] for r in records if r["name"] == "clock")
    peaks = {r["isa"]: r["work"] / r["seconds"] for r in records if r["name"] == "peak"}

    def grid(names: tuple[str, ...], cell: Any) -> list[list[str]]:
        rows: dict[str, dict[str, str]] = {}
        for r in records:
            if r["name"] in names:
                shape = f" {r['rows']}×{r['inputs']} · {r['inputs']}×{r['outputs']}"
                label = r["name"] + (shape if r["name"] in ("forward", "dX", "dW") else "")
                rows.setdefault(label, {})[r["isa"]] = cell(r)
        return [[label, *(cells.get(isa, "") for isa in isas)] for label, cells in rows.items()]

    def speed(r: dict[str, Any]) -> str:
        flops = r["work"] / r["seconds"]
        share = f" ({flops / peaks[r['isa']]:.0%})".replace("%", " %") if r["isa"] in peaks else ""
        return f"{flops / 1e9:.3g}{share}" if r["name"] != "peak" else f"{flops / 1e9:.3g}"

    order = ("peak", "tile", "forward", "dX", "dW")
    rows = sorted(grid(order, speed), key=lambda row: order.index(row[0].split()[0]))
    yield Table(
        "Products of matrices",
        "GFLOP/s on one core, and the share of what a loop of fma on registers reaches in the same "
        "instruction set and run (peak). The oracle is the naive loop that the tests compare with. scalar "
        "and sse2 have no fma instruction and put each together from double arithmetic. A layer x·W is "
        "named by the shapes of x and W; a tile is what fits in registers, with 256 terms.",
        ["", *isas],
        rows,
    )
    cycles = grid(
        ("Adam", "SGD", "exp", "log", "tanh", "sigmoid"), lambda r: f"{r['seconds'] * hertz / r['work']:.2f}"
    )
    yield Table(
        "Everything else",
        "Cycles a parameter or an element, of 1,024 in the first-level cache; the clock, measured by "
        f"additions that wait for each other, ran at {hertz / 1e9:.2f} GHz.",
        ["", *isas[1:]],
        [[row[0], *row[2:]] for row in cycles],
    )


# ---- steps ------------------------------------------------------------------


def _steps(result: Result) -> Iterator[Table]:
    names = list(result["steps"][0]["seconds"]) + [n for r in result["steps"] for n in r["failed"]]
    names = list(dict.fromkeys(names))
    targets = {(case.widths, case.batch): case for case in NETS}
    for threads in dict.fromkeys(record["threads"] for record in result["steps"]):
        records = [record for record in result["steps"] if record["threads"] == threads]
        rows, ratios = [], []
        notes: dict[str, str] = {}
        for r in records:
            label = [_name(r["widths"]), str(r["batch"]), OPTIMIZER_NAMES[r["optimizer"]]]
            times = ["failed" if n in r["failed"] else duration(r["seconds"].get(n)) for n in names]
            rows.append(label + times)
            notes |= r["failed"]
            case, ours = targets[tuple(r["widths"]), r["batch"]], r["seconds"]["pynn"]
            share = r["flops"] / ours / (r["peak"] * threads)
            cells = [_least(share, case.peak if threads == 1 else None, percent=True)]
            for library in ("PyTorch", "JAX", "scikit-learn", "numpy"):
                time = fastest(r["seconds"], library)
                target = case.targets.get(library) if threads == 1 else None
                cells.append(_least(time and time / ours, target))
            scan = r["seconds"].get("jax scan")
            ratios.append([*label, *cells, _least(scan and scan / ours, None)])
        busy = [
            f"{name} on {_name(r['widths'])} with {r['optimizer']} {r['cores'][name]:.1f}"
            for r in records for name in r["cores"] if r["cores"][name] > threads + 0.15
        ]  # fmt: skip
        count = "one thread" if threads == 1 else f"{threads} threads"
        note = "The time of a step, from shuffled rows to updated parameters."
        if busy:
            note += " Processors in use beyond the threads asked for: " + ", ".join(busy) + "."
        if notes:
            note += " Failed: " + "; ".join(f"{name}: {reason}" for name, reason in notes.items()) + "."
        yield Table(f"Training steps, {count}", note, ["net", "batch", "optimizer", *names], rows)
        yield Table(
            f"Training steps, {count}: ratios",
            "The share of the fma peak that pynn reaches"
            + (", all threads counted" if threads > 1 else "")
            + ", and the time of the others over that of pynn"
            + (", each beside what it should be at least. " if threads == 1 else ". ")
            + "The fastest way to use PyTorch counts; JAX is the jitted step, and for comparison the whole "
            "epoch as one jitted scan.",
            ["net", "batch", "optimizer", "peak", "PyTorch", "JAX", "scikit-learn", "numpy", "JAX scan"],
            ratios,
            "peak.svg" if threads == 1 else "",
        )


# ---- predictions ------------------------------------------------------------


def _from_c(result: Result, name: str) -> float:
    return float([r["seconds"] for r in result["kernels"] if r["name"] == name][-1])


def _predictions(result: Result) -> Iterator[Table]:
    one = [r for r in result["predictions"] if r["rows"] == 1]
    names = list(one[0]["seconds"])
    yield Table(
        "Prediction of one row",
        "One thread. Peers with arrays of their own have them ready; pynn takes and returns numpy arrays.",
        ["net", *names],
        [[_name(r["widths"]), *(duration(r["seconds"][name]) for name in names)] for r in one],
        "predictions.svg",
    )
    rows = []
    for r in one:
        ours = r["seconds"]["pynn p(row)"]
        cells = [_name(r["widths"])]
        for library in ("ONNX Runtime", "PyTorch", "JAX", "scikit-learn", "numpy"):
            time = fastest(r["seconds"], library)
            cells.append(_least(time and time / ours, ONE_ROW.get(tuple(r["widths"]), {}).get(library)))
        bound = r["seconds"].get("ONNX Runtime bound")
        cells.append(_least(bound and bound / r["seconds"]["pynn p()"], None))
        rows.append(cells)
    yield Table(
        "Prediction of one row: ratios",
        "The time of the others over that of `p(row)`; in the last column, of ONNX Runtime on bound buffers "
        "over that of `p()`, which has its own too.",
        ["net", "ONNX Runtime", "PyTorch", "JAX", "scikit-learn", "numpy", "bound"],
        rows,
    )
    found: dict[str, float] = next((r["seconds"] for r in one if tuple(r["widths"]) == (16, 64, 64, 4)), {})
    found = found | {"pynn from C": _from_c(result, "predict")}
    kernels = duration(_from_c(result, "predict kernels"))
    yield Table(
        "Prediction of one row of 16-64-64-4",
        f"The kernels that the call from C makes take {kernels} when they are called in order.",
        ["call", "time"],
        [[call, _most(found.get(call), target)] for call, target in ONE_ROW_SECONDS.items()],
    )
    many = [r for r in result["predictions"] if r["rows"] > 1]
    names = list(many[0]["seconds"])
    rows = []
    for r in many:
        times = [r["seconds"][name] for name in names]
        peers = [t for name, t in zip(names, times, strict=True) if not name.startswith("pynn")]
        ratio = _least(min(peers) / r["seconds"]["pynn predict(x)"], 1.0)
        rows.append([_name(r["widths"]), str(r["threads"]), *map(duration, times), ratio])
    yield Table(
        f"Prediction of {MANY_ROWS:,} rows",
        "The last column is the time of the fastest other over that of pynn.",
        ["net", "threads", *names, "ratio"],
        rows,
    )


# ---- threads ----------------------------------------------------------------


def _threads(result: Result) -> Iterator[Table]:
    counts = list(result["threads"][0]["seconds"])
    rows = []
    for r in result["threads"]:
        one = r["seconds"]["1"]
        cells = [_name(r["widths"]), str(r["batch"]), OPTIMIZER_NAMES[r["optimizer"]]]
        for count in counts:
            cells.append(duration(r["seconds"][count]))
        if "2" in counts:
            target = TWO_THREADS if one > TWO_THREADS_SECONDS else None
            cells.append(_least(one / r["seconds"]["2"], target))
        rows.append(cells)
    yield Table(
        "Threads of pynn",
        "The time of a step with so many threads; where that is not worth it, fewer are taken.",
        ["net", "batch", "optimizer", *counts, *(["speedup of 2"] if "2" in counts else [])],
        rows,
    )
    slowest = max(result["auto"], key=lambda r: r["auto"])
    noise = max(result["auto"], key=lambda r: r["again"])
    best = min(result["auto"], key=lambda r: r["auto"])

    def place(r: dict[str, Any]) -> str:
        return f"width {r['width']}, batch {r['batch']}"

    yield Table(
        'threads="auto" against one thread',
        f"A step of 10-W-W-10 with Adam, widths and batches from 1 to 512, {len(result['auto'])} pairs, "
        "fits of some 20 ms; medians of the ratio to one thread beside it. One thread measured again tells "
        "the noise.",
        ["", "", "where"],
        [
            ["slower at most", _most(slowest["auto"] - 1, AUTO_SLOWER, _percent), place(slowest)],
            ["one thread again, slower at most", _percent(noise["again"] - 1), place(noise)],
            ["faster at most", f"{1 / best['auto']:.2f}×", place(best)],
            ["processors in use after a fit", f"{result['idle']:.3f}", ""],
        ],
        "auto.svg",
    )


def _sweep(result: Result) -> Iterator[Table]:
    for key, title, note, plot in (
        ("widths", "Step time against width", ", one thread", "width.svg"),
        ("sweep", "The width sweep of pytorch#144633", ", with the threads behind @", "sweep.svg"),
    ):
        if key in result:
            records = result[key]
            names = list(records[0]["seconds"])
            yield Table(
                title,
                f"The time of a step of 10-W-W-10, batch 128, Adam{note}.",
                ["W", *names],
                [
                    [str(r["widths"][1]), *(duration(r["seconds"].get(name)) for name in names)]
                    for r in records
                ],
                plot,
            )


# ---- costs ------------------------------------------------------------------


def _costs(result: Result) -> Iterator[Table]:
    cold, memory, growth = result["cold"], result["memory"], result["growth"]
    rows = [["cold process, pynn", duration(cold["pynn"]), ""]]
    for library, target in COLD.items():
        if library in cold:
            ratio = _least(cold[library] / cold["pynn"], target)
            rows.append([f"cold process, {library}", duration(cold[library]), ratio])
    if memory["bytes"] is not None:
        megabytes = _most(memory["bytes"] / 2**20, memory["aim"] / 2**20, lambda v: f"{v:.0f} MiB")
        rows.append([f"memory, {_name(memory['widths'])}, batch {memory['batch']}", megabytes, ""])
    for name in ("batches", "parameters"):
        sizes = growth[name]["sizes"]
        rows.append(
            [
                f"linear in {name}, {sizes[0]:,} to {sizes[-1]:,}",
                _most(growth[name]["deviation"], LINEAR, _percent),
                "",
            ]
        )
    rows.append(["from a width to the next, 40 to 50, at most", _percent(growth["neighbours"]["jump"]), ""])
    yield Table(
        "Other costs",
        "A cold process imports the library, fits the 1,797 digits of examples/data (64-100-10, batch 64, "
        "Adam, 20 epochs, one thread) and predicts them; beside it the ratio to pynn. Memory is the peak "
        "of training with Adam, beside the data. Linear: the farthest that the time of a step is from a "
        "straight line (64-128-128-10 over batches, W-W-W-W with batch 128 over parameters).",
        ["", "", "ratio"],
        rows,
    )
    kernels = result["kernels"]
    best = [r for r in kernels if r["name"] == "tile"][-1]
    peak = next(r for r in kernels if r["name"] == "peak" and r["isa"] == best["isa"])
    adam = next(r for r in kernels if r["name"] == "Adam" and r["isa"] == best["isa"])
    hertz = next(r["work"] / r["seconds"] for r in kernels if r["name"] == "clock")
    share = best["work"] / best["seconds"] / (peak["work"] / peak["seconds"])
    yield Table(
        "Kernels, beside what they should reach",
        "",
        ["", best["isa"]],
        [
            ["a tile of 256 terms, share of peak", _least(share, KERNEL_PEAK, percent=True)],
            ["Adam, cycles a parameter",
             _most(adam["seconds"] * hertz / adam["work"], ADAM_CYCLES, lambda v: f"{v:.2f}")],
        ],
    )  # fmt: skip


# ---- output -----------------------------------------------------------------


def tables(result: Result) -> Iterator[Table]:
    for part in (_kernels, _steps, _predictions, _threads, _sweep, _costs):
        yield from part(result)


def show(result: Result) -> None:
    for table in tables(result):
        print("\n" + textwrap.fill(f"{table.title}. {table.note}", 110, break_on_hyphens=False) + "\n")
        print(timing.table(table.head, table.rows))
    print()


TEXT = """# Benchmarks

Written by `make bench-peers`, which installs the other libraries into an environment of its own under
`build/` and runs the same work in each; do not edit. `make bench` measures pynn and numpy alone.
`BENCH=--quick` after either takes fewer nets, sizes and rounds.

**This run.** {machine}

**How it is measured.** Everything in float32 and seen from Python, on the same random data, with the same
batches and a fresh shuffle every epoch. The contestants take turns, round by round, in one process for each
number of threads, which all of them are told; the median of the rounds counts. Before steps are timed, five
of them on 16-64-64-4 from the same initial values must bring all contestants to the same parameters within
1 %, and all must predict the same.

PyTorch runs eager with fused optimizers, with forward, loss and backward compiled, and with the whole
step compiled; the fastest of these counts. It predicts eager and traced. JAX runs a jitted step with
donated buffers, on data that is on the device, and waits at the end of an epoch only; what is dispatched
meanwhile runs beside the thread that dispatches. scikit-learn runs its own inner step without its
validation of the data; its Adam computes part of the update in float64.

**Targets.** A figure beside a target is followed by ≥ or ≤ where the target is reached, by < or > where it
is missed: {reached} of {all} are reached in this run.
"""


def _machine(result: Result) -> str:
    m = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    return (
        f"{result['date']}, {result['minutes']:.0f} minutes{', quick' if result['quick'] else ''}. "
        f"{m['processor']}, {m['processors']} processors, {m['system']}, instruction set "
        f"{m['instruction_set']}; the load average of the machine before the run was {m['load']:.2f}. "
        f"{m['compiler']}; Python {m['python']}; {versions}; numpy on {m['blas']}. "
        f"{result['remark']}"
    )


def write(result: Result, folder: Path) -> None:
    """benchmarks.md and the plots in benchmarks/, in the folder."""
    import plots

    (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
    plots.draw(result, folder / "benchmarks")
    cells = [cell for table in tables(result) for row in table.rows for cell in row]
    reached, missed = (sum(any(sign in cell for sign in signs) for cell in cells) for signs in ("≥≤", "<>"))
    lines = [TEXT.format(machine=_machine(result), reached=reached, all=reached + missed)]
    for table in tables(result):
        lines += [f"## {table.title}\n", *([table.note + "\n"] if table.note else [])]
        if table.plot:
            lines.append(f"![{table.title}](benchmarks/{table.plot})\n")
        rule = ["---", *["---:"] * (len(table.head) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in [table.head, rule, *table.rows]] + [""]
    page = folder / "benchmarks.md"
    page.write_text("\n".join(lines), "utf-8")
    print(f"written: {page.relative_to(timing.ROOT)} and its plots")


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text("utf-8")), timing.ROOT / "docs")
