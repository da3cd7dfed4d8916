"""A two-layer net trained with nothing but the forward and backward of its layers, and numpy.

`fit` does the same arithmetic: at the end both nets are compared, and agree in every bit.
"""

from pathlib import Path

import numpy as np

import pynn

EPOCHS, BATCH, LEARNING_RATE = 10, 64, 0.1

table = np.loadtxt(Path(__file__).parent / "data" / "digits.csv.gz", delimiter=",", dtype=np.float32)
(x, t), (xv, tv) = pynn.split(table[:, :64] / 16, table[:, 64].astype(np.int32), 0.2, stratify=True)

first, relu, second = pynn.Dense(64, 100, seed=1), pynn.ReLU(), pynn.Dense(100, 10, seed=2)

for epoch in range(EPOCHS):
    losses = []
    for rows in pynn.batches(len(x), BATCH, seed=0, epoch=epoch):
        a = relu.forward(first.forward(x[rows]))
        scores = second.forward(a)

        loss, dscores = pynn.loss_and_grad(scores, t[rows], "cross_entropy")
        first.backward(relu.backward(second.backward(dscores)))

        for dense in (first, second):
            dense.weight -= LEARNING_RATE * dense.dweight
            dense.bias -= LEARNING_RATE * dense.dbias
        losses.append(loss)

    correct = np.argmax(second.forward(relu.forward(first.forward(xv))), axis=1) == tv
    print(f"epoch {epoch + 1:2}  loss {np.mean(losses):.4f}  validation accuracy {np.mean(correct):.1%}")

net = pynn.Sequential(
    pynn.Dense(64, 100, seed=1), pynn.ReLU(), pynn.Dense(100, 10, seed=2), pynn.Softmax(), seed=0
)
net.fit(x, t, epochs=EPOCHS, batch_size=BATCH, optimizer=pynn.SGD(LEARNING_RATE), verbose=0)
by_hand = np.concatenate([p.ravel() for dense in (first, second) for p in (dense.weight, dense.bias)])
print(f"fit gives {'the same bits' if np.array_equal(net.params, by_hand) else 'OTHER BITS'}")
assert np.array_equal(net.params, by_hand)
