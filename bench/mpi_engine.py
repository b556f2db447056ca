"""fastfc in a worker, in as many processes of one thread as the job has threads: each a rank of MPI.

Between repeats rank 0 waits in a read, and the others look for its word now and then: in MPI they would spin.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.peers.job import Job

LOOK = 2e-3  # s


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        raise RuntimeError("no mpiexec (pip install mpi4py mpich)")
    ranks = [mpiexec, "-n", str(job.threads), sys.executable, "-m", "mpi4py", "-m", "bench.mpi_engine"]
    process = subprocess.Popen(
        [*ranks, json.dumps(job.to_dict())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run() -> dict[str, Any]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"mpiexec ended with {process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    return run


def main() -> None:
    from mpi4py import MPI

    from bench import fastfc_engine
    from fastfc.distributed import part

    comm = MPI.COMM_WORLD
    job = replace(Job.from_dict(json.loads(sys.argv[1])), threads=1)
    own = part(job.workload.rows, comm)
    run = fastfc_engine.prepare(job, comm, own)
    while _goes_on(comm):
        found = run()
        if comm.rank == 0:
            print(json.dumps(found), flush=True)


def _goes_on(comm: Any) -> bool:
    """Whether rank 0 has been asked for another repeat."""
    if comm.rank == 0:
        asked = bool(sys.stdin.readline())
        for rank in range(1, comm.size):
            comm.send(asked, rank)
        return asked
    while not comm.iprobe(0):
        time.sleep(LOOK)
    return bool(comm.recv(source=0))


if __name__ == "__main__":
    main()
