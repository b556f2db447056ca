"""The process around an engine: `python -m bench.peers.worker MODULE CPU[,CPU...]`.

One JSON object a line. The first line of stdin is a job; the answer comes when data is loaded, code compiled and one
repeat run. Every further line asks for one timed repeat. Between lines the process waits in a read.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
from typing import Any

from bench.peers.job import Job

PACKAGES = ("fastfc", "numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "torch", "scikit-learn")


def about() -> dict[str, Any]:
    """The versions of what is installed here, and the BLAS and OpenMP libraries that are loaded."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    from threadpoolctl import threadpool_info

    wanted = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return {"versions": versions, "libraries": [{k: v for k, v in i.items() if k in wanted} for i in threadpool_info()]}


def serve(module: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    run = None
    for line in sys.stdin:
        try:
            if run is None:
                start = time.perf_counter()
                run = importlib.import_module(module).prepare(Job.from_dict(json.loads(line)))
                answer = {**run(), "setup_seconds": time.perf_counter() - start, **about()}
            else:
                answer = run()
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[2].split(",")})
    serve(sys.argv[1])
