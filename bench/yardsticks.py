"""What the machine can do, measured on the spot: the GEMM peak, and from it the dense floor of a workload.

The peak is the best of several matrix products, because no library is the fastest everywhere: OpenBLAS, for one, picks
an AVX2 kernel on CPUs newer than itself, at half the speed of its AVX-512 kernel on the same CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from bench import machine
from bench.workers import ROOT, environment, peers_python
from bench.workloads import Workload
from fastfc.machine import info

# Arguments: library, threads, sizes, repeats. Prints GFLOP/s for float32 and float64.
SCRIPT = """
import json, os, sys, time
library, cpus, sizes, repeats = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, cpus)
import numpy as np
def product(dtype, n):
    a, b = (np.random.default_rng(i).standard_normal((n, n)).astype(dtype) for i in (0, 1))
    c = np.empty_like(a)
    if library == "numpy":
        return lambda: np.dot(a, b, c)
    if library == "torch":
        import torch
        torch.set_num_threads(len(cpus))
        a, b, c = map(torch.from_numpy, (a, b, c))
        return lambda: torch.mm(a, b, out=c)
    import jax
    jax.config.update("jax_enable_x64", True)
    a, b = jax.numpy.asarray(a), jax.numpy.asarray(b)
    dot = jax.jit(jax.numpy.dot)
    return lambda: dot(a, b).block_until_ready()
best = {}
for dtype in ("float32", "float64"):
    for n in sizes:
        run = product(dtype, n)
        run()
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            best[dtype] = max(best.get(dtype, 0), 2 * n**3 / (time.perf_counter() - start) / 1e9)
print(json.dumps(best))
"""


def candidates() -> Iterable[tuple[str, str, dict[str, str]]]:
    """(name, library, variables) of everything that may give the peak here."""
    yield "NumPy", "numpy", {}
    if "avx512f" in info.simd():
        yield "NumPy, OPENBLAS_CORETYPE=SkylakeX", "numpy", {"OPENBLAS_CORETYPE": "SkylakeX"}
    if peers_python():
        yield "PyTorch", "torch", {}
        yield "JAX", "jax", {}


def gemm_peaks(sizes: tuple[int, ...] = (1024, 2048), repeats: int = 8) -> dict[str, Any]:
    """GFLOP/s of the best product: {"float32, 1 thread": {"gflops": ..., "by": ..., "all": {name: ...}}, ...}."""
    peaks: dict[str, Any] = {}
    for count in (1, 2):
        for name, library, extra in candidates():
            python = sys.executable if library == "numpy" else str(peers_python())
            arguments = json.dumps([library, machine.cores()[:count], sizes, repeats])
            done = subprocess.run(
                [python, "-c", SCRIPT, arguments], env=environment(count, tuple(extra.items())), cwd=ROOT,
                capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
                if library == "numpy":
                    raise RuntimeError(f"GEMM peak by {name}: {reason}")
                print(f"no GEMM peak by {name}: {reason}", file=sys.stderr)
                continue
            for dtype, gflops in json.loads(done.stdout).items():
                peaks.setdefault(key(dtype, count), {})[name] = gflops
    return {k: {"gflops": max(v.values()), "by": max(v, key=lambda n: v[n]), "all": v} for k, v in peaks.items()}


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The higher of two measurements of each peak; `second` may be empty."""
    return {k: max(first[k], second.get(k, first[k]), key=lambda peak: peak["gflops"]) for k in first}


def key(dtype: str, threads: int) -> str:
    return f"{dtype}, {threads} thread{'s' * (threads > 1)}"


def floor(workload: Workload, peaks: dict[str, Any], dtype: str = "float32", threads: int = 2) -> float:
    """Seconds that a dense computation of the workload takes at the GEMM peak."""
    return workload.flops / (peaks[key(dtype, threads)]["gflops"] * 1e9)
