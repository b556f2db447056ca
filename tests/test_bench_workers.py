"""The processes of the benchmarks: their data, their jobs, and what becomes of those that fail."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import against, fresh, workers
from bench.datasets import MEAN, STD, Store
from bench.peers import sklearn_estimator
from bench.peers.job import Job, load
from bench.rows.kernels import MNIST, PREDICT_ONE
from bench.workers import WorkerError
from bench.workloads import NUMPY, Entry, Workload
from fastfc.data import Dataset


def test_a_fresh_process_answers_or_says_what_went_wrong(tmp_path: Path) -> None:
    assert fresh.script("import os; print(1); print(os.environ['FASTFC_CACHE_DIR'])", cache=tmp_path) == str(tmp_path)
    assert fresh.script("import os; print(os.environ['OMP_NUM_THREADS'])", threads=1) == "1"
    with pytest.raises(RuntimeError, match=r"^ValueError: no$"):
        fresh.script("raise ValueError('no')")


def test_peak_memory_is_that_of_the_process_alone() -> None:
    """A child of a process of 300 MB needs little itself; one that takes 200 MB shows them."""
    large = np.ones(300_000_000 // 8)
    code = fresh.MEMORY.replace("import fastfc\n", "").replace("fastfc.train(sys.argv[1], epochs=1)", "x = {}")
    small = float(fresh.script(code.format("0")))
    assert small < 100
    assert float(fresh.script(code.format("b'1' * 200_000_000"))) - small > 190
    assert large.nbytes >= 300_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (50, 784), dtype=np.uint8), rng.integers(0, 10, 50)
    made._images = Dataset(X, y, X[:20], y[:20], "arrays")
    return made


def arrays(store: Store, name: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    folder = store.folder(name, rows)
    return np.load(folder / "X.npy"), np.load(folder / "y.npy")


def test_data_is_what_its_name_says(store: Store) -> None:
    images, labels = store.images.X, store.images.y
    X, y = arrays(store, "mnist", 120)
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(X[100:], images[:20])
    np.testing.assert_array_equal(y[50:100], labels)
    X, _ = arrays(store, "standardised", 50)
    np.testing.assert_allclose(X, (images / 255 - MEAN) / STD, rtol=1e-5, atol=1e-6)
    X, _ = arrays(store, "density 0.2", 300)
    assert np.mean(X != 0) == pytest.approx(0.2, abs=0.01)
    X, _ = arrays(store, "normal", 300)
    assert (X.dtype, X.shape) == (np.float32, (300, 784))
    assert arrays(store, "one image", 1)[0].shape == (1, 784)
    folder = store.folder("csr", 30, 400)
    X, y = load(folder), np.load(folder / "y.npy")
    assert (X.shape, X.nnz, X.has_canonical_format) == ((30, 400), 600, True)
    assert set(y) == {0, 1}
    X, y = (np.load(store.folder("diabetes", 442, 10) / name) for name in ("X.npy", "y.npy"))
    np.testing.assert_allclose(X.std(0), 1)
    assert (X.shape, y.dtype) == ((442, 10), np.float64)


def test_a_job_survives_the_way_to_a_worker(store: Store) -> None:
    workload = replace(MNIST, rows=50, loss="mse")
    job = Job.from_dict(Job(workload, 1, "float64", "", str(store.folder("mnist", 50))).to_dict())
    assert job.workload == workload
    X, y = job.inputs()
    assert X.dtype == np.float64
    assert X.max() <= 1
    np.testing.assert_array_equal(y.argmax(1), store.images.y)
    weights, biases = job.parameters()
    assert [w.shape for w in weights] == [(784, 200), (200, 50), (50, 10)]
    np.testing.assert_array_equal(weights[0], job.parameters()[0][0])
    assert not any(b.any() for b in biases)


def test_a_worker_of_an_older_tree_reads_what_it_knows(store: Store) -> None:
    dropped = Job(replace(MNIST, dropout=(0.2, 0.5)), 1, "float32", "", "")
    assert Job.from_dict(json.loads(json.dumps(dropped.to_dict()))) == dropped
    asked = Job(replace(MNIST, batch=8), 1, "float32", "", "").to_dict()["workload"]
    assert asked == {"layers": MNIST.layers, "batch": 8}


@pytest.mark.parametrize(("task", "numbers"), [("fit", 2), ("fixed", 0), ("predict_proba", 3)])
def test_an_estimator_does_its_tasks(store: Store, task: str, numbers: int) -> None:
    workload = Workload((4, 100, 3), "iris", 150, task=task, epochs=2)
    found = sklearn_estimator.prepare(Job(workload, 1, "float64", "", str(store.folder("iris", 150, 4))))()
    assert np.isfinite(found["seconds"])
    assert len(found.get("curve", ())) == numbers


def test_numbers_are_fitted_by_a_regressor(store: Store) -> None:
    workload = Workload((10, 100, 1), "diabetes", 442, task="fit", loss="mse", epochs=2)
    found = sklearn_estimator.prepare(Job(workload, 1, "float64", "", str(store.folder("diabetes", 442, 10))))()
    assert found["curve"][0] > 1000  # squares, halved, of figures of some 150


BY_HAND = Entry("by hand", NUMPY, threads=1)
SMALL = replace(PREDICT_ONE, calls=2)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that need NumPy alone run in this environment."""
    monkeypatch.setattr(workers, "peers_python", lambda: Path(sys.executable))


@pytest.mark.usefixtures("here")
def test_repeats_are_interleaved_and_the_order_turns(store: Store) -> None:
    said: list[str] = []
    entries = [(replace(BY_HAND, name=name), SMALL) for name in ("a", "b")]
    a, b = workers.measure(entries, store, repeats=3, least_seconds=0, log=said.append)
    assert said == [
        "starting a",
        "starting b",
        *(f"round {r}: {n}" for r, n in ((1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b"))),
    ]
    assert len(a.seconds) == len(b.seconds) == 3
    assert all(s > 0 for s in a.seconds)
    assert a.about["versions"]["numpy"] == np.__version__
    assert {"median", "gflops", "seconds", "threads", "dtype", "libraries"} <= a.to_dict().keys()


@pytest.mark.usefixtures("here")
def test_a_worker_that_fails_costs_its_own_entry_only(store: Store) -> None:
    refused = replace(BY_HAND, name="refused", workload=replace(SMALL, activation="tanh"))
    missing = replace(BY_HAND, name="missing", engine="bench.peers.nothing")
    entries = [(entry, entry.workload or SMALL) for entry in (refused, missing, BY_HAND)]
    first, second, third = workers.measure(entries, store, repeats=1, least_seconds=0, log=lambda _: None)
    assert first.error == "ValueError: only prediction with relu is written by hand here"
    assert "ModuleNotFoundError" in second.error
    assert "median" not in second.to_dict()
    assert (len(third.seconds), third.error) == (1, "")


@pytest.mark.usefixtures("here")
def test_a_worker_that_dies_is_reported(store: Store) -> None:
    with workers.start(BY_HAND, SMALL, store) as worker:
        assert worker.repeat()["seconds"] > 0
        worker._process.kill()
        with pytest.raises(WorkerError, match="worker ended with -9"):
            worker.repeat()


def test_peers_that_are_not_installed_are_named(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTFC_PEERS_VENV", str(tmp_path / "none"))
    (result,) = workers.measure([(BY_HAND, SMALL)], store, 1, 0, lambda _: None)
    assert result.error == "not installed (make peers)"


@pytest.mark.slow
def test_trees_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This one with itself. A folder from which another tree would be imported is refused."""
    options = ["--python", sys.executable, "--quick", "--rounds", "2", "--rows", "8a"]
    assert against.main([str(against.ROOT), *options]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["row", "new", "old"]
    assert re.fullmatch(r"8a .* µs .* µs +\d.\d+ \(\d.\d+ to \d.\d+\) +\d.\d+ +\d+.\d % +\d.\d", row)
    assert against.main([str(tmp_path), *options]) == 2
    assert f"tree: given {tmp_path}, expected fastfc and kernels imported from there" in capsys.readouterr().err
