"""Rows 13 to 19 and 30: what training can do beyond gradient descent, against the same without it, and against others."""

from __future__ import annotations

from dataclasses import replace

from bench.rows.entries import compiled, fastfc, jax, other, sklearn, torch, two_ranks
from bench.rows.kernels import MIDDLE, MNIST, MNIST_EPOCHS, WIDE
from bench.workloads import Claim, Row, Workload

ADAM = replace(MNIST_EPOCHS, optimizer="adam", lr=1e-3)
TRAINED_ON = replace(MNIST, task="call", rows=54_000, epochs=5)
LBFGS = Workload((784, 100, 10), rows=10_000, batch=None, task="call", optimizer="lbfgs", epochs=20)

ROWS = (
    Row(
        "13", "Adam, row 1's epoch", ADAM,
        (fastfc, other("Nesterov", MNIST_EPOCHS), jax, torch, sklearn),
        (Claim("within", 1.35, ("fastfc, Nesterov",)), Claim("faster", 2.5, ("JAX",)),
         Claim("faster", 5, ("PyTorch",)), Claim("faster", 6, ("scikit-learn",))),
    ),
    Row(
        "14", "Adam, 784-1024-1024-10, batch 128, dense input", replace(MIDDLE, optimizer="adam", lr=1e-4),
        (fastfc, other("Nesterov", MIDDLE), jax, torch, compiled, sklearn),
        (Claim("within", 1.15, ("fastfc, Nesterov",)),
         Claim("faster", 1, ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn"))),
    ),
    Row(
        "15", "dropout of 0.2 of the input, 0.5 of the hidden layers, row 1's epoch",
        replace(MNIST_EPOCHS, dropout=(0.2, 0.5)),
        (fastfc, other("nothing dropped", MNIST_EPOCHS)),
        (Claim("within", 1.15, ("fastfc, nothing dropped",)),),
    ),
    Row(
        "16", "sample weights, row 1's epoch", replace(MNIST_EPOCHS, weighted=True),
        (fastfc, other("unweighted", MNIST_EPOCHS)),
        (Claim("within", 1.02, ("fastfc, unweighted",)),),
    ),
    Row(
        "17", "gelu, silu and mish instead of relu, row 1's epoch", MNIST_EPOCHS,
        (fastfc, *(other(name, replace(MNIST_EPOCHS, activation=name)) for name in ("gelu", "silu", "mish"))),
        tuple(Claim("within", 1.25, ("fastfc",), f"fastfc, {name}") for name in ("gelu", "silu", "mish")),
    ),
    Row(
        "18", "10 % for validation each epoch, whole call of 5 epochs, row 1's network",
        replace(TRAINED_ON, rows=60_000, validation=0.1),
        (fastfc, other("the other 90 %", TRAINED_ON)),
        (Claim("within", 1.1, ("fastfc, the other 90 %",)),),
    ),
    Row(
        "19", "lbfgs, 20 iterations on 10,000 rows, 784-100-10, whole call", LBFGS,
        (fastfc, sklearn),
        (Claim("faster", 3, ("scikit-learn",)),),
    ),
    Row(
        # At most 1.25 times as long is an efficiency of at least 0.8.
        "30", "row 5b in 2 processes of one thread, by MPI, against one of two", replace(WIDE, epochs=3),
        (fastfc, two_ranks),
        (Claim("within", 1.25, ("fastfc",), two_ranks.name),),
    ),
)  # fmt: skip
