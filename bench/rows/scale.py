"""Rows 41 to 46: the right number of threads, and what becomes of it when others take the cores."""

from __future__ import annotations

from dataclasses import replace

from bench.rows.entries import fastfc, jax, one_thread, torch
from bench.rows.kernels import MIDDLE, MNIST_EPOCHS, NORMAL_EPOCHS, STANDARDISED, WIDE
from bench.workloads import Claim, Entry, Row, Workload

TINY = replace(MNIST_EPOCHS, layers=(784, 16, 10))
IRIS = Workload((4, 100, 3), "iris", 150, epochs=200)
LONG = replace(MNIST_EPOCHS, epochs=5)  # long enough for neighbours to come and go
SHORT = replace(MNIST_EPOCHS, epochs=3)
SMALL = replace(SHORT, rows=12_800)  # for who is slow, and has half of the cores
auto = Entry("fastfc", variant="auto")
two = replace(fastfc, name="fastfc, 2 threads")
one = one_thread(fastfc)
FIXED = (two.name, one.name)
MANY = {4: 1.15, 8: 1.25, 16: 1.5, 32: 2.0}  # threads on two cores, and how much longer they may take than two


def beside(condition: str, *entries: Entry) -> tuple[Entry, ...]:
    return tuple(replace(entry, beside=condition) for entry in entries)


def alone(entry: Entry) -> Entry:
    return replace(entry, name=f"{entry.name}, alone", beside="")


ROWS = (
    *(
        Row(f"41{letter}", f"threads=None against fixed numbers, row {number}'s epoch", workload, (auto, two, one),
            (Claim("within", 1.03, FIXED),))
        for letter, number, workload in (
            ("a", "1", LONG), ("b", "3", NORMAL_EPOCHS), ("c", "4", STANDARDISED), ("d", "5a", MIDDLE), ("e", "5b", WIDE)
        )
    ),
    Row("41f", "the same, 784-16-10", TINY, (auto, two, one), (Claim("within", 1.03, (one.name,)),)),
    Row("41g", "the same, iris, 200 epochs", IRIS, (auto, two, one), (Claim("within", 1.03, (one.name,)),)),
    Row(
        "42", "more threads than cores: 4, 8, 16, 32 on two cores, row 1's epoch", SHORT,
        (two, *(replace(fastfc, name=f"fastfc, {n} threads", variant=f"threads {n}") for n in MANY)),
        tuple(Claim("within", limit, (two.name,), f"fastfc, {n} threads") for n, limit in MANY.items()),
    ),
    Row(
        "43", "cores taken away 70 % of the time, in turns of 50 to 500 ms, row 1's epoch", LONG,
        beside("gaps", auto, two, one, jax),
        (Claim("within", 1.15, FIXED), Claim("faster", 2.5, ("JAX",))),
    ),
    Row(
        "44a", "two trainings at once, row 1's epoch", LONG,
        (*beside("twin", auto), alone(auto)),
        (Claim("within", 2 / 0.9, ("fastfc, alone",)),),
    ),
    Row(
        "44b", "beside processes that keep both cores busy, 12,800 samples of row 1", SMALL,
        (*beside("busy", auto, jax, torch), alone(auto)),
        (Claim("within", 2 / 0.9, ("fastfc, alone",)), Claim("faster", 2.5, ("JAX",)), Claim("faster", 2.5, ("PyTorch",))),
    ),
    Row(
        "45a", "a quota of one CPU, row 1's epoch", SHORT,
        (*beside("quota 1.0", auto), one), (Claim("within", 1 / 0.9, (one.name,)),),
    ),
    Row(
        "45b", "a quota of half a CPU, row 1's epoch", SHORT,
        (*beside("quota 0.5", auto), one), (Claim("within", 2 / 0.9, (one.name,)),),
    ),
    Row(
        "46", "CPU time a second that waiting threads use while a callback runs, row 1's network", MNIST_EPOCHS,
        (replace(fastfc, variant="idle"),), (Claim("seconds", 0.01),),
    ),
)  # fmt: skip
