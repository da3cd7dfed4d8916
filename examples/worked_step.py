"""One step of training that can be followed by hand: forward, loss, and every gradient.

    i1 = x w1 + b1   a = max(0, i1)   y = a w2 + b2   i2 = y - t   L = i2²

with x = 3, w1 = 1, b1 = 1, w2 = 2, b2 = -5, t = 1. The table calls i1 s1, a a1 and y s2. docs/mathematics.md derives it.
"""

import pynn

first, second = pynn.Dense(1, 1), pynn.Dense(1, 1)
first.weight, first.bias = [[1]], [1]
second.weight, second.bias = [[2]], [-5]

net = pynn.Sequential(first, pynn.ReLU(), second)
trace = net.trace([[3]], [[1]], loss="squared_error")
print(trace)

by_hand = {
    "s1": 4, "a1": 4, "s2": 3, "L": 4,
    "dL/ds2": 4, "dL/dW2": 16, "dL/db2": 4, "dL/da1": 8, "dL/ds1": 8, "dL/dW1": 24, "dL/db1": 8,
}  # fmt: skip
for name, value in by_hand.items():
    assert trace[name].array == value, name

net.loss_and_grad([[3]], [[1]], loss="squared_error")
net.update(pynn.SGD(learning_rate=0.01))
print(f"\none step of w -= 0.01 dL/dw later: W1 = {first.weight.item():.2f}, W2 = {second.weight.item():.2f}, "
      f"L = {net.evaluate([[3]], [[1]], loss='squared_error')['loss']:.4f}")
