"""Whole trainings: the fused backend against the reference step by step, and whatever must not change a single bit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastfc
from fastfc.kernels.optimizers import of_momentum
from fastfc.kernels.plan import Epoch
from fastfc.kernels.reference import epoch as reference
from fastfc.network import Network
from fastfc.training.input_kernel import background_of
from tests.trainers import COMPUTATIONS, Training, assert_same

FUSED = ("numba dense", "numba sparse")
AFTER_A_STEP = {"float32": 1e-5, "float64": 1e-12}
AFTER_EPOCHS = {"float32": 1e-3, "float64": 1e-9}
HEIGHT, WIDTH, CLASSES = 11, 19, 4
dtypes = pytest.mark.parametrize("dtype", AFTER_A_STEP)


def samples(n: int, kind: str, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """X (n, HEIGHT * WIDTH), half of it of one value, and labels.

    uint8         bytes, half of them 0
    scaled        these, over 255: floats that can be bytes again
    standardised  the same with another background than 0
    floats        that no bytes can stand for, half of them 0
    shifted       the same with another background than 0
    """
    rng = np.random.default_rng(0)
    shape = n, HEIGHT * WIDTH
    seen, codes, floats = rng.random(shape) < 0.5, rng.integers(1, 256, shape), rng.standard_normal(shape)
    X = {
        "uint8": seen * codes,
        "scaled": seen * codes / 255,
        "standardised": (seen * codes / 255 - 0.13) / 0.31,
        "floats": seen * floats,
        "shifted": seen * floats + 0.7,
    }[kind]
    return X.astype("uint8" if kind == "uint8" else dtype), rng.integers(0, CLASSES, n)


KINDS = ("uint8", "scaled", "standardised", "floats", "shifted")


def network(dtype: str = "float64", hidden: tuple[int, ...] = (9, 5), **description: Any) -> Network:
    return Network((HEIGHT * WIDTH, *hidden, CLASSES), dtype=dtype, image_shape=(HEIGHT, WIDTH), seed=1, **description)


# (network, settings of the training, samples, batch): what the settings can be, each at least once.
TRAININGS: dict[str, tuple[dict[str, Any], dict[str, Any], int, int | None]] = {
    "the defaults": ({}, {}, 30, 8),
    "batches of one": ({}, {"momentum_kind": "ema"}, 5, 1),
    "one sample a step": ({"loss": "mse", "activation": "tanh"}, {"momentum_kind": "none", "weight_decay": 0.0}, 12, 1),
    "one sample a step, wide": ({"hidden": (64, 130)}, {"momentum_kind": "none", "weight_decay": 0.0}, 6, 1),
    "one sample a step, linear": ({"hidden": ()}, {"momentum_kind": "none", "weight_decay": 0.0}, 6, 1),
    "the whole set a step": ({}, {"momentum_kind": "none", "weight_decay": 0.0}, 29, None),
    "a last batch of one": ({}, {"label_smoothing": 0.1}, 17, 8),
    "the sum over the batch": ({}, {"grad_reduction": "sum", "momentum_kind": "heavy_ball"}, 21, 7),
    "sigmoids": ({"loss": "sigmoid_bce", "activation": "sigmoid"}, {"label_smoothing": 0.1}, 30, 16),
    "squared error": ({"loss": "mse", "activation": "tanh", "output_activation": "sigmoid"}, {}, 23, 8),
    "an activation for each layer": ({"activation": ("tanh", "identity")}, {"weight_decay": 0.1}, 30, 8),
    "no hidden layer": ({"hidden": ()}, {}, 30, 8),
    "layers wider than a tile": ({"hidden": (150, 131)}, {}, 40, 20),
    "batches in parts": ({}, {"weight_decay": 0.01}, 1100, 530),
    "batches in parts, linear": ({"hidden": ()}, {"momentum_kind": "none"}, 600, 513),
    "adam, gelu": ({"activation": "gelu"}, {"optimizer": "adam", "epsilon": 0.01}, 30, 8),
    "adamw, silu, mish": ({"activation": ("silu", "mish")}, {"optimizer": "adamw", "epsilon": 0.01, "l1": 1e-3}, 30, 8),
    "rmsprop, elu, selu": ({"activation": ("elu", "selu")}, {"optimizer": "rmsprop", "epsilon": 0.01, "ema": 0.9}, 30, 8),
    "adagrad, gelu_tanh": ({"activation": "gelu_tanh"}, {"optimizer": "adagrad", "epsilon": 0.01, "clip_norm": 0.1}, 30, 8),
    "dropout": ({"activation": ("leaky_relu", "softplus")}, {"dropout": (0.5, 0.25), "input_dropout": 0.3}, 30, 8),
    "dropout, batches in parts": ({}, {"dropout": 0.5, "input_dropout": 0.1, "clip_norm": 0.5, "l1": 1e-3}, 1100, 530),
    "the rate in the velocity": ({}, {"velocity_has_rate": True, "bias_rate": 0.5, "layer_rates": (1.0, 0.5, 2.0)}, 30, 8),
    "absolute error": ({"loss": "mae", "output_activation": "tanh"}, {"clip_norm": 1.0, "ema": 0.5}, 23, 8),
    "huber": ({"loss": "huber", "output_activation": "silu", "huber_delta": 0.3}, {"label_smoothing": 0.1}, 23, 8),
}


def trainings(name: str, dtype: str, kind: str, *computations: str, threads: int = 1) -> list[Training]:
    description, settings, n, batch_size = TRAININGS[name]
    X, y = samples(n, kind, dtype)
    return [Training(c, network(dtype, **description), X, y, batch_size, threads, **settings) for c in computations]


# Every kind of input and dtype with the defaults; with the other trainings two of them: each would compile kernels of its own.
EACH = [(name, kind, dtype) for name in TRAININGS for kind in KINDS for dtype in ("float32", "float64")]
SAMPLED = [case for case in EACH if case[0] == "the defaults" or case[1:] in (("uint8", "float32"), ("floats", "float64"))]
RARE = ("adamw, silu, mish", "rmsprop, elu, selu", "adagrad, gelu_tanh", "dropout, batches in parts")  # rules of their own


def is_long(case: tuple[str, str, str], computation: str) -> bool:
    """Whether it compiles kernels that no other test needs."""
    return case[0] in RARE and (case[2] == "float32" or (computation == "numba sparse" and "dropout" not in case[0]))


@pytest.mark.parametrize(
    ("name", "kind", "dtype", "computation"),
    [
        pytest.param(*case, computation, marks=pytest.mark.slow if is_long(case, computation) else ())
        for case in SAMPLED
        for computation in FUSED
    ],
)
def test_trainings_agree_step_by_step(name: str, computation: str, kind: str, dtype: str) -> None:
    ours, theirs = trainings(name, dtype, kind, computation, "numpy")
    assert_same_steps(ours, theirs, dtype)


def assert_same_steps(ours: Training, theirs: Training, dtype: str) -> None:
    """Two epochs in two orders: to rounding after the first step, and close to it after all of them."""
    rng = np.random.default_rng(2)
    for epoch in range(2):
        order, rates = rng.permutation(ours.n), rng.uniform(0.02, 0.1, ours.steps)
        for step in range(ours.steps):
            for training in (ours, theirs):
                training.run(rates, order, start=step, stop=step + 1)
            first = epoch == step == 0
            tolerance = (AFTER_A_STEP if first else AFTER_EPOCHS)[dtype]
            assert_same(ours.parameters(), theirs.parameters(), tolerance)
            done = slice((step + 1) * ours.batch_size if epoch == 0 else ours.n)
            assert_same([ours.losses[done]], [theirs.losses[done]], tolerance)


# Wrong trainers: the reference with a mistake in a step.
class _NoLastBatch(reference.Trainer):
    def run(self, epoch: Epoch, start: int, stop: int) -> None:
        super().run(epoch, start, min(stop, len(epoch.order) // self.plan.batch_size))


class _NoLastSample(reference.Trainer):
    def _back(self, epoch: Epoch, s: int) -> Any:
        a, delta = super()._back(epoch, s)
        for array in delta:
            array *= len(array) / max(len(array) - 1, 1)
            array[-1] = 0
        return a, delta


def _with(**changed: Any) -> Callable[..., reference.Trainer]:
    return lambda plan, *arguments: reference.Trainer(replace(plan, **changed), *arguments)


def _with_rules(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., reference.Trainer]:
    """With other numbers of the optimiser, (steps, numbers)."""
    return _changed(lambda epoch: epoch._replace(rules=change(epoch.rules)))


def _changed(change: Callable[[Epoch], Epoch]) -> Callable[..., reference.Trainer]:

    def make(*arguments: Any) -> reference.Trainer:
        trainer = reference.Trainer(*arguments)
        run = trainer.run
        trainer.run = lambda epoch, *steps: run(change(epoch), *steps)  # type: ignore[method-assign]
        return trainer

    return make


def _of(kind: str, decay: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rules: of_momentum(kind, 0.9, decay).rules(rules[:, 0])


WRONG: dict[str, Any] = {  # of the defaults, or of the training that is named
    "the last batch is dropped": _NoLastBatch,
    "the last sample of a batch is dropped": _NoLastSample,
    "L2 is forgotten": _with_rules(_of("nesterov", 0.0)),
    "momentum is heavy ball's": _with_rules(_of("heavy_ball", 1e-4)),
    "labels are smoothed": _with(smoothing=1e-3),
    "the gradient is summed": _changed(lambda epoch: epoch._replace(scale=np.ones_like(epoch.scale))),
    "rates come a step late": _with_rules(lambda rules: np.roll(rules, 1, axis=0)),
    "another activation": _with(activations=("relu", "tanh", "identity")),
    "nothing is dropped": ("dropout", _with(dropout=())),
    "only inputs are dropped": ("dropout", _with(dropout=(0.3, 0.0, 0.0))),
    "masks of another epoch": ("dropout", _changed(lambda epoch: epoch._replace(dropout_key=1))),
    "nothing is clipped": ("absolute error", _with(clip_norm=None)),
    "huber is squared": ("huber", _with(huber_delta=10.0)),
    "averages forget at another pace": ("absolute error", _with_rules(lambda rules: np.c_[rules[:, :-1], rules[:, -1:] / 2])),
}


@dtypes
@pytest.mark.parametrize("mistake", WRONG)
def test_the_comparison_fails_on_a_wrong_trainer(mistake: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, trainer = WRONG[mistake] if isinstance(WRONG[mistake], tuple) else ("the defaults", WRONG[mistake])
    (right,) = trainings(name, dtype, "floats", "numpy")
    assert_same_steps(right, *trainings(name, dtype, "floats", "numpy"), dtype)
    (right,) = trainings(name, dtype, "floats", "numpy")
    monkeypatch.setattr("tests.trainers.load_backend", lambda name: (trainer, None))
    (wrong,) = trainings(name, dtype, "floats", "numpy")
    with pytest.raises(AssertionError):
        assert_same_steps(wrong, right, dtype)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize(
    ("loss", "given"),
    [
        ("softmax_ce", lambda y: np.eye(CLASSES)[y]),
        ("sigmoid_bce", lambda y: np.eye(CLASSES)[y]),
        ("sigmoid_bce", lambda y: y % 2),
    ],
    ids=["shares", "targets", "labels of one output"],
)
def test_targets_of_any_form_are_smoothed(loss: str, given: Callable[[np.ndarray], np.ndarray], backend: str) -> None:
    """As targets that were smoothed before: (1 - e) y + e / classes, with e / 2 for sigmoids."""
    X, y = samples(30, "uint8")
    targets = np.asarray(given(y), float)
    spread = 1 / 2 if loss == "sigmoid_bce" else 1 / CLASSES
    settings: dict[str, Any] = {"loss": loss, "epochs": 2, "batch_size": 8, "dtype": "float64", "backend": backend}
    inside = fastfc.train((X, given(y)), label_smoothing=0.2, hidden=(6,), **settings).model
    before = fastfc.train((X, 0.8 * targets + 0.2 * spread), hidden=(6,), **settings).model
    assert_same(inside.weights, before.weights, 1e-12)


# Bits
THREADED = (
    *("the defaults", "batches of one", "one sample a step", "no hidden layer", "batches in parts"),
    *("layers wider than a tile", "adam, gelu", "dropout, batches in parts", "absolute error"),
)
# Of the last two no other test but those of the defaults has compiled kernels.
BITS = [("floats", "float64"), ("uint8", "float32"), ("standardised", "float64"), ("shifted", "float32")]


@pytest.mark.parametrize("computation", FUSED)
@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        pytest.param(name, *kind, marks=pytest.mark.slow if name != "the defaults" and kind in BITS[1 + (name not in RARE) :] else ())
        for name in THREADED
        for kind in BITS
    ],
)
def test_any_number_of_threads_gives_the_same_bits(name: str, kind: str, computation: str, dtype: str) -> None:
    digests = set()
    for threads in (1, 2, 3, 4, 1):
        (training,) = trainings(name, dtype, kind, computation, threads=threads)
        for seed in range(2):
            training.run(0.05, np.random.default_rng(seed).permutation(training.n))
        digests.add(training.digest())
    assert len(digests) == 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fastfc_train_gives_the_same_bits_with_any_number_of_threads(threads: int) -> None:
    X, y = samples(300, "uint8")

    def weights(threads: int) -> list[bytes]:
        r = fastfc.train((X, y), epochs=2, hidden=(200, 50), threads=threads)
        assert r.threads == threads
        return [w.tobytes() for w in r.model.weights]

    assert weights(threads) == weights(4)


@dtypes
@pytest.mark.parametrize("computation", COMPUTATIONS)
def test_an_epoch_in_pieces_gives_the_same_bits(computation: str, dtype: str) -> None:
    whole, pieces = (trainings("the defaults", dtype, "floats", computation)[0] for _ in range(2))
    rates = np.linspace(0.01, 0.1, whole.steps)
    whole.run(rates)
    for start, stop in ((0, 0), (0, 1), (1, 3), (3, 4)):
        pieces.run(rates, start=start, stop=stop)
    assert whole.digest() == pieces.digest()


@pytest.mark.parametrize("computation", COMPUTATIONS)
@pytest.mark.parametrize("kind", ["uint8", "floats"])
def test_csr_gives_the_same_bits_as_the_matrix(computation: str, kind: str) -> None:
    X, y = samples(30, kind)
    digests = set()
    for given in (X, csr_array(X)):
        training = Training(computation, network(), given, y, 8)
        training.run(0.05)
        digests.add(training.digest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("floats", "float64"), ("uint8", "float32"),
        *(pytest.param(*both, marks=pytest.mark.slow) for both in (("floats", "float32"), ("uint8", "float64"))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["the defaults", "batches in parts"])
def test_leaving_zeros_out_gives_the_same_bits(name: str, kind: str, dtype: str) -> None:
    digests = set()
    for training in trainings(name, dtype, kind, *FUSED):
        training.run(0.05)
        digests.add(training.digest())
    assert len(digests) == 1


@pytest.mark.parametrize("computation", COMPUTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_shifts_within_the_training_equal_images_shifted_before(computation: str, kind: str) -> None:
    """To the bit, with every shift up to the border; the images are shifted here as windows into padded ones."""
    every = np.array([(dy, dx) for dy in range(1 - HEIGHT, HEIGHT) for dx in range(1 - WIDTH, WIDTH, 3)], np.int8)
    n, rng = len(every), np.random.default_rng(3)
    X, y = samples(n, kind)
    order, outside = rng.permutation(n), background_of(X)
    around = ((0, 0), (HEIGHT, HEIGHT), (WIDTH, WIDTH))
    wide = np.pad(X.reshape(n, HEIGHT, WIDTH), around, constant_values=outside)
    windows = [
        wide[i, HEIGHT - dy : 2 * HEIGHT - dy, WIDTH - dx : 2 * WIDTH - dx].ravel()
        for i, (dy, dx) in zip(order, every.tolist(), strict=True)
    ]
    inside = Training(computation, network(), X, y, 32)
    inside.run(0.05, order, every)
    before = Training(computation, network(), np.array(windows), y[order], 32)
    before.run(0.05)
    assert inside.digest() == before.digest()


@pytest.mark.parametrize("computation", FUSED)
@pytest.mark.parametrize("kind", ["uint8", "shifted"])
def test_steps_allocate_nothing(computation: str, kind: str) -> None:
    """What compiled code allocates does not depend on the number of steps."""
    from numba.core.runtime import _nrt_python, rtsys

    (training,) = trainings("batches of one", "float64", kind, computation)
    training.run(0.05)
    enabled = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    counts = [rtsys.get_allocation_stats().alloc]
    for stop in (1, training.steps):
        training.run(0.05, stop=stop)
        counts.append(rtsys.get_allocation_stats().alloc)
    if not enabled:
        _nrt_python.memsys_disable_stats()
    assert counts[2] - counts[1] == counts[1] - counts[0]


# True data
@functools.cache
def mnist_curve(
    folder: Path, backend: str, dtype: str = "float32", activation: str = "relu", kind: str = "nesterov"
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mean loss of each step of an epoch, and the weights after it."""
    steps: list[float] = []
    settings: dict[str, Any] = {"dtype": dtype, "activation": activation, "momentum_kind": kind}
    model = fastfc.train(
        folder,
        backend=backend,
        threads=1,
        epochs=1,
        lr=0.05,
        schedule="constant",
        on_steps=lambda epoch, done, n, losses: steps.extend(losses),
        **settings,
    ).model
    assert len(steps) == 469 and np.mean(steps[-50:]) < 0.5
    return np.array(steps), model.weights


@pytest.mark.mnist
@pytest.mark.parametrize(
    "settings",
    [("float64", "relu", "nesterov"), pytest.param(("float32", "tanh", "nesterov"), marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_the_loss_curves_of_an_epoch_of_mnist_agree(settings: tuple[str, str, str], mnist_dir: Path) -> None:
    tolerance = AFTER_EPOCHS[settings[0]]
    ours, theirs = (mnist_curve(mnist_dir, backend, *settings) for backend in ("numba", "numpy"))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=tolerance)
    assert_same(ours[1], theirs[1], tolerance)


@pytest.mark.mnist
@pytest.mark.parametrize("momentum", ["nesterov", pytest.param("none", marks=pytest.mark.slow)])
def test_the_mean_loss_of_an_epoch_of_mnist_agrees_where_rounding_moves_a_relu(mnist_dir: Path, momentum: str) -> None:
    """In float32 rounding may carry a sum across 0, and single steps then go other ways.

    NumPy in float32 leaves NumPy in float64 by as much. The float32 kernels are held to both.
    """
    ours = mnist_curve(mnist_dir, "numba", "float32", "relu", momentum)[0].mean()
    theirs = [mnist_curve(mnist_dir, "numpy", dtype, "relu", momentum)[0].mean() for dtype in ("float32", "float64")]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
