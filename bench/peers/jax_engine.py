"""JAX: the whole epoch is one compiled call, a `lax.scan` over the batches. The worker's CPU set limits the threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.peers.job import Job
from bench.workloads import Workload

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "identity": lambda z: z}


def forward(params: Any, x: Any, w: Workload) -> Any:
    for W, b in params[:-1]:
        x = ACTIVATIONS[w.activation](x @ W + b)
    W, b = params[-1]
    return ACTIVATIONS[w.output_activation](x @ W + b)


def loss_of(params: Any, x: Any, y: Any, w: Workload) -> tuple[Any, Any]:
    """The loss with the penalty, which is differentiated, and without it, which is reported."""
    out = forward(params, x, w)
    if w.loss == "mse":
        loss = jnp.mean((out - y) ** 2)
    else:
        loss = jnp.mean(jax.nn.logsumexp(out, 1) - jnp.take_along_axis(out, y[:, None], 1)[:, 0])
    return loss + 0.5 * w.weight_decay * sum(jnp.sum(W * W) for W, _ in params), loss


def step(state: Any, x: Any, y: Any, w: Workload) -> tuple[Any, Any]:
    params, kept = state
    gradient, loss = jax.grad(loss_of, has_aux=True)(params, x, y, w)
    if w.optimizer == "adam":
        gradient, kept = adam(gradient, *kept)
    elif w.momentum:
        kept = jax.tree.map(lambda v, g: w.momentum * v + g, kept, gradient)
        gradient = jax.tree.map(lambda v, g: g + w.momentum * v, kept, gradient)
    return (jax.tree.map(lambda p, g: p - w.lr * g, params, gradient), kept), loss


def adam(gradient: Any, mean: Any, square: Any, t: Any) -> tuple[Any, Any]:
    """The direction of the step, and the averages and the count of steps that go on (Kingma and Ba 2015)."""
    t = t + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
    square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradient)
    root = 1 / jnp.sqrt(1 - 0.999**t)
    return jax.tree.map(lambda m, v: m / (1 - 0.9**t) / (root * jnp.sqrt(v) + 1e-8), mean, square), (mean, square, t)


def kept_of(params: Any, w: Workload) -> Any:
    """What the optimiser starts with."""
    zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    if w.optimizer == "adam":
        return zeros(), zeros(), jnp.zeros((), params[0][0].dtype)
    return zeros() if w.momentum else ()


def epoch(state: Any, X: Any, y: Any, order: Any, w: Workload) -> tuple[Any, Any]:
    """One pass; the last, smaller batch is trained on as well. Returns the state and the mean loss."""
    if w.batch is None:
        return step(state, X, y, w)
    steps, rest = divmod(w.rows, w.batch)
    state, losses = jax.lax.scan(
        lambda s, i: step(s, X[i], y[i], w), state, order[: steps * w.batch].reshape(steps, w.batch)
    )
    total = jnp.sum(losses) * w.batch
    if rest:
        i = order[steps * w.batch :]
        state, loss = step(state, X[i], y[i], w)
        total += loss * rest
    return state, total / w.rows


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    if job.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    w, (X, y) = job.workload, job.inputs()
    start = [(jnp.asarray(W), jnp.asarray(b)) for W, b in zip(*job.parameters(), strict=True)]
    if w.task == "predict":
        return predictor(start, X, w)
    data = jnp.asarray(X), jnp.asarray(y)
    kept = kept_of(start, w)
    train = jax.jit(lambda state, X, y, order: epoch(state, X, y, order, w), donate_argnums=0)

    def run() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        state = jax.block_until_ready(jax.tree.map(jnp.array, (start, kept)))  # copies: the call consumes them
        begin = time.perf_counter()
        for _ in range(w.epochs):
            state, loss = train(state, *data, rng.permutation(w.rows))
        jax.block_until_ready((state, loss))
        return {"seconds": (time.perf_counter() - begin) / w.epochs, "loss": float(loss)}

    return run


def predictor(params: Any, X: np.ndarray, w: Workload) -> Callable[[], dict[str, Any]]:
    predict = jax.jit(lambda x: jnp.argmax(forward(params, x, w), 1))

    def run() -> dict[str, Any]:
        begin = time.perf_counter()
        for _ in range(w.calls):
            np.asarray(predict(X))
        return {"seconds": (time.perf_counter() - begin) / w.calls}

    return run
