"""Random networks, settings and data: both backends agree; and numbers at the edge end finite or in DivergenceError."""

from __future__ import annotations

import contextlib
import tempfile
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import fastfc
from fastfc import Network
from fastfc.errors import DivergenceError
from fastfc.kernels.plan import FROM_LOGITS, REGRESSIONS
from fastfc.settings import ACTIVATIONS, LOSSES, OPTIMIZERS
from tests.promises import Cases
from tests.small import BACKENDS, SMALL, blobs, digest

pytestmark = pytest.mark.promise(13)
NAMES = st.sampled_from(ACTIVATIONS)
ZERO_OR = st.sampled_from([0.0, 0.0, 0.1, 0.5])
KINDS = ("none", "ema", "heavy_ball", "nesterov")
# (optimizer, momentum_kind, l1, ema), for which kernels are compiled: `make test` draws from those that other tests need too.
FEW = [
    *(("sgd", kind, 0.0, None) for kind in KINDS), ("sgd", "none", 1e-3, None), ("sgd", "nesterov", 1e-3, None), ("sgd", "ema", 0.0, 0.9),
    ("adam", "none", 0.0, None), ("adamw", "none", 0.0, None), ("adagrad", "none", 1e-3, 0.9), ("rmsprop", "none", 1e-3, 0.9),
]  # fmt: skip
ALL = [rule for rule in product([name for name in OPTIMIZERS if name != "lbfgs"], KINDS, [0.0, 0.0, 1e-3], [None, None, 0.9])]
RULES = st.sampled_from(ALL if settings().max_examples > 100 else FEW)


@st.composite
def trainings(draw: st.DrawFn) -> dict[str, Any]:
    """(data, settings) of a small training in float64: whatever can meet."""
    n, features, outputs = draw(st.integers(1, 60)), draw(st.integers(1, 40)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    X = rng.standard_normal((n, features))
    X[rng.random(X.shape) < draw(st.sampled_from([0, 0.5, 0.95]))] = draw(st.sampled_from([0.0, -0.3]))
    loss = draw(st.sampled_from(LOSSES))
    labels = rng.integers(0, outputs, n)
    targets = {"softmax_ce": rng.dirichlet(np.ones(outputs), n), "poisson": rng.poisson(2.0, (n, outputs)).astype(float)}
    has_labels = draw(st.booleans()) and loss != "poisson"
    y = labels if has_labels else targets.get(loss, rng.random((n, outputs)))
    hidden = draw(st.lists(st.integers(1, 40), max_size=4))
    classes = loss not in REGRESSIONS or (has_labels and outputs > 1)
    optimizer, kind, l1, ema = draw(RULES)
    reduction = draw(st.sampled_from(["mean", "sum"]))
    return {
        "data": (csr_array(X) if draw(st.booleans()) else X, y),
        "sample_weight": rng.random(n) + 0.01 if draw(st.booleans()) else None,
        "outputs": outputs if outputs > 1 or y.ndim == 2 or loss != "sigmoid_bce" else None,
        "loss": loss,
        "huber_delta": draw(st.sampled_from([0.1, 1.0])) if loss == "huber" else 1.0,
        "hidden": hidden,
        "activation": [draw(NAMES) for _ in hidden],
        "output_activation": "identity" if loss in FROM_LOGITS else draw(NAMES),
        "optimizer": optimizer,
        "dropout": [draw(ZERO_OR) for _ in hidden],
        "input_dropout": draw(ZERO_OR),
        "clip_norm": draw(st.sampled_from([None, None, 0.5])),
        "l1": l1,
        "ema": ema,
        "bias_rate": draw(st.sampled_from([1.0, 0.5])),
        "velocity_has_rate": draw(st.booleans()) and optimizer == "sgd" and kind != "none",
        "decay_per_batch": draw(st.booleans()) and optimizer != "adamw" and reduction == "mean",
        "init": draw(st.sampled_from(["he", "glorot", ("normal", 0.2), ("uniform", 0.3)])),
        "lr": draw(st.floats(1e-4, 0.03)) / (1 if optimizer == "sgd" else 10),
        "momentum": draw(st.floats(0, 0.9)),
        "momentum_kind": kind,
        "schedule": draw(st.sampled_from(["constant", "step", "cosine", "one_cycle"])),
        "weight_decay": draw(st.sampled_from([0.0, 1e-4, 0.1])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.7])) if classes else 0.0,
        "grad_reduction": reduction,
        "batch_size": draw(st.one_of(st.none(), st.integers(1, 70))),
        "epochs": draw(st.integers(1, 3)),
        "shuffle": draw(st.booleans()),
        "input_kernel": draw(st.sampled_from(["auto", "sparse", "dense"])),
        "seed": draw(st.integers(0, 1000)),
        "dtype": "float64",
    }


@given(training=trainings())
def test_backends_agree_on_any_training(cases: Cases, training: dict[str, Any]) -> None:
    """The losses to 1e-9, and the parameters to 1e-8 of the largest; predictions of one network to 1e-12.

    The numbers of adam and its kin are divided by roots that may be 0 but for rounding: epsilon is large here.
    """
    cases(1)
    data, training = training["data"], {**training, "epsilon": 1e-2}
    try:
        reference = fastfc.train(test_data=data, backend="numpy", threads=2, **training)
    except DivergenceError:
        with pytest.raises(DivergenceError):
            fastfc.train(test_data=data, backend="numba", threads=2, **training)
        return
    fused = fastfc.train(test_data=data, backend="numba", threads=2, **training)
    for a, b in zip(fused.history, reference.history, strict=True):
        assert [a.loss, a.test_loss, a.penalty] == pytest.approx([b.loss, b.test_loss, b.penalty], rel=1e-9, abs=1e-12)
    found, expected = ([*r.model.weights, *r.model.biases] for r in (fused, reference))
    for p, q in zip(found, expected, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-8, atol=1e-8 * max(1e-3, np.abs(q).max()))
    X = data[0]
    own = fused.model.outputs(X)
    fused.model.backend = "numpy"
    np.testing.assert_allclose(own, fused.model.outputs(X), rtol=1e-10, atol=1e-12 * max(1, np.abs(own).max()))


def ending(**training: Any) -> tuple[Any, ...]:
    """The losses of the epochs and the SHA-256 of the parameters, or where it diverged."""
    try:
        r = fastfc.train(**training)
    except DivergenceError as error:
        return (str(error),)
    return r.threads, digest(r.model), [record.loss for record in r.history]


@pytest.mark.promise(9)
@given(training=trainings())
def test_nothing_but_the_settings_matters(cases: Cases, training: dict[str, Any]) -> None:
    """Neither threads, though there is far too little work for three, nor how often the caller looks changes a bit."""
    cases(1)
    whole = ending(threads=1, **training)
    cut = ending(threads=3, steps_per_call=2, on_steps=lambda *_: None, **training)
    assert cut == ((3, *whole[1:]) if len(whole) > 1 else whole)


class Cut(Exception):
    pass


@pytest.mark.promise(5)
@given(trainings(), st.sampled_from(BACKENDS), st.integers(1, 3), st.integers(1, 2))
def test_any_training_is_resumed_bit_for_bit(
    cases: Cases, training: dict[str, Any], backend: str, epoch: int, every: int
) -> None:
    """Cut after an epoch, before that is written; or not cut at all, where it has fewer."""
    cases(1)

    def cut(record: fastfc.EpochRecord) -> None:
        if record.epoch == epoch:
            raise Cut

    whole = ending(backend=backend, **training)
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(Cut, DivergenceError):
            fastfc.train(backend=backend, checkpoint=folder, checkpoint_every=every, on_epoch=cut, **training)
        assert ending(backend=backend, checkpoint=folder, checkpoint_every=every, **training) == whole


TINY, HUGE = 5e-324, 1e30
EDGES: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # X, y, settings
    "logits of 1e30": (blobs(40)[0] * HUGE, blobs(40)[1], {}),
    "denormals": (np.full((40, 20), TINY), np.arange(40) % 3, {}),
    "denormals of float32": (np.full((40, 20), 1e-45), np.arange(40) % 3, {"dtype": "float32"}),
    "constant features": (np.ones((40, 20)), np.arange(40) % 3, {}),
    "nothing but zeros": (np.zeros((40, 20)), np.arange(40) % 3, {}),
    "identical rows": (np.tile(blobs(1)[0], (40, 1)), np.arange(40) % 3, {}),
    "an absent class": (blobs(40)[0], np.arange(40) % 2 * 3, {"outputs": 5}),
    "one class alone": (blobs(40)[0], np.zeros(40, int), {}),
    "large and small": (np.logspace(-300, 30, 800).reshape(40, 20), np.arange(40) % 3, {}),
    "a learning rate of 1e30": (*blobs(40), {"lr": HUGE}),
    "a weight decay of 1e30": (*blobs(40), {"weight_decay": HUGE}),
    "weights of 1e30": (*blobs(40), {"init": ("normal", HUGE)}),
    "weights of 0": (*blobs(40), {"init": ("normal", 0)}),
    "weights of 1e-45": (*blobs(40), {"init": ("normal", 1e-45), "dtype": "float32"}),
    "targets of 1e30": (blobs(40)[0], np.full((40, 2), HUGE), {"loss": "mse"}),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        (name, loss)
        for name in EDGES
        for loss in LOSSES
        if EDGES[name][2].get("loss", loss) == loss and not (loss == "poisson" and "outputs" in EDGES[name][2])
    ],
)
def test_numbers_at_the_edge(name: str, loss: str, backend: str) -> None:
    X, y, options = EDGES[name]
    try:
        r = fastfc.train((X, y), (X, y), backend=backend, **{**SMALL, "loss": loss, **options})
    except DivergenceError as error:
        assert any(word in name for word in ("1e30", "large")), error
        return
    scores = [h.test_r2 if r.model.regression else h.test_accuracy for h in r.history]
    numbers = [(h.loss, h.penalty, h.test_loss, score) for h, score in zip(r.history, scores, strict=True)]
    assert np.isfinite(numbers).all() and len(numbers) == 2
    assert all(np.isfinite(p).all() for p in (*r.model.weights, *r.model.biases, r.model.predict_proba(X)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e30, -1e30, 1e4, -1e4, 1e-45, 0.0])
def test_losses_of_extreme_logits_are_exact(size: float, dtype: str, backend: str) -> None:
    """The logits are (size, 0) and size alone: the larger wins with certainty, and the loss is their difference."""
    X = np.array([[size]], dtype)
    softmax = Network([1, 2], weights=[[[1, 0]]], dtype=dtype, backend=backend)
    sigmoid = Network([1, 1], loss="sigmoid_bce", weights=[[[1]]], dtype=dtype, backend=backend)
    for label in (0, 1):
        cost = size if label == 1 else -size  # by which the right one is the smaller
        expected = max(cost, 0) + np.log1p(np.exp(-abs(size)))
        assert softmax.loss_and_accuracy(X, [label])[0] == pytest.approx(expected, rel=1e-6)
        assert sigmoid.loss_and_accuracy(X, [1 - label])[0] == pytest.approx(expected, rel=1e-6)
    p = 1.0 if size > 100 else 0.0 if size < -100 else 0.5
    assert softmax.predict_proba(X)[0] == pytest.approx([p, 1 - p])
    assert sigmoid.predict_proba(X)[0] == pytest.approx([p])
