"""The plots of docs/benchmarks.md, in the colours of Okabe and Ito, which any eyes can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cases import TWO_THREADS_SECONDS, Case
from contestants import fastest
from timing import duration

mpl.use("Agg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "pynn",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
    }
)

COLOURS = {
    "pynn": "#D55E00",
    "PyTorch": "#0072B2",
    "JAX": "#009E73",
    "JAX scan": "#56B4E9",
    "scikit-learn": "#CC79A7",
    "numpy": "#000000",
    "ONNX Runtime": "#E69F00",
}
MARKERS = dict(zip(COLOURS, "osD^vPX", strict=True))
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _seconds(axis: Any) -> None:
    axis.set_major_formatter(lambda seconds, _: duration(seconds).replace(".00", "").replace(".0", ""))


def _label_ends(ax: Any, lines: Lines, colours: Mapping[str, str], height: float = 0.055) -> None:
    """Names at the right ends of lines on a logarithmic axis, moved apart where they would overlap."""
    low, high = np.log(ax.get_ylim())
    order = sorted(lines, key=lambda name: lines[name][1][-1])
    places = [float((np.log(lines[name][1][-1]) - low) / (high - low)) for name in order]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + height)
    places[-1] = min(places[-1], 1.0)
    for k in range(len(places) - 1, 0, -1):
        places[k - 1] = min(places[k - 1], places[k] - height)
    for name, place in zip(order, places, strict=True):
        ax.annotate(
            name,
            (1.02, place),
            xycoords="axes fraction",
            color=colours[name],
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )


def _by_library(seconds: dict[str, float]) -> dict[str, float]:
    found = {
        name: fastest(seconds, name) for name in ("PyTorch", "JAX", "scikit-learn", "numpy", "ONNX Runtime")
    }
    found |= {"pynn": seconds.get("pynn", seconds.get("pynn p(row)")), "JAX scan": seconds.get("jax scan")}
    return {name: found[name] for name in COLOURS if found[name] is not None}  # type: ignore[misc]


def _width_axis(ax: Any, widths: Sequence[int]) -> None:
    ax.set(xscale="log", yscale="log", xlabel="width W of the two hidden layers")
    ax.minorticks_off()
    ax.set_xticks(sorted(set(widths)), map(str, sorted(set(widths))))
    ax.grid(axis="y", alpha=0.25)
    _seconds(ax.yaxis)


def width(result: dict[str, Any], path: Path) -> None:
    records = result["widths"]
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for r in records:
        for name, time in _by_library(r["seconds"]).items():
            xs, ys = lines.setdefault(name, ([], []))
            xs.append(r["widths"][1])
            ys.append(time)
    figure, ax = plt.subplots(figsize=(8, 4.6))
    for name, (xs, ys) in lines.items():
        ax.plot(
            xs,
            ys,
            color=COLOURS[name],
            marker=MARKERS[name],
            markersize=4,
            linewidth=2 if name == "pynn" else 1.3,
        )
    _width_axis(ax, [r["widths"][1] for r in records])
    ax.set(ylabel="time of a step")
    ax.set_title("A training step of 10-W-W-10, batch 128, Adam, one thread")
    _label_ends(ax, lines, COLOURS)
    _save(figure, path)


def sweep(result: dict[str, Any], path: Path) -> None:
    figure, ax = plt.subplots(figsize=(8, 4.6))
    widths = [r["widths"][1] for r in result["sweep"]]
    lines, colours = {}, {}
    for name in result["sweep"][0]["seconds"]:
        library, _, threads = name.partition("@")
        known = "pynn" if library == "pynn" else "PyTorch"
        label = f"{known}, {threads}"
        seconds = [r["seconds"][name] for r in result["sweep"]]
        ax.plot(
            widths, seconds, "-" if threads == "1" else "--", color=COLOURS[known], marker="o", markersize=3
        )
        lines[label], colours[label] = (widths, seconds), COLOURS[known]
    _width_axis(ax, widths)
    ax.set(ylabel="time of a step")
    ax.set_title("pytorch#144633: a step of 10-W-W-10, batch 128, Adam, by number of threads")
    _label_ends(ax, lines, colours)
    _save(figure, path)


def _dots(ax: Any, rows: Sequence[tuple[str, dict[str, float]]]) -> None:
    """A row of dots for each name, the libraries named by a legend above."""
    for k, (_, values) in enumerate(rows):
        ax.hlines(k, min(values.values()), max(values.values()), color="0.85", zorder=0)
        for name, value in values.items():
            ax.scatter(
                value,
                k,
                color=COLOURS[name],
                marker=MARKERS[name],
                s=42,
                label=name if k == 0 else None,
                zorder=3 if name == "pynn" else 2,
            )
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.25)


def _legend(ax: Any) -> None:
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.08), ncols=7, frameon=False, handletextpad=0.1, columnspacing=1
    )


def peak(result: dict[str, Any], path: Path) -> None:
    rows = []
    for r in result["steps"]:
        if r["threads"] == 1 and r["optimizer"] == "adam":
            shares = {name: 100 * r["flops"] / t / r["peak"] for name, t in _by_library(r["seconds"]).items()}
            rows.append((f"{Case(tuple(r['widths']), 1).name}\nbatch {r['batch']}", shares))
    figure, ax = plt.subplots(figsize=(8, 1.6 + 0.55 * len(rows)))
    _dots(ax, rows)
    ax.set_xlim(0, 100)
    ax.set(xlabel="share of the fma peak of a core, %")
    ax.set_title("Share of peak of a whole training step, Adam, one thread")
    _legend(ax)
    _save(figure, path)


def predictions(result: dict[str, Any], path: Path) -> None:
    rows = [
        (Case(tuple(r["widths"]), 1).name, _by_library(r["seconds"]))
        for r in result["predictions"]
        if r["rows"] == 1
    ]
    figure, ax = plt.subplots(figsize=(8, 1.6 + 0.45 * len(rows)))
    _dots(ax, rows)
    ax.set(xscale="log", xlabel="time of a prediction")
    _seconds(ax.xaxis)
    ax.set_title("Prediction of one row, one thread; pynn by p(row)")
    _legend(ax)
    _save(figure, path)


def auto(result: dict[str, Any], path: Path) -> None:
    widths = sorted({r["width"] for r in result["auto"]})
    batches = sorted({r["batch"] for r in result["auto"]})
    figure, ax = plt.subplots(figsize=(8, 1.6 + 0.36 * len(batches)))
    ratios = np.empty((len(batches), len(widths)))
    for r in result["auto"]:
        ratios[batches.index(r["batch"]), widths.index(r["width"])] = r["auto"]
    shown = np.log2(ratios)
    image = ax.imshow(shown, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", origin="lower")
    for r in result["auto"]:
        place = widths.index(r["width"]), batches.index(r["batch"])
        weight = "bold" if r["seconds"] > TWO_THREADS_SECONDS else "normal"
        dark = abs(shown[place[::-1]]) > 0.7
        ax.text(
            *place,
            f"{r['auto']:.2f}",
            ha="center",
            va="center",
            color="w" if dark else "k",
            fontsize=8,
            weight=weight,
        )
    ax.set_xticks(range(len(widths)), map(str, widths))
    ax.set_yticks(range(len(batches)), map(str, batches))
    ax.set(xlabel="width W", ylabel="batch")
    ax.set_title('Time of a step of 10-W-W-10, threads="auto" over one thread\n'
                 f"bold: a step takes more than {duration(TWO_THREADS_SECONDS)} on one thread")  # fmt: skip
    bar = figure.colorbar(image, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["half", "the same", "double"])
    _save(figure, path)


def draw(result: dict[str, Any], folder: Path) -> None:
    for plot in (width, sweep, peak, predictions, auto):
        plot(result, folder / f"{plot.__name__}.svg")
