"""Kernels made ahead of their use: for `fastfc warmup`, and for wheels that bring them along.

Which there are is found by trainings and predictions that ask for kernels and get none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from fastfc.backend import load_backend
from fastfc.kernels.fused import cpu
from fastfc.kernels.fused.compiler import objects
from fastfc.kernels.fused.compiler.entry import Kernel, kernel_of, listing
from fastfc.kernels.fused.crew import ask
from fastfc.kernels.fused.folder import write
from fastfc.kernels.fused.shipped import folder_of
from fastfc.kernels.plan import ACTIVATIONS, LOSSES, Epoch
from fastfc.network import Network
from fastfc.settings import DTYPES, Settings
from fastfc.train import train

Training = tuple[Any, dict[str, Any]]  # (X, y), and settings
FROM_LABELS = ("softmax_ce", "sigmoid_bce")
SAMPLES, FEATURES = 6, 32
SMALL: dict[str, Any] = {"hidden": (4,), "epochs": 1, "batch_size": 3, "threads": 1}


def usual() -> list[Kernel]:
    """Kernels of the default training, on images and on other numbers, and of predictions."""
    return _asked_for((data, {"dtype": dtype}) for dtype in DTYPES for data in (_images(), _numbers()))


def everything() -> list[Kernel]:
    """Kernels of all trainings that there can be."""
    asked = _asked_for((data, {"dtype": dtype, **settings}) for dtype in DTYPES for data, settings in _trainings())
    return list(dict.fromkeys([*asked, *_of_ranks()]))


def ship(kernels: list[Kernel]) -> None:
    """Compile kernels into the package itself, for the CPU that NUMBA_CPU_NAME is, with NUMBA_CPU_FEATURES empty; none is run."""
    from fastfc.kernels.fused.compiler import build

    folder = folder_of(cpu.NAME)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, cpu.PROBED, bytes([cpu.VECTOR_BYTES, cpu.HAS_FMA, cpu.HAS_AVX2]))
    for name, key in kernels:
        symbol = objects.symbol_of(name, key)
        write(folder, f"{symbol}{objects.SUFFIX}", build.object_code(kernel_of(name).helper, symbol, key))


def _asked_for(trainings: Iterable[Training]) -> list[Kernel]:
    predictor_class = load_backend("numba")[1]
    with listing() as listed:
        ask(2)  # whatever the number, and however few threads this machine has
        for (X, y), settings in trainings:
            model = train((X, y), **{**SMALL, **settings}).model
            predictor = predictor_class(model.plan(), list(model.weights), list(model.biases), 1)
            for dtype in (np.uint8, model.dtype):
                rows = np.zeros((2, FEATURES), dtype)
                predictor.outputs(rows, finished=True)
                predictor.label(rows[:1])
                if not isinstance(X, np.ndarray):
                    predictor.outputs(type(X)(rows))
    return list(listed)


def _of_ranks() -> list[Kernel]:
    """The update along a gradient that several processes have added up."""
    X, y = _numbers()
    with listing() as listed:
        for dtype in DTYPES:
            network = Network((FEATURES, 4, 2), dtype=dtype)
            plan = replace(network.plan(Settings(dtype=dtype), SAMPLES), keeps_gradient=True)
            state = {"weights": list(network.weights), "biases": list(network.biases)}
            trainer = load_backend("numba")[0](plan, X.astype(dtype), y, state, 1, "dense")
            rules, scale = plan.optimizer.rules(np.zeros(1, dtype)), plan.scales(SAMPLES)
            trainer.apply(Epoch(np.arange(SAMPLES), np.zeros((0, 2), np.int8), rules, scale, scale.copy()), 0, 0)
            trainer.close()
    return list(listed)


def _images() -> tuple[np.ndarray, np.ndarray]:
    X = np.zeros((SAMPLES, 4, FEATURES // 4), np.uint8)
    X[:, 0] = 1
    return X, np.arange(SAMPLES) % 2


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    return np.sin(np.arange(SAMPLES * FEATURES)).reshape(SAMPLES, FEATURES), np.arange(SAMPLES) % 2  # no levels of 8 bits


def _trainings() -> Iterator[Training]:
    """Each kind of rule, of data and of layer once: kernels of one do not depend on the others."""
    (images, labels), (numbers, _) = _images(), _numbers()
    for X in (images, numbers):
        for rule in _rules():
            yield (X, labels), {"input_kernel": "sparse", **rule}
        for more in (
            {"input_kernel": "dense"}, {"input_dropout": 0.5}, {"clip_norm": 1.0}, {"clip_norm": 1.0, "input_kernel": "dense"},
        ):  # fmt: skip
            yield (X, labels), more
        online = {"batch_size": 1, "momentum_kind": "none", "weight_decay": 0.0}
        yield (X, labels), {"input_kernel": "sparse", **online}
        for csr in _csr(X.reshape(SAMPLES, -1)):
            yield (csr, labels), {"input_dropout": 0.5}
        for rows in _csr(np.eye(SAMPLES, FEATURES, dtype=X.dtype)):  # so few numbers that they are multiplied as they are
            for rule in _rules():
                yield (rows, labels), rule
            yield (rows, labels), {"clip_norm": 1.0}
            yield (rows, labels), online
    yield (images, labels), {"augment": 1}
    yield (images, labels), {"optimizer": "lbfgs", "batch_size": None}
    for activation in ACTIVATIONS:
        for dropout in (0.0, 0.5):
            yield (numbers, labels), {"activation": activation, "dropout": dropout}
    for loss in LOSSES:
        yield (numbers, labels if loss in FROM_LABELS else labels.astype(np.float64)), {"loss": loss}


def _rules() -> Iterator[dict[str, Any]]:
    for kind in ({"momentum_kind": "none"}, {}, {"optimizer": "adam"}, {"optimizer": "rmsprop"}):
        for l1 in (0.0, 0.1):
            for ema in (None, 0.9):
                yield {**kind, "l1": l1, "ema": ema}


def _csr(X: np.ndarray) -> list[Any]:
    try:
        from scipy.sparse import csr_array
    except ImportError:  # then nobody has any
        return []
    return [csr_array(X)]
