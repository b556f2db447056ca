"""Rows 1 to 12: stochastic gradient descent, prediction, start-up, memory, growth."""

from __future__ import annotations

from dataclasses import replace

from bench.rows.entries import (
    by_hand,
    compiled,
    fastfc,
    fastfc_avx2,
    jax,
    numpy32,
    numpy64,
    numpy_wide,
    one_thread,
    sklearn,
    sklearn_csr,
    torch,
)
from bench.workloads import Claim, Row, Workload

MNIST = Workload()
MNIST_EPOCHS = replace(MNIST, epochs=3)  # the first after a pause is a little slower than the others
NORMAL = replace(MNIST, data="normal", lr=0.01)
NORMAL_EPOCHS = replace(NORMAL, epochs=3)
STANDARDISED = replace(MNIST_EPOCHS, data="standardised")
MIDDLE = Workload((784, 1024, 1024, 10), data="normal", rows=12_800, lr=0.01)
WIDE = Workload((784, 2048, 2048, 10), data="normal", rows=5_120, batch=256, lr=0.01)
SAMPLEWISE = Workload((784, 100, 50, 10), rows=2_000, batch=1, activation="tanh", output_activation="tanh", loss="mse",
                      lr=0.1, momentum=0.0)  # fmt: skip
FULL_BATCH = replace(MNIST, batch=None, lr=0.01, momentum=0.0, weight_decay=1e-3, shuffle=False, epochs=2)
PREDICT_ONE = replace(MNIST, data="one image", rows=1, task="predict", calls=2_000)
PREDICT_TEST = replace(MNIST, data="test images", rows=10_000, task="predict", calls=5)
ROWS = (
    Row(
        "1", "MNIST epoch, 784-200-50-10, batch 128, Nesterov, shuffled", MNIST_EPOCHS,
        (fastfc, jax, torch, compiled, sklearn, sklearn_csr, numpy32, numpy_wide, numpy64, fastfc_avx2),
        (Claim("floor", 0.5), Claim("faster", 3.5, ("JAX",)), Claim("faster", 5, ("PyTorch",)),
         Claim("faster", 5, ("scikit-learn",)), Claim("faster", 10, ("numpy float64",))),
    ),
    Row(
        "2", "the same on 1 thread", MNIST_EPOCHS,
        (one_thread(fastfc), fastfc, one_thread(jax), one_thread(torch), one_thread(sklearn), one_thread(numpy32)),
        (Claim("floor", 0.5, entry="fastfc, 1 thread"), Claim("faster", 1.8, ("fastfc, 1 thread",))),
    ),
    Row(
        "3", "the same shapes, dense input (standard normal)", NORMAL_EPOCHS,
        (fastfc, jax, torch, compiled, sklearn, numpy32, numpy_wide, numpy64),
        (Claim("floor", 1.25), Claim("faster", 1.4, ("JAX",))),
    ),
    Row(
        "4", "standardised MNIST, against row 1 with the same epoch", STANDARDISED,
        (fastfc, replace(fastfc, name="fastfc, MNIST as it is", workload=MNIST_EPOCHS), jax),
        (Claim("within", 1.15, ("fastfc, MNIST as it is",)),),
    ),
    Row(
        "5a", "784-1024-1024-10, batch 128, dense input", MIDDLE,
        (fastfc, jax, torch, compiled, sklearn, numpy32, numpy_wide),
        (Claim("peak", 0.85), Claim("faster", 1, ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn"))),
    ),
    Row(
        "5b", "784-2048-2048-10, batch 256, dense input", WIDE,
        (fastfc, jax, torch, compiled, sklearn, numpy32, numpy_wide),
        (Claim("peak", 0.90), Claim("faster", 1, ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn"))),
    ),
    Row(
        # Two threads may not help the others here: the claims are against the better of one and two.
        "6", "per-sample SGD, 784-100-50-10, tanh, MSE, 2,000 steps", SAMPLEWISE,
        (fastfc, jax, one_thread(jax), one_thread(torch), numpy32, one_thread(numpy32), numpy64),
        (Claim("faster", 4, ("JAX", "JAX, 1 thread")), Claim("faster", 40, ("numpy float32", "numpy float32, 1 thread"))),
    ),
    Row(
        "7", "full-batch gradient descent, 60,000 rows a step", FULL_BATCH,
        (fastfc, jax, torch, numpy32, numpy64),
        (Claim("faster", 3, ("JAX",)),),
    ),
    Row(
        "8a", "predict one sample from Python", PREDICT_ONE,
        (fastfc, replace(fastfc, name="fastfc, uint8", variant="uint8"), by_hand, jax, torch, sklearn),
        (Claim("seconds", 5e-6), Claim("faster", 2, ("NumPy by hand",))),
    ),
    Row(
        "8b", "predict 10,000 test images", PREDICT_TEST,
        (fastfc, by_hand, jax, torch, sklearn),
        (Claim("faster", 3, ("PyTorch",)),),
    ),
    Row(
        "9", "time to test accuracy on MNIST, training only, 5 seeds", MNIST, (),
        (Claim("scaled", 0.25, entry="97.06 %"), Claim("scaled", 0.5, entry="98.0 %"),
         Claim("scaled", 2.5, entry="99.0 %")),
        kind="recipes",
    ),
    Row(
        "10", "start-up: to the end of the first epoch of MNIST", MNIST, (),
        (Claim("seconds", 6, entry="empty kernel cache"), Claim("seconds", 0.35, entry="warm"),
         Claim("seconds", 0.2, entry="warm, to one label"), Claim("seconds", 0.5, entry="from a wheel"),
         Claim("seconds", 0.01, entry="import fastfc")),
        kind="startup",
    ),
    Row(
        "11", "peak memory of training MNIST from uint8", MNIST, (),
        (Claim("megabytes", 200, entry="warm"), Claim("megabytes", 400, entry="compiling"),
         Claim("megabytes", 10, entry="files of kernels")),
        kind="memory",
    ),
    Row("12", "growth in rows, width, batch and density", MNIST, (fastfc, numpy32), kind="growth"),
)  # fmt: skip

# Row 9: recipe, and the test accuracy that every seed has to reach.
RECIPES = {"97.06 %": ("fast-97", 0.9706), "98.0 %": ("fast-98", 0.98), "99.0 %": ("fast-99", 0.99)}

# Row 12: one option varies, the others are row 1's (the widths: 784-h-h-10).
GROWTH_ROWS = (6_000, 60_000, 600_000)
GROWTH_HIDDEN = (50, 200, 512, 1024, 2048, 4096)
GROWTH_BATCH = (1, 8, 32, 128, 512, 2048, 8192)
GROWTH_DENSITY = (0.02, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
