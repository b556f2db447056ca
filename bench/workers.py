"""Worker processes, and repeats of several of them interleaved, one computing at a time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench import conditions, machine
from bench.datasets import Store
from bench.peers.job import Job
from bench.workloads import PASSES, Entry, Workload

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 900.0  # s, for one answer
PATIENCE = 5.0  # s, for a worker to end
PAUSE = 0.1  # s: a pool spins for up to 50 ms after its work (OpenBLAS), then sleeps
Log = Callable[[str], None]


def peers_python() -> Path | None:
    """The interpreter of the environment that `make peers` builds, if it is there."""
    given = os.environ.get("FASTFC_PEERS_VENV")
    folder = Path(given) if given else ROOT / ".venv-peers"
    found = [folder / "bin" / "python", folder / "Scripts" / "python.exe"]
    return next((path for path in found if path.exists()), None)


def environment(threads: int, extra: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The variables of a worker: every pool gets `threads`. How long OpenMP threads spin is left as it is by default:
    they sleep after some milliseconds, and sleeping at once would slow the libraries that start many short loops. Modules are
    kept compiled, as they are for a user."""
    pools = [f"{pool}_NUM_THREADS" for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA")]
    ignored = ("OMP_", "GOMP_", "KMP_", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ignored)}
    return inherited | dict.fromkeys(pools, str(threads)) | {"JAX_PLATFORMS": "cpu"} | dict(extra)


class WorkerError(RuntimeError):
    """A worker could not do what it was asked to."""


class Worker:
    """One engine with one job in a process of its own, ready to repeat it. Use as a context manager."""

    def __init__(self, engine: str, job: Job, env: dict[str, str], python: Path, root: Path = ROOT) -> None:
        cpus = machine.cores()[: job.threads]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [python, "-m", "bench.peers.worker", engine, ",".join(map(str, cpus))],
            cwd=root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        try:
            self.first = self._ask(job.to_dict())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def repeat(self) -> dict[str, Any]:
        return self._ask({})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(TIMEOUT, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().strip().splitlines()
            raise WorkerError(f"worker ended with {self._process.returncode}: {said[-1] if said else 'no message'}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """The worker ends with its input, and its own workers with it; if not, it is killed."""
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._log.close()


@dataclass
class Measured:
    """The repeats of one entry. seconds: of what the task of the workload is."""

    entry: Entry
    workload: Workload
    seconds: list[float] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    pauses: list[tuple[float, float]] = field(default_factory=list)  # what pause() saw before each repeat

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def others(self) -> float:
        """Cores that other processes kept busy in the pauses."""
        return max(0.0, mean(busy for busy, _ in self.pauses)) if self.pauses else 0.0

    @property
    def taken(self) -> float:
        """Share of the pauses in which the machine was taken away."""
        return mean(taken for _, taken in self.pauses) if self.pauses else 0.0

    def to_dict(self) -> dict[str, Any]:
        rate = {"median": self.median} if self.seconds else {}
        if self.seconds and self.workload.task in PASSES:
            rate["gflops"] = self.workload.flops / self.median / 1e9
        who = {
            "threads": self.entry.threads,
            "dtype": self.entry.dtype,
            "seconds": self.seconds,
            "others_busy": self.others,
        }
        return who | rate | ({"error": self.error} if self.error else self.about)


def start(entry: Entry, workload: Workload, store: Store, python: Path | None = None, root: Path = ROOT) -> Worker:
    """Start the entry's worker and wait until it has compiled and run once. `python` and `root`: of another tree."""
    python = python or (peers_python() if entry.is_peer else Path(sys.executable))
    if python is None:
        raise WorkerError("not installed (make peers)")
    folder = store.folder(workload.data, workload.rows, workload.layers[0])
    scratch = ("TORCHINDUCTOR_CACHE_DIR", str(store.root / "inductor"))
    job = Job(workload, entry.threads, entry.dtype, entry.variant, str(folder))
    return Worker(entry.engine, job, environment(entry.threads, (scratch, *entry.env)), python, root)


def pause() -> tuple[float, float]:
    """Wait until the pools of the last worker sleep, then spin: cores that others keep busy, and machine.gaps."""
    time.sleep(PAUSE)
    start, spent = time.perf_counter(), machine.busy_seconds() - time.process_time()
    taken = machine.gaps(PAUSE)
    busy = machine.busy_seconds() - time.process_time() - spent
    return busy / (time.perf_counter() - start), taken


def measure(
    entries: Sequence[tuple[Entry, Workload]],
    store: Store,
    repeats: int,
    least_seconds: float,
    log: Log,
    begin: Callable[[Entry, Workload, Store], Worker] = start,
) -> list[Measured]:
    """At least `repeats` rounds, and rounds for `least_seconds` (at most 5 times as many); in each round everybody
    runs once, in an order that turns."""
    results = [Measured(entry, workload) for entry, workload in entries]
    with contextlib.ExitStack() as stack:
        running: list[tuple[Measured, Worker]] = []
        twins: dict[str, Callable[[], Any]] = {}
        for result in results:
            log(f"starting {result.entry.name}")
            try:
                worker = stack.enter_context(begin(result.entry, result.workload, store))
                if result.entry.beside == "twin":
                    twins[result.entry.name] = stack.enter_context(begin(result.entry, result.workload, store)).repeat
            except WorkerError as error:
                result.error = str(error)
            else:
                result.about = {k: v for k, v in worker.first.items() if k != "seconds"}
                running.append((result, worker))
        began, done = time.perf_counter(), 0
        while done < repeats or (done < 5 * repeats and time.perf_counter() - began < least_seconds):
            turn = done % max(len(running), 1)
            for result, worker in running[turn:] + running[:turn]:
                if not result.error:
                    log(f"round {done + 1}: {result.entry.name}")
                    result.pauses.append(pause())
                    try:
                        with conditions.during(result.entry.beside, worker.pid, twins.get(result.entry.name)):
                            result.seconds.append(worker.repeat()["seconds"])
                    except RuntimeError as error:
                        result.error = str(error)
            done += 1
    return results
