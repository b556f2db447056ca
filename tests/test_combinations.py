"""Whatever can meet in a step, sampled: its gradient against differences of the loss, and its update written out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from fastfc.network import Network
from fastfc.training.input_kernel import background_of
from tests.masks import mask
from tests.oracle import FUNCTIONS, LOSSES, Function
from tests.trainers import COMPUTATIONS, Training

LR, KEY = 0.05, 0xABCDEF0123456789
FLOATS = ("mse", "mae", "huber")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Combination:
    """A step of a training of X (n, features) and y (n, outputs), in batches of which the last is the one that counts."""

    network: Network
    X: Any
    y: np.ndarray
    batch_size: int
    order: np.ndarray
    weights: np.ndarray | None
    settings: dict[str, Any]

    @property
    def rows(self) -> np.ndarray:
        """Samples of the last batch."""
        start = (len(self.order) - 1) // self.batch_size * self.batch_size
        return self.order[start:]

    @property
    def dense(self) -> np.ndarray:
        X = self.X if isinstance(self.X, np.ndarray) else self.X.toarray()
        return X / 255 if X.dtype == np.uint8 else X

    def function(self) -> Function:
        """The loss of that batch."""
        rows, net = self.rows, self.network
        each = np.ones(len(self.order)) if self.weights is None else self.weights
        each = each[len(self.order) - len(rows) :]
        scale = each if self.settings["grad_reduction"] == "sum" else each / each.sum()
        rates = (self.settings["input_dropout"], *self.settings["dropout"])
        masks = [mask(KEY, l, rows, net.layers[l], rate) for l, rate in enumerate(rates)] if any(rates) else ()
        return Function((*net.activations, net.output_activation), net.loss, scale, masks, net.huber_delta)


# The kind of X and of the rule, for which kernels are compiled: `make test` draws from these, `make soak` from all.
FEW = [
    ("floats", {"optimizer": "sgd", "momentum_kind": "none", "l1": 0.02, "ema": None}),
    ("background", {"optimizer": "sgd", "momentum_kind": "nesterov", "l1": 0.0, "ema": None}),
    ("csr", {"optimizer": "sgd", "momentum_kind": "ema", "l1": 0.02, "ema": None}),
    ("floats", {"optimizer": "adam", "momentum_kind": "none", "l1": 0.0, "ema": None}),
    ("background", {"optimizer": "adagrad", "momentum_kind": "none", "l1": 0.02, "ema": 0.9}),
    ("uint8", {"optimizer": "sgd", "momentum_kind": "heavy_ball", "l1": 0.0, "ema": None}),
]  # fmt: skip


def kinds_of_both(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    return draw(st.sampled_from(["uint8", "floats", "background", "csr"])), {
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "momentum_kind": draw(st.sampled_from(["none", "ema", "heavy_ball", "nesterov"])),
        "l1": draw(st.sampled_from([0.0, 0.02])),
        "ema": draw(st.sampled_from([None, 0.9])),
    }


@st.composite
def combinations(draw: st.DrawFn, few: bool) -> Combination:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    layers = [draw(st.integers(1, 40)), *draw(st.lists(st.integers(1, 9), max_size=3)), draw(st.integers(1, 4))]
    n, loss = draw(st.sampled_from([1, 3, 13, 64, 300])), draw(st.sampled_from(sorted(LOSSES)))
    kind, rule = draw(st.sampled_from(FEW)) if few else kinds_of_both(draw)
    seen = rng.random((n, layers[0])) < 0.4
    X = rng.standard_normal(seen.shape) * seen + (0.3 if kind == "background" else 0)
    X = rng.integers(0, 256, seen.shape, np.uint8) * seen if kind == "uint8" else csr_array(X) if kind == "csr" else X
    y = {"softmax_ce": rng.dirichlet(np.ones(layers[-1]), n), "poisson": rng.poisson(1.0, (n, layers[-1])).astype(float)}
    hidden = layers[1:-1]
    network = Network(
        layers,
        [draw(st.sampled_from(sorted(FUNCTIONS))) for _ in hidden],
        loss,
        draw(st.sampled_from(sorted(FUNCTIONS))) if loss in FLOATS else "identity",
        weights=[rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in pairwise(layers)],
        biases=[rng.standard_normal(size) / 2 for size in layers[1:]],
        dtype="float64",
        huber_delta=draw(st.sampled_from([0.3, 1.0])) if loss == "huber" else 1.0,
    )
    rates = st.sampled_from([0.0, 0.0, 0.25, 0.6])
    settings = {
        "hidden": tuple(hidden),
        "huber_delta": network.huber_delta,
        **rule,
        "epsilon": 0.1,
        "weight_decay": draw(st.sampled_from([0.0, 0.03])),
        "clip_norm": draw(st.sampled_from([None, None, 0.1, 100.0])),
        "bias_rate": draw(st.sampled_from([1.0, 0.5])),
        "dropout": tuple(draw(rates) for _ in hidden),
        "input_dropout": draw(rates),
        "grad_reduction": draw(st.sampled_from(["mean", "sum"])),
    }
    batch_size = draw(st.sampled_from([1, 5, 64, 270, n]))
    weights = rng.random(n) + 0.1 if draw(st.booleans()) else None
    return Combination(network, X, y.get(loss, rng.random((n, layers[-1]))), batch_size, rng.permutation(n), weights, settings)


def drawn(test: Any) -> Any:
    """A test of combinations out of few, and of all there are."""
    test = settings(max_examples=min(200, settings().max_examples))(given(data=st.data())(test))
    return pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])(test)


def last_step(computation: str, c: Combination, **options: Any) -> tuple[Training, Any]:
    one = Training(computation, c.network, c.X, c.y, min(c.batch_size, len(c.order)), **options, **c.settings)
    return one, one.epoch(LR, c.order, weights=c.weights)._replace(dropout_key=KEY)


@pytest.mark.parametrize("computation", COMPUTATIONS)
@drawn
def test_the_gradient_is_that_of_the_loss(computation: str, few: bool, data: st.DataObject) -> None:
    """In random directions, whose difference of losses the gradient must tell; and the losses of the samples are right."""
    c, seed = data.draw(combinations(few)), data.draw(st.integers(0, 100))
    one, epoch = last_step(computation, c, keeps_gradient=True)
    parameters, f, s = [*c.network.weights, *c.network.biases], c.function(), one.steps - 1
    views = one.trainer.views(one.trainer.gradient(epoch, s).copy())
    gradient, x, y = [*views["weights"], *views["biases"]], c.dense[c.rows], c.y[c.rows]
    np.testing.assert_allclose(one.losses[-len(c.rows) :], f.losses(parameters, x, y), rtol=1e-10, atol=1e-12)
    rng, h = np.random.default_rng(seed), 1e-6
    size = np.sqrt(sum((g**2).sum() for g in gradient))
    for _ in range(3):
        direction = [rng.standard_normal(p.shape) for p in parameters]
        length = np.sqrt(sum((d**2).sum() for d in direction))
        above, below = (
            f.value([p + sign * h / length * d for p, d in zip(parameters, direction, strict=True)], x, y) for sign in (1, -1)
        )
        expected = (above - below) / (2 * h)
        found = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)) / length
        assert abs(found - expected) < 1e-6 * max(size, 1e-2) + 1e-15 * abs(above) / h, (found, expected)
    one.trainer.close()


def updated(c: Combination, gradient: Arrays, parameters: Arrays) -> Arrays:
    """Parameters after a first step along this gradient, as the sources of the optimisers have it."""
    s, moved = c.settings, []
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    short = 1.0 if s["clip_norm"] is None else min(1.0, s["clip_norm"] / (norm + 1e-6))
    for p, g in zip(parameters, gradient, strict=True):
        is_weight, lr = p.ndim == 2, LR * (1 if p.ndim == 2 else s["bias_rate"])
        g = g * short + (s["l1"] * np.sign(p) if is_weight else 0)
        decay = s["weight_decay"] if is_weight else 0.0
        if s["optimizer"] == "adamw":
            p = p - lr * decay * p
        else:
            g = g + decay * p
        match s["optimizer"]:
            case "sgd":
                p = p - lr * {"none": 1, "ema": 0.1, "heavy_ball": 1, "nesterov": 1.9}[s["momentum_kind"]] * g
            case "adam" | "adamw":
                p = p - lr * g / (abs(g) + 0.1)
            case "rmsprop":
                p = p - lr * g / (np.sqrt(0.01 * g**2) + 0.1)
            case "adagrad":
                p = p - lr * g / (abs(g) + 0.1)
        moved.append(p)
    return moved


@pytest.mark.parametrize("computation", COMPUTATIONS)
@drawn
def test_a_step_is_the_update_along_the_gradient(computation: str, few: bool, data: st.DataObject) -> None:
    """The last step of an epoch alone, from the start: against the sources' formulas along the gradient that is kept."""
    c = data.draw(combinations(few))
    kept, epoch = last_step(computation, replace(c, settings={**c.settings, "clip_norm": None}), keeps_gradient=True)
    s, start = kept.steps - 1, [*c.network.weights, *c.network.biases]
    views = kept.trainer.views(kept.trainer.gradient(epoch, s).copy())
    expected = updated(c, [*views["weights"], *views["biases"]], start)
    state = None if c.settings["ema"] is None else {"average": start}
    one, epoch = last_step(computation, c, kept=state)
    rules = one.plan.optimizer.rules(np.array([LR])).repeat(one.steps, axis=0)  # each is a first step
    one.trainer.run(epoch._replace(rules=rules), s, one.steps)
    found = one.trainer.state()
    for p, q in zip([*found["weights"], *found["biases"]], expected, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-12 * max(1, abs(q).max(initial=0)))
    for a, p, q in zip(found.get("average", ()), start, expected, strict=False):  # 0.9 of the way after the first step
        np.testing.assert_allclose(a, p + 0.9 * (q - p), rtol=1e-9, atol=1e-12 * max(1, abs(q).max(initial=0)))
    for each in (kept, one):
        each.trainer.close()


@drawn
def test_either_computation_takes_the_same_steps(few: bool, data: st.DataObject) -> None:
    """To 1e-12 of the largest parameter after the first step, and to 1e-8 after two epochs of them."""
    c = replace(data.draw(combinations(few)), batch_size=data.draw(st.sampled_from([7, 150, 300])))
    theirs, epoch = last_step("numpy", c)
    for computation in COMPUTATIONS:
        ours, _ = last_step(computation, c, threads=2)
        reference, _ = last_step("numpy", c)
        for start, stop, tolerance in ((0, 1, 1e-12), (1, ours.steps, 1e-8), (0, ours.steps, 1e-8)):
            for one in (ours, reference):
                one.trainer.run(epoch._replace(losses=one.losses), start, stop)
            for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))
        ours.trainer.close()
    theirs.trainer.close()


def test_the_kinds_of_input_are_told_apart() -> None:
    """The strategy's "background" is one that the fused backend takes off."""
    assert background_of(np.where(np.random.default_rng(0).random((50, 20)) < 0.4, 1.7, 0.3)) == 0.3
