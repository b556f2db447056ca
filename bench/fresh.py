"""Rows 9 to 11, where every figure is of a process of its own: time to accuracy, start-up, peak memory."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastfc
from bench import yardsticks
from bench.datasets import Store
from bench.peers.job import Job
from bench.rows.kernels import MNIST, RECIPES
from bench.verdicts import Verdict, ratios, rounds, settle, wording
from bench.workers import ROOT, Log, environment, peers_python
from bench.workloads import REFERENCE_FLOOR, Claim, Workload
from fastfc.data.idx import encode
from fastfc.data.mnist import SHAPES
from fastfc.kernels.fused.shipped import digest_of_sources

# The first call compiles; it is not one of the seeds. Prints [training seconds, test accuracy] of each seed.
RECIPE = """
import json, sys
import fastfc
recipe, seeds, threads = json.loads(sys.argv[1])
fastfc.train("mnist", recipe=recipe, threads=threads, seed=999)
found = [fastfc.train("mnist", recipe=recipe, threads=threads, seed=seed) for seed in seeds]
print(json.dumps([[r.train_seconds, r.test_accuracy] for r in found]))
"""

# Prints the seconds from the start of the process, as its parent saw it, to the end of the first epoch.
START = """
import sys, time
import fastfc
fastfc.train(sys.argv[2], epochs=1, on_epoch=lambda record: print(time.time() - float(sys.argv[1])))
"""

IMPORT = """
import time
start = time.perf_counter()
import fastfc
print(time.perf_counter() - start)
"""

# The same without Numba, which must not be needed; and to the label of a sample from a saved model.
WITHOUT_NUMBA = "import sys; sys.modules['numba'] = None"
PREDICT = """
import sys, time
import numpy as np
import fastfc
label = fastfc.load(sys.argv[2]).predict(np.zeros((1, 784), np.uint8))
print(time.time() - float(sys.argv[1]))
"""

# The same as START, for JAX: its import, its compilation, one epoch.
JAX_START = """
import json, sys, time
from bench.peers import jax_engine
from bench.peers.job import Job
jax_engine.prepare(Job.from_dict(json.loads(sys.argv[2])))()
print(time.time() - float(sys.argv[1]))
"""

# The peak of resident memory in MB. Linux: VmHWM, since ru_maxrss there starts from that of the parent.
PEAK = """
try:
    status = open("/proc/self/status").read()
except OSError:
    import resource, sys
    unit = 1 if sys.platform == "darwin" else 1024
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
else:
    megabytes = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
"""

MEMORY = f"""
import sys
import fastfc
fastfc.train(sys.argv[1], epochs=1)
{PEAK}
print(megabytes)
"""


def script(
    code: str,
    *arguments: str,
    cache: Path | None = None,
    threads: int = 2,
    python: Path | None = None,
    site: Path | None = None,
) -> str:
    """Run `code` in a fresh process, with the kernel cache in `cache` (None: the user's); what it printed last.

    site  a folder with packages that are found before those installed
    """
    env = environment(threads) | ({"FASTFC_CACHE_DIR": str(cache)} if cache else {})
    env |= {"PYTHONPATH": str(site)} if site else {}
    command = [python or sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=env, cwd=site or ROOT, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"process ended with {done.returncode}"])[-1])
    return done.stdout.strip().splitlines()[-1]


def recipes(seeds: int, log: Log) -> dict[str, Any]:
    """Row 9: training seconds and test accuracy of every seed, by target."""
    entries: dict[str, Any] = {}
    for target, (recipe, accuracy) in RECIPES.items():
        log(f"recipe {recipe}")
        found = json.loads(script(RECIPE, json.dumps([recipe, list(range(seeds)), 2])))
        times, accuracies = ([pair[i] for pair in found] for i in (0, 1))
        entries[target] = {
            "recipe": recipe, "target": accuracy, "seconds": times, "accuracy": accuracies, "median": median(times),
        }  # fmt: skip
    return entries


def judge_recipe(
    claim: Claim, entry: dict[str, Any], workload: Workload, peaks: dict[str, Any], disturbed: bool = False
) -> Verdict:
    """The median time counts, and every seed has to reach the accuracy. The limit is stated for a machine whose dense
    floor of `workload` is REFERENCE_FLOOR; here it is in proportion to the floor."""
    limit = claim.limit * yardsticks.floor(workload, peaks) / REFERENCE_FLOOR
    seeds, accuracies = len(entry["accuracy"]), entry["accuracy"]
    reached = sum(accuracy >= entry["target"] for accuracy in accuracies)
    note = f"{limit:.3g} s here; {reached} of {seeds} seeds reach it, lowest {100 * min(accuracies):.2f} %"
    times = [entry["seconds"][i] for i in rounds(disturbed, entry["seconds"])]
    verdict = settle(wording(claim), times, limit, "s", least=False, note=note)
    return verdict if reached == seeds else replace(verdict, passed=False)


def startup(repeats: int, store: Store, log: Log) -> dict[str, Any]:
    """Row 10: the kernel cache empty; the same cache again, to the first epoch and to the label of a sample; from a wheel, with
    nothing compiled before; the import alone, without the interpreter's start; and JAX, which compiles in every process."""
    data, measured, errors = data_argument(store), defaultdict(list), {}
    model, site, peers = store.root / "model.safetensors", _unpacked_wheel(store.root), peers_python()
    fastfc.Network((784, 200, 50, 10)).save(model)
    if site is None:
        errors["from a wheel"] = {"error": "no wheel of these sources in dist (make wheel)"}
    if peers is None:
        errors["JAX"] = {"error": "not installed (make peers)"}
    for i in range(repeats):
        log(f"start-up, round {i + 1}")
        with tempfile.TemporaryDirectory() as folder:

            def seconds(code: str, *arguments: str, folder: str = folder, **options: Any) -> float:
                return float(script(code, str(time.time()), *arguments, **{"cache": Path(folder), **options}))

            for name in ("empty kernel cache", "warm"):
                measured[name].append(seconds(START, data))
            measured["warm, images as .gz"].append(seconds(START, data_argument(store, compress=True)))
            script(PREDICT, "0", str(model), cache=Path(folder))
            measured["warm, to one label"].append(seconds(PREDICT, str(model)))
            measured["import fastfc"].append(float(script(IMPORT)))
            if site is not None:
                measured["from a wheel"].append(seconds(WITHOUT_NUMBA + START, data, site=site, cache=Path(folder) / "other"))
            if peers is not None:
                measured["JAX"].append(seconds(JAX_START, json.dumps(_job(store).to_dict()), python=peers))
    return {name: {"seconds": values, "median": median(values)} for name, values in measured.items()} | errors


def _job(store: Store) -> Job:
    """An epoch of MNIST, in two threads."""
    return Job(MNIST, 2, "float32", "", str(store.folder(MNIST.data, MNIST.rows, MNIST.layers[0])))


def _unpacked_wheel(root: Path) -> Path | None:
    """The wheel in dist, as it is installed, if it was made of the kernels that are here."""
    for wheel in (ROOT / "dist").glob("fastfc-*.whl"):
        site = root / wheel.stem
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        compileall.compile_dir(site, quiet=1)  # as pip does
        if any((site / "fastfc" / "kernels" / "objects").glob(f"*-{digest_of_sources()[:16]}")):
            return site
    return None


def memory(repeats: int, store: Store, log: Log) -> dict[str, Any]:
    """Row 11: with kernels from the cache, as every run but the first has it; the first run, and all files that it has kept
    and that training on floats and predicting add, are recorded beside it."""
    data = data_argument(store)
    measured: dict[str, list[float]] = {"compiling": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats + 1):
            log(f"memory, round {i}")
            measured["warm" if i else "compiling"].append(float(script(MEMORY, data, cache=Path(folder))))
        script("from fastfc.cli import main; main(['warmup'])", cache=Path(folder))
        measured["files of kernels"] = [sum(path.stat().st_size for path in Path(folder).rglob("*.o")) / 1e6]
    return {name: {"megabytes": values, "median": median(values)} for name, values in measured.items()}


def judge_value(claim: Claim, entries: dict[str, Any], disturbed: bool = False) -> Verdict:
    """The megabytes, or the seconds, of one entry, by themselves or beside those of another in the same round."""
    mine, *other = (entries[name] for name in (claim.entry, *claim.against))
    errors = [f"{name}: {entry['error']}" for name, entry in entries.items() if "error" in entry]
    if errors and (other or "error" in mine):
        return Verdict(wording(claim), None, note="; ".join(errors))
    which, unit = ("megabytes", "MB") if "megabytes" in mine else ("seconds", "s")
    values, others = mine[which], other[0][which] if other else []
    if claim.measure == "memory":
        return settle(wording(claim), ratios(values, others), claim.limit, least=False)
    if claim.measure == "longer":
        values = [values[i] - others[i] for i in rounds(disturbed, values, others)]
    elif unit == "s":
        values = [values[i] for i in rounds(disturbed, values)]
    return settle(wording(claim), values, claim.limit, unit, least=False)


def data_argument(store: Store, compress: bool = False) -> str:
    """The folder of the images that a process is given: plain, as fastfc keeps what it has downloaded, or as .gz."""
    folder, images = store.root / ("images.gz" if compress else "images"), store.images
    if not folder.exists():
        folder.mkdir()
        assert images.X_test is not None and images.y_test is not None
        arrays = images.X.reshape(-1, 28, 28), images.y, images.X_test.reshape(-1, 28, 28), images.y_test
        for file, array in zip(SHAPES, arrays, strict=True):
            (folder / f"{file}{'.gz' * compress}").write_bytes(encode(array.astype(np.uint8), compress=compress))
    return str(folder)
