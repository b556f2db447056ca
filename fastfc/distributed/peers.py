"""What the ranks of a training tell each other, and how they end together: none waits for one that has failed."""

from __future__ import annotations

import builtins
import contextlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

from fastfc import errors
from fastfc.errors import FastFCError, InvalidType, invalid
from fastfc.machine.threads import check_threads

MOST_NAMED = 16  # ranks whose processes are named at the start
PATIENCE = 3.0  # s: what all ranks raise they raise within this time; what only one does ends the others


class Peers:
    """The ranks of a training, of which `rank` is this one. A context manager, around all that they do together.

    Until `begin` an exception in one rank is raised in all: they meet in `gather` alone, where each tells of its own. After it they
    meet in sums, too, which one that has failed cannot join: if the others do not fail alike, it names itself and its error on
    standard error, and ends the job.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm.Dup()  # apart from what the program itself sends
        self.rank, self.size = self.comm.rank, self.comm.size
        self.is_root, self.has_begun, self.is_told = self.rank == 0, False, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.has_begun:
            self._end_together(error)
        elif error is not None and not self.is_told:
            self._tell(error)
        self.comm.Free()

    def begin(self) -> None:
        """All that can be wrong with what a rank was given has been seen."""
        self.gather(None)
        self.has_begun = True

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, in their order. Raises what a rank has raised since, in all."""
        told = self.comm.allgather((None, value))
        for rank, (error, _) in enumerate(told):
            if error is not None:
                self.is_told = True
                raise _named(_rebuilt(*error), f"rank {rank} of {self.size}")
        return [value for _, value in told]

    def processes(self) -> str:
        """Which process each rank is, in a few words: what ends one, or finds it ended, knows it by that. "" for many ranks."""
        found = self.gather(f"{os.getpid()} on {platform.node()}")
        return ", ".join(f"rank {rank} is process {process}" for rank, process in enumerate(found)) if self.size <= MOST_NAMED else ""

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """`gather` of what a function gives in each rank, which may raise: then all do."""
        try:
            value = function(*arguments)
        except BaseException as error:
            self._tell(error)
            raise
        return self.gather(value)

    def on_root(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives in rank 0, which alone calls it, in all ranks; or what it raises."""
        return self.attempt(function if self.is_root else _nothing, *arguments)[0]

    def root_first(self, function: Callable[[], Any]) -> Any:
        """What a function gives in each rank, which rank 0 has called before the others begin: it may download something."""
        value = function() if self.is_root else None
        self.gather(None)
        return value if self.is_root else function()

    def same(self, what: str, values: dict[str, Any]) -> None:
        """Raise InvalidArgument, in all ranks, unless all have given the same."""
        for rank, others in enumerate(self.gather(values)):
            for name, value in values.items():
                if others[name] != value:
                    text = f"{others[name]!r} as {name} on rank {rank}, and {value!r} on rank {self.rank}"
                    raise invalid(what, text, "the same on all ranks")

    def sum(self, numbers: np.ndarray) -> None:
        """`numbers`, contiguous, become their sum over the ranks, in place."""
        from mpi4py import MPI

        self.comm.Allreduce(MPI.IN_PLACE, numbers)

    def threads(self, given: int | None) -> int:
        """As `fastfc.machine.threads.check_threads`; None: the ranks of a machine divide the cores that they share."""
        if given is not None:
            return check_threads(given)
        from mpi4py import MPI

        machine = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
        sharing = sum(not cpus.isdisjoint(others) for others in machine.allgather(cpus))
        machine.Free()
        return max(1, check_threads(None) // sharing)

    def _tell(self, error: BaseException) -> None:
        """Let the others raise it, too, where they meet next."""
        self.is_told = True
        self.comm.allgather((_told(error), None))

    def _end_together(self, error: BaseException) -> None:
        """Wait until all have failed alike; or end the job."""
        arrived, end = self.comm.Ibarrier(), time.monotonic() + PATIENCE
        while not arrived.Test():
            if time.monotonic() > end:
                text = f"fastfc: rank {self.rank} of {self.size}: {type(error).__name__}: {error}"
                print("".join(traceback.format_exception(error)) + text, file=sys.stderr, flush=True)
                self.comm.Abort(1)
            time.sleep(0.01)


def peers_of(comm: Any) -> contextlib.AbstractContextManager[Peers | None]:
    """The Peers of a communicator; None for a single process, with or without one. Raises InvalidType."""
    if comm is not None and not all(hasattr(comm, name) for name in ("Dup", "allgather", "Allreduce", "Ibarrier")):
        raise InvalidType(f"comm: given {comm!r}, expected a communicator of mpi4py, such as MPI.COMM_WORLD")
    return contextlib.nullcontext() if comm is None or comm.size == 1 else Peers(comm)


def world() -> Any:
    """MPI.COMM_WORLD. Raises InvalidArgument where there is no mpi4py, or no MPI that it finds."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        given = f"no MPI for Python ({' '.join(str(error).split())})"
        raise invalid("mpi", given, "pip install 'fastfc[mpi]', and an MPI: the cluster's, or pip install mpich") from error
    return MPI.COMM_WORLD


def _nothing(*_: Any) -> None:
    return None


def _told(error: BaseException) -> tuple[str, str]:
    """What other ranks get to know of an error, which may hold anything."""
    return type(error).__name__, str(error)


def _rebuilt(name: str, text: str) -> BaseException:
    """An error of Python's own or of ours as it was told; another one as a RuntimeError."""
    kind = getattr(errors, name, getattr(builtins, name, None))
    if isinstance(kind, type) and issubclass(kind, BaseException):
        with contextlib.suppress(TypeError):  # of a kind that is made of more than a text
            return kind(text)
    return RuntimeError(f"{name}: {text}")


def _named(error: BaseException, where: str) -> BaseException:
    """With the rank that raised it."""
    if isinstance(error, FastFCError):
        return type(error)(f"{where}: {error}")
    error.add_note(f"raised on {where}")
    return error
