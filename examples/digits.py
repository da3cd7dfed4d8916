"""Trains a net on handwritten digits, draws how it learned and what it gets wrong, and predicts again from a file.

Run by `make demo`; or, with matplotlib installed: python examples/digits.py. Writes to build/demo/.
"""

from pathlib import Path

import matplotlib
import numpy as np

import pynn

matplotlib.use("Agg")  # pictures go to files, and need no screen

import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "demo"


def load():
    """Images (1797, 64) from 0 to 1, and labels (1797,)."""
    table = np.loadtxt(HERE / "data" / "digits.csv.gz", delimiter=",", dtype=np.float32)
    return table[:, :64] / 16, table[:, 64].astype(np.int32)


def build(sizes):
    first, second = pynn.Dense(sizes[0], sizes[1]), pynn.Dense(sizes[1], sizes[2])
    return pynn.Sequential(first, pynn.ReLU(), pynn.Dropout(0.3), second, pynn.Softmax())


def draw_learning_curve(history, path):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for ax, key in zip(axes, ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[key]) + 1)
        ax.plot(epochs, history[key], label="train" + (" (with dropout)" if key == "loss" else ""))
        ax.plot(epochs, history[f"val_{key}"], label="validation")
        ax.set(xlabel="epoch", ylabel=key)
        ax.legend()
    axes[0].set_yscale("log")
    figure.savefig(path, dpi=120)


def draw_misclassified(images, labels, h, path, most=24):
    """The images that the net gets wrong, the surest mistakes first."""
    found = np.argmax(h, axis=1)
    wrong = np.flatnonzero(found != labels)
    wrong = wrong[np.argsort(-h[wrong, found[wrong]])][:most]
    columns = 6
    rows = max(1, -(-len(wrong) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(9, 1.9 * rows), layout="constrained", squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, i in zip(axes.flat, wrong, strict=False):
        ax.imshow(images[i].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(f"{labels[i]} taken for {found[i]}\n({h[i, found[i]]:.0%} sure)", fontsize=8)
    figure.savefig(path, dpi=120)
    return int(np.count_nonzero(found != labels))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    images, labels = load()
    (x, t), (xv, tv) = pynn.split(images, labels, 0.2, stratify=True)

    sizes = [64, 100, 10]
    net = build(sizes)
    print(net.summary())
    print(f"{len(x)} images to train on, {len(xv)} held out")
    history = net.fit(
        x, t, epochs=60, batch_size=64, optimizer=pynn.Adam(3e-3), metrics=["accuracy"],
        validation_data=(xv, tv), verbose=1,
    )  # fmt: skip

    for name, data in (("train", (x, t)), ("validation", (xv, tv))):
        found = net.evaluate(*data, metrics=["accuracy"])
        print(f"{name:<10}  loss {found['loss']:.4f}  accuracy {found['accuracy']:.1%}")

    h = net.predict(xv)
    draw_learning_curve(history, OUT / "learning_curve.png")
    wrong = draw_misclassified(xv, tv, h, OUT / "misclassified.png")
    print(f"{wrong} of {len(xv)} held-out images are misclassified")

    np.savez(OUT / "digits.npz", sizes=sizes, params=net.params)
    with np.load(OUT / "digits.npz") as file:
        second = build(file["sizes"].tolist())
        second.params = file["params"]
    same = np.array_equal(second.predict(xv), h)
    print(f"a second net from the saved parameters predicts {'the same bits' if same else 'SOMETHING ELSE'}")
    print(f"in {OUT.relative_to(Path.cwd()) if OUT.is_relative_to(Path.cwd()) else OUT}: "
          f"{', '.join(sorted(path.name for path in OUT.iterdir()))}")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
