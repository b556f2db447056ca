"""Memory and threads: flat over many predictions and trainings, and no copy of the data."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.promises import Cases
from tests.small import BACKENDS, python

pytestmark = [pytest.mark.promise(12), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

# Prints by how many KiB the process and by how many threads it grew over the second half of its calls.
GROWTH = """
import gc, os, sys, threading
import numpy as np
import fastfc
from tests.small import BUSY, blobs

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024

X, y = blobs(1500)
backend, predictions, trainings = {!r}, {}, {}
data = X[:192], y[:192]

def train(seed):
    return fastfc.train(data, data, backend=backend, threads=1 + (backend == "numba"), seed=seed, **BUSY).model

def predict():
    network.predict(X[:1]), network.predict_proba(X[:1])

def many():
    network.predict(X), network.score(X, y)

network = train(0)
print(resident() - resident(), end=" ")
for call, times in ((predict, predictions), (many, predictions // 40), (lambda: train(1), trainings)):
    for _ in range(times // 2):
        call()
    before = resident(), threading.active_count()
    for _ in range(times - times // 2):
        call()
    print(resident() - before[0], threading.active_count() - before[1], end=" ")
print(resident())
"""


@pytest.mark.parametrize("backend", ["numba", pytest.param("numpy", marks=pytest.mark.slow)])
def test_memory_stays_flat(backend: str, cases: Cases) -> None:
    """What is counted is the second half of the calls."""
    predictions, trainings = cases(2000, 100_000), cases(10, 100)
    code = GROWTH.format(backend, 2 * predictions, 2 * trainings)
    still, *rest, size = [int(word) for word in python(code, timeout=900).split()]
    grown, threads = rest[::2], rest[1::2]
    cases.figure("memory grown (%, promised 1)", 100 * max(grown) / size)
    assert still == 0 and threads == [0, 0, 0] and max(grown) <= size / 100


# Prints the MiB by which the largest size of the process rose.
PEAK = """
import resource, sys
import numpy as np
import fastfc
rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (60_000, 784), dtype=np.uint8), rng.integers(0, 10, 60_000)
X[rng.random(60_000) < 0.8] = 0
test = X[:10_000], y[:10_000]

def train(n, **options):
    return fastfc.train((X[:n], y[:n]), test, backend={!r}, threads=1, hidden=(8,), epochs=1, **options)

train(500).model.predict(X[:500])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train(60_000, augment=None).model.predict(X)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_uint8_images_are_not_copied(backend: str) -> None:
    """47 MB of them, which as float32 would be 188 MB: labels, order, losses and outputs take a few."""
    assert float(python(PEAK.format(backend))) < 30


# Prints by how many MiB the process's own memory rose at most, seen every 2 ms: pages of a file that are only read are not its own.
FROM_FILE = """
import sys, threading, time
import numpy as np
import fastfc

def own():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("Private_Dirty", "Swap:"))) / 1024

def watch():
    while not is_over.wait(0.002):
        seen.append(own())

X = np.load({!r}, mmap_mode="r")
y, more = np.arange(len(X)) % 3, {}
options = dict(backend={!r}, hidden=(8,), epochs=2, batch_size=256, threads=1)
fastfc.train((X[:600], y[:600]), validation=0.1, **options).model.predict(X[:600])
options |= more
seen, is_over = [own()], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
result = fastfc.train((X, y), (X[:2000], y[:2000]), **options)
result.model.score(X[:5000], y[:5000])
is_over.set()
watcher.join()
print(max(seen) - seen[0])
"""


def file_of(path: Path, dtype: str, shape: tuple[int, ...]) -> str:
    """An .npy of mostly zeros, which take no room on the disk."""
    X = np.lib.format.open_memmap(path, "w+", dtype, shape)
    X[:: max(1, len(X) // 2000)] = np.random.default_rng(0).integers(0, 255, shape[1:])
    X.flush()
    return str(path)


@pytest.mark.parametrize(
    ("dtype", "backend"),
    [
        ("uint8", "numba"), ("float32", "numpy"),
        *(pytest.param(*both, marks=pytest.mark.slow) for both in (("uint8", "numpy"), ("float32", "numba"))),
    ],
)  # fmt: skip
def test_a_file_is_not_copied(tmp_path: Path, dtype: str, backend: str) -> None:
    """90 MB of images; beside them labels, order and losses of each sample, and a share for validation that is copied."""
    if (dtype, backend) == ("float32", "numba"):
        options = "dict(input_kernel='dense')"  # the sparse kernel has codes of its own
    else:
        options = "dict(validation=0.05, sample_weight=np.ones(len(X)))"
    n = 120_000 if dtype == "uint8" else 30_000
    path = file_of(tmp_path / "X.npy", dtype, (n, 28, 28))
    assert float(python(FROM_FILE.format(path, options, backend))) < 35


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_file_several_times_the_memory_of_a_training(tmp_path: Path, dtype: str, backend: str) -> None:
    """2 GB, with a tenth for validation and a checkpoint, in 400 MB and the model, which is small."""
    n = 2_600_000 if dtype == "uint8" else 650_000
    path = file_of(tmp_path / "X.npy", dtype, (n, 784))
    options = f"dict(validation=0.1, checkpoint={str(tmp_path / 'state')!r}, input_kernel='auto')"
    assert float(python(FROM_FILE.format(path, options, backend), timeout=3600)) < 400
