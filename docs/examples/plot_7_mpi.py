"""
One training in several processes
=================================

``mpiexec`` starts processes, each holds its own rows of the data, and all make the same steps: those of one process, up to the rounding
of sums. This page runs itself with one and with two processes, where mpi4py and an MPI are there.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

PROGRAM = """
import json, sys
import numpy as np
from mpi4py import MPI
import fastfc
from fastfc.distributed import part

comm = MPI.COMM_WORLD
rng = np.random.default_rng(0)
X = rng.standard_normal((4000, 64)).astype(np.float32)
y = np.argmax(X[:, :8] + X[:, 8:16] * X[:, 16:24], axis=1)
own = part(len(X), comm)
r = fastfc.train((X[own], y[own]), comm=comm, hidden=(64,), epochs=20, batch_size=200, lr=0.1, threads=1)
if comm.rank == 0:
    open(sys.argv[1], "w").write(json.dumps([record.loss for record in r.history]))
"""


def losses(processes, folder):
    program, out = folder / "program.py", folder / f"{processes}.json"
    program.write_text(PROGRAM)
    command = [MPIEXEC, "-n", str(processes), sys.executable, "-m", "mpi4py", str(program), str(out)]
    subprocess.run(command, check=True, timeout=120)
    return json.loads(out.read_text())


# %%
MPIEXEC = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")
figure, place = plt.subplots(figsize=(6, 3.4), layout="constrained")
if MPIEXEC and importlib.util.find_spec("mpi4py"):
    with TemporaryDirectory() as folder:
        one, two = (losses(processes, Path(folder)) for processes in (1, 2))
    place.plot(range(1, 21), one, "o", fillstyle="none", label="one process")
    place.plot(range(1, 21), two, ".-", label="two processes")
    place.set(xlabel="epoch", ylabel="loss (nats)")
    place.legend()
    print(f"largest difference of two losses: {max(abs(a - b) for a, b in zip(one, two, strict=True)):.1e}")
else:
    place.text(0.5, 0.5, "not run: pip install 'fastfc[mpi]' mpich", ha="center")
    print("mpi4py or mpiexec is missing here: nothing was run")
plt.show()
