"""One training in several processes, on one machine or many, that pass messages through MPI.

`mpiexec -n 4 python -m mpi4py train.py` runs four of them, its *ranks*, and `fastfc.train(..., comm=MPI.COMM_WORLD)` is called in
each. A rank holds its own rows of the data. In each step it computes the gradient of those samples of the batch that it holds; the
gradients are added up, and every rank makes the same update. With `average_every` ranks train alone for some steps, and average.
"""

from fastfc.distributed.data import part

__all__ = ["part"]
