"""Rows 23b and 26: an estimator that is imported and fitted once, in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.datasets import Store
from bench.fresh import PEAK, script
from bench.workers import Log, peers_python
from bench.workloads import Entry, Row

# Prints the seconds from the start of the process, as its parent saw it, to the end of the fit, and the peak of memory.
FIT = (
    """
import json, sys, time
module, folder, hidden, epochs, started = json.loads(sys.argv[1])
import importlib, os, warnings
import numpy as np
warnings.simplefilter("ignore")
MLPClassifier = importlib.import_module(module).MLPClassifier
if os.path.exists(f"{folder}/X.npy"):
    X = np.load(f"{folder}/X.npy")
else:
    import scipy.sparse
    X = scipy.sparse.load_npz(f"{folder}/X.npz")
MLPClassifier(hidden, max_iter=epochs, random_state=0).fit(X, np.load(f"{folder}/y.npy"))
seconds = time.time() - started
"""
    + PEAK
    + "print(json.dumps([seconds, megabytes]))"
)


def measure(row: Row, repeats: int, quick: bool, store: Store, log: Log) -> dict[str, Any]:
    """Seconds, or with the kind "fit memory" megabytes, by entry. Kernels are compiled by a fit that does not count."""
    which, number = ("megabytes", 1) if row.kind == "fit memory" else ("seconds", 0)
    workload = row.workload.small() if quick else row.workload
    folder = str(store.folder(workload.data, workload.rows, workload.layers[0]))
    found: dict[str, list[float]] = {entry.name: [] for entry in row.entries}
    with tempfile.TemporaryDirectory() as cache:

        def fit(entry: Entry) -> list[float]:
            module = "sklearn.neural_network" if entry.is_peer else "fastfc.estimators"
            arguments = json.dumps([module, folder, workload.layers[1:-1], workload.epochs, time.time()])
            python = peers_python() if entry.is_peer else Path(sys.executable)
            return json.loads(script(FIT, arguments, cache=Path(cache), threads=entry.threads, python=python))

        present = [entry for entry in row.entries if not entry.is_peer or peers_python()]
        for i in range(repeats + 1):
            for entry in present:
                log(f"{entry.name}, round {i}")
                value = fit(entry)[number]
                if i:
                    found[entry.name].append(value)
    return {
        name: {which: values, "median": median(values)} if values else {"error": "not installed (make peers)"}
        for name, values in found.items()
    }
