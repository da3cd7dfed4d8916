"""pynn: small dense neural networks on the CPU, the same bits on every machine.

net = pynn.Sequential(pynn.Dense(64, 100), pynn.ReLU(), pynn.Dense(100, 10), pynn.Softmax())
history = net.fit(x, labels, epochs=20, metrics=["accuracy"], validation_data=(xv, lv))
net.predict(xv)
"""

from ._calls import instruction_set
from ._library import __version__
from .callbacks import EarlyStopping, LearningRate
from .data import batches, split
from .errors import (
    BusyError,
    DivergedError,
    PynnError,
    PynnImportError,
    PynnMemoryError,
    PynnRuntimeError,
    PynnTypeError,
    PynnValueError,
)
from .layers import (
    GELU,
    Dense,
    Dropout,
    Identity,
    Layer,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .losses import loss_and_grad
from .network import Run, Sequential
from .optimizers import SGD, Adam, AdamW, Optimizer
from .predictor import Predictor
from .training import History

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "BusyError",
    "Dense",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "History",
    "Identity",
    "Layer",
    "LeakyReLU",
    "LearningRate",
    "Optimizer",
    "Predictor",
    "PynnError",
    "PynnImportError",
    "PynnMemoryError",
    "PynnRuntimeError",
    "PynnTypeError",
    "PynnValueError",
    "ReLU",
    "Run",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "__version__",
    "batches",
    "instruction_set",
    "loss_and_grad",
    "split",
]
