"""Against PyTorch: gradients by its autograd, steps by torch.optim. `make test-peers` runs this in the peers' environment.

fastfc decays weights only, not biases, and takes rates by layer: torch.optim is given its parameters in groups that say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.kernels import plan

torch: Any = pytest.importorskip("torch", reason="needs PyTorch (make test-peers)")
F: Any = torch.nn.functional

pytestmark = pytest.mark.peer

BACKENDS = ("numpy", "numba")
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
}
LOSSES: dict[str, Callable[..., Any]] = {  # of what the last layer gives, and targets, both (batch, outputs), for each output
    "softmax_ce": lambda z, t, delta: F.cross_entropy(z, t, reduction="none")[:, None],
    "sigmoid_bce": lambda z, t, delta: F.binary_cross_entropy_with_logits(z, t, reduction="none"),
    "mse": lambda y, t, delta: F.mse_loss(y, t, reduction="none"),
    "mae": lambda y, t, delta: F.l1_loss(y, t, reduction="none"),
    "huber": lambda y, t, delta: F.huber_loss(y, t, reduction="none", delta=delta),
    "poisson": lambda z, t, delta: F.poisson_nll_loss(z, t, reduction="none"),
}
SUMMED = ("softmax_ce", "sigmoid_bce")  # over the outputs, where the others are means
OWN_OUTPUT = ("softmax_ce", "sigmoid_bce", "poisson")
OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {  # fastfc's settings, and torch's of (groups, lr)
    "gradient descent": ({"optimizer": "sgd", "momentum_kind": "none"}, torch.optim.SGD),
    "heavy ball": (
        {"optimizer": "sgd", "momentum_kind": "heavy_ball", "momentum": 0.8},
        partial(torch.optim.SGD, momentum=0.8),
    ),
    "nesterov": (
        {"optimizer": "sgd", "momentum_kind": "nesterov", "momentum": 0.9},
        partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    ),
    "adam": ({"optimizer": "adam", "betas": (0.85, 0.99)}, partial(torch.optim.Adam, betas=(0.85, 0.99))),
    "adamw": ({"optimizer": "adamw", "epsilon": 1e-6}, partial(torch.optim.AdamW, eps=1e-6)),
    "rmsprop": ({"optimizer": "rmsprop", "rho": 0.95}, partial(torch.optim.RMSprop, alpha=0.95)),
    "adagrad": ({"optimizer": "adagrad"}, partial(torch.optim.Adagrad, eps=1e-8)),
}
RATES = {"gradient descent": 0.1, "heavy ball": 0.05, "nesterov": 0.05, "rmsprop": 0.003, "adagrad": 0.02}


@dataclass(frozen=True)
class Problem:
    """A network with all its parameters random, and data: X (n, features), and y as fastfc takes it.

    targets  (n, outputs) of each output
    """

    network: fastfc.Network
    X: np.ndarray
    y: np.ndarray
    targets: np.ndarray

    def losses(self, parameters: Sequence[Any], rows: slice, smoothing: float = 0.0) -> Any:
        """(batch,) by PyTorch; parameters are weights and biases in turn."""
        network, x = self.network, torch.from_numpy(self.X[rows])
        for i, name in enumerate((*network.activations, network.output_activation)):
            x = ACTIVATIONS[name](x @ parameters[2 * i] + parameters[2 * i + 1])
        target = torch.from_numpy(self.targets[rows])
        spread = 2 if network.loss == "sigmoid_bce" else target.shape[1]
        each = LOSSES[network.loss](x, (1 - smoothing) * target + smoothing / spread, network.huber_delta)
        return each.sum(1) if network.loss in SUMMED else each.mean(1)

    def parameters(self) -> list[Any]:
        arrays = [a for pair in zip(self.network.weights, self.network.biases, strict=True) for a in pair]
        return [torch.tensor(array, requires_grad=True) for array in arrays]


def problem(seed: int, loss: str, activations: Sequence[str], output: str = "identity", classes: bool = False) -> Problem:
    """classes: labels for targets, which the cross-entropies have always."""
    rng = np.random.default_rng(seed)
    n, outputs = int(rng.integers(40, 80)), int(rng.integers(2, 7))
    layers = (int(rng.integers(3, 40)), *(int(rng.integers(3, 40)) for _ in activations), outputs)
    X = rng.standard_normal((n, layers[0]))
    X[rng.random(X.shape) < rng.choice([0.0, 0.8])] = 0
    if classes or loss in SUMMED:
        y = rng.integers(0, outputs, n)
        y[:outputs] = np.arange(outputs)
        targets = np.eye(outputs)[y]
    else:
        y = targets = rng.poisson(2.0, (n, outputs)).astype(float) if loss == "poisson" else rng.standard_normal((n, outputs))
    network = fastfc.Network(
        layers, activations, loss, output, dtype="float64", huber_delta=0.7 if loss == "huber" else 1.0,
        weights=[rng.normal(0, 1 / np.sqrt(a), (a, b)) for a, b in pairwise(layers)],
        biases=[0.1 * rng.standard_normal(b) for b in layers[1:]], regression=False if classes else None,
    )  # fmt: skip
    return Problem(network, X, y, targets)


def trained(task: Problem, backend: str, epochs: int, **settings: Any) -> fastfc.TrainResult:
    return fastfc.train(
        (task.X, task.y), network=task.network, backend=backend, epochs=epochs, shuffle=False, schedule="constant", **settings
    )


def by_torch(
    task: Problem,
    make: Callable[..., Any],
    epochs: int,
    batch: int,
    lr: float,
    decay: float = 0.0,
    layer_rates: Sequence[float] = (),
    bias_rate: float = 1.0,
    clip: float | None = None,
    smoothing: float = 0.0,
    weights: np.ndarray | None = None,
) -> tuple[list[Any], list[float]]:
    """The parameters after training, and the mean loss of each epoch as its steps found it."""
    parameters, n = task.parameters(), len(task.X)
    factors = layer_rates or [1.0] * (len(parameters) // 2)
    groups = [{"params": [p], "lr": lr * f, "weight_decay": decay} for p, f in zip(parameters[::2], factors, strict=True)]
    groups += [
        {"params": [p], "lr": lr * f * bias_rate, "weight_decay": 0.0}
        for p, f in zip(parameters[1::2], factors, strict=True)
    ]
    optimizer, importance = make(groups, lr=lr), torch.from_numpy(np.ones(n) if weights is None else weights)
    found = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, n, batch):
            rows = slice(start, start + batch)
            optimizer.zero_grad()
            summed = task.losses(parameters, rows, smoothing) @ importance[rows]
            (summed / importance[rows].sum()).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            total += float(summed.detach())
        found.append(total / float(importance.sum()))
    return parameters, found


def assert_same(result: fastfc.TrainResult, parameters: Sequence[Any], losses: Sequence[float], tolerance: float) -> None:
    for i, (mine, theirs) in enumerate(
        zip(result.model.weights + result.model.biases, [*parameters[::2], *parameters[1::2]], strict=True)
    ):
        np.testing.assert_allclose(
            mine, theirs.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=f"array {i} of weights, then biases"
        )
    np.testing.assert_allclose([record.loss for record in result.history], losses, rtol=tolerance)


def test_nothing_is_left_out() -> None:
    assert (tuple(ACTIVATIONS), tuple(LOSSES)) == (plan.ACTIVATIONS, plan.LOSSES)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_autograd(activation: str, loss: str, backend: str) -> None:
    """By one step of all samples at the rate 1: two hidden layers, and the output where the loss leaves it open."""
    output = "identity" if loss in OWN_OUTPUT else activation
    seed = list(ACTIVATIONS).index(activation) * len(LOSSES) + list(LOSSES).index(loss)
    task = problem(seed, loss, (activation, activation), output)
    result = trained(task, backend, 1, lr=1.0, optimizer="sgd", momentum_kind="none", weight_decay=0.0, batch_size=None)
    parameters = task.parameters()
    value = task.losses(parameters, slice(None)).mean()
    value.backward()
    np.testing.assert_allclose(result.history[0].loss, value.item(), rtol=1e-12)
    for i in range(len(task.network.weights)):
        for before, after, of in (
            (task.network.weights, result.model.weights, parameters[2 * i]),
            (task.network.biases, result.model.biases, parameters[2 * i + 1]),
        ):
            np.testing.assert_allclose(before[i] - after[i], of.grad.numpy(), rtol=1e-10, atol=1e-10 * float(of.grad.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("plain", [True, False], ids=["alone", "with the rest"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_torch_optim(name: str, plain: bool, backend: str) -> None:
    """20 steps with a smaller last batch; and with decay, clipping, rates by layer, sample weights and label smoothing."""
    settings, make = OPTIMIZERS[name]
    task = problem(100 + list(OPTIMIZERS).index(name), "softmax_ce", ("tanh", "relu"))
    n, lr = len(task.X), RATES.get(name, 0.003)
    batch, epochs, rng = -(-n // 4), 5, np.random.default_rng(7)
    rest: dict[str, Any] = {"decay": 0.02, "layer_rates": (0.5, 1.0, 2.0), "bias_rate": 1.5, "clip": 0.4, "smoothing": 0.1}
    rest["weights"] = rng.uniform(0, 2, n)
    theirs: dict[str, Any] = {} if plain else rest
    mine = {} if plain else {
        "weight_decay": 0.02, "layer_rates": (0.5, 1.0, 2.0), "bias_rate": 1.5, "clip_norm": 0.4, "label_smoothing": 0.1,
        "sample_weight": rest["weights"],
    }  # fmt: skip
    result = trained(task, backend, epochs, **{"weight_decay": 0.0, **settings, **mine}, lr=lr, batch_size=batch)
    parameters, losses = by_torch(task, make, epochs, batch, lr, **theirs)
    assert_same(result, parameters, losses, 1e-9)


@pytest.mark.parametrize(
    ("seed", "backend"), [*((seed, "numpy") for seed in range(60)), *((seed, "numba") for seed in range(12))]
)
def test_random_trainings_are_those_of_torch(seed: int, backend: str) -> None:
    """Any network, loss, optimiser and options, 20 steps or so."""
    rng = np.random.default_rng(1000 + seed)
    loss, name = str(rng.choice(list(LOSSES))), str(rng.choice(list(OPTIMIZERS)))
    hidden = tuple(str(a) for a in rng.choice(list(ACTIVATIONS), int(rng.integers(0, 4))))
    output = "identity" if loss in OWN_OUTPUT else str(rng.choice(list(ACTIVATIONS)))
    classes = loss not in ("poisson", *SUMMED) and bool(rng.integers(2))
    task = problem(seed, loss, hidden, output, classes)
    n, lr, layers = len(task.X), RATES.get(name, 0.003), len(hidden) + 1
    batch, sometimes = int(rng.choice([7, 16, n])), lambda value, other: value if rng.integers(2) else other
    epochs = max(1, round(20 / -(-n // batch)))
    decay, bias_rate, clip = sometimes(0.03, 0.0), sometimes(0.5, 1.0), sometimes(0.2, None)
    layer_rates = sometimes(tuple(rng.uniform(0.5, 1.5, layers).tolist()), ())
    smoothing = sometimes(0.2, 0.0) if classes or loss in SUMMED else 0.0
    weights = sometimes(rng.uniform(0, 2, n), None)
    settings, make = OPTIMIZERS[name]
    result = trained(
        task, backend, epochs, lr=lr, batch_size=batch, weight_decay=decay, bias_rate=bias_rate, clip_norm=clip,
        layer_rates=layer_rates, label_smoothing=smoothing, sample_weight=weights, threads=int(rng.integers(1, 3)),
        input_kernel=str(rng.choice(["sparse", "dense"])), **settings,
    )  # fmt: skip
    parameters, losses = by_torch(
        task, make, epochs, batch, lr, decay, layer_rates, bias_rate, clip, smoothing, weights
    )
    assert_same(result, parameters, losses, 1e-9)
