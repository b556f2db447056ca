"""Estimators in workers of joblib and Dask: one thread each, unless they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from sklearn.model_selection import GridSearchCV, cross_val_score

from fastfc.errors import InvalidArgument
from fastfc.estimators import workers
from fastfc.estimators.workers import in_worker, threads_for
from fastfc.machine import threads
from tests.estimators import ONE, both, ours, task

pytestmark = pytest.mark.filterwarnings("ignore")  # what joblib and Dask say of pools, ports and loops is theirs
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 5}


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_threads", lambda: 8)


def many(most: int) -> int:
    return most


def threads_there(_: int = 0) -> tuple[bool, int, bool, int]:
    """Whether this is a worker, and the threads of an estimator that is not told, whether it does as it is told, or uses BLAS."""
    one = lambda most: 1  # noqa: E731
    is_told = threads_for(3, "numba", many) == min(3, threads.usable_cpus())
    return in_worker(), threads_for(None, "numba", many), is_told, threads_for(None, "numpy", one)


def test_threads_outside_of_workers() -> None:
    assert threads_there() == (False, 8, True, 8)
    assert threads_for(None, "numba", lambda most: most // 2) == 4
    with pytest.raises(InvalidArgument, match="threads: given 5000, expected at most 1024"):
        threads_for(5000, "numba", many)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_one_thread_in_a_worker_of_joblib(backend: str) -> None:
    with parallel_config(backend):
        assert not in_worker()
        assert Parallel(n_jobs=2)(delayed(threads_there)(k) for k in range(3)) == [(True, 1, True, 1)] * 3
    assert not in_worker()


def test_one_job_is_no_worker() -> None:
    assert Parallel(n_jobs=1)(delayed(threads_there)(k) for k in range(2)) == [(False, 8, True, 8)] * 2


@pytest.mark.parametrize("backend", ONE)
@pytest.mark.parametrize("pool", ["loky", "threading"])
def test_searches_in_workers_find_what_one_process_finds(pool: str, backend: str) -> None:
    X, y = task("multiclass")
    alone = cross_val_score(ours("multiclass", backend, **QUICK), X, y, cv=4)
    with parallel_config(pool):
        assert (cross_val_score(ours("multiclass", backend, **QUICK), X, y, cv=4, n_jobs=2) == alone).all()


@pytest.mark.slow  # its workers import everything anew
class TestDask:
    @pytest.fixture(scope="class")
    @staticmethod
    def client() -> Iterator[Any]:
        distributed = pytest.importorskip("distributed")
        options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
            yield client

    def test_one_thread_in_a_worker_of_dask(self, client: Any) -> None:
        assert not in_worker()
        assert client.submit(_threads_of_eight, 1).result() == (True, 1, True, 1)
        with parallel_config("dask"):
            assert not in_worker()
            assert Parallel()(delayed(_threads_of_eight)(k) for k in range(3)) == [(True, 1, True, 1)] * 3

    @pytest.mark.parametrize("backend", ONE)
    def test_a_search_on_dask_finds_what_scikit_learn_finds(self, client: Any, backend: str) -> None:
        X, y = task("multiclass")
        found = []
        for made in both("multiclass", backend, **{**QUICK, "activation": "tanh"}):
            with parallel_config("dask"):
                search = GridSearchCV(made, {"alpha": [1e-4, 1.0, 100.0]}, cv=2, n_jobs=-1).fit(X, y)
            found.append(search.cv_results_["mean_test_score"])
        np.testing.assert_allclose(*found, rtol=1e-9)


def _threads_of_eight(_: int) -> tuple[bool, int, int, int]:
    """As `threads_there`, in a process that this test has not prepared."""
    workers.available_threads = lambda: 8  # type: ignore[assignment]
    return threads_there()


def test_joblib_is_what_says_so() -> None:
    """The attribute that `in_worker` reads is there in this joblib."""
    assert joblib.parallel.get_active_backend()[0].nesting_level == 0
