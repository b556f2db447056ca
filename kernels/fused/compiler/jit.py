"""Every choice about Numba, in one place: the decorators of all kernels and of their helpers.

`lowering` spares helpers most of their compilation and `build` makes object code, which is kept for the next process. Both
lean on parts of Numba that may change with any version: without them kernels are compiled by `numba.cfunc`, to the same results.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numba.extending import typeof_impl

from fastfc.kernels.fused.compiler import objects
from fastfc.kernels.fused.compiler.entry import Entry
from fastfc.kernels.fused.compiler.guard import between_helpers, hold_locks_of_others, warn_once
from fastfc.kernels.fused.compiler.known import is_known, plainly
from fastfc.kernels.fused.compiler.slots import arguments_of
from fastfc.kernels.fused.compiler.types_of import types_of

# No flag that lets the compiler assume away NaN, inf or signed zeros, or reorder a sum: only a*b + c may become one FMA.
OPTIONS: Any = {"error_model": "numpy", "fastmath": {"contract"}}

# As arguments from kernel to kernel, for Numba compiles a version for each Python integer.
ZERO, ONE = np.arange(2)

HELPER: dict[str, Any] = {}
PLAIN = ""  # why kernels are compiled by Numba's public means alone, where they are
try:
    if not is_known(numba.__version__):
        raise ImportError("its version")
    from fastfc.kernels.fused.compiler.build import object_code
    from fastfc.kernels.fused.compiler.lowering import HelperCompiler, straight

    HELPER = {"pipeline_class": HelperCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
except (ImportError, AttributeError) as error:
    PLAIN = plainly(numba.__version__, str(error))
    warn_once("jit", PLAIN)

hold_locks_of_others()
_plain: list[Any] = []  # compiled without `build`: their memory is theirs


def inline(function):
    """A helper of kernels: compiled as part of whatever calls it, and a TypeError when called from Python."""
    dispatcher = numba.njit(**HELPER, **OPTIONS)(function)
    if not numba.config.DISABLE_JIT:
        compile_helper = between_helpers(dispatcher.compile if PLAIN else straight(dispatcher))
        dispatcher.compile = lambda arguments: compile_helper(tuple(map(_without_literal, arguments)))
    return dispatcher


def _without_literal(kind):
    """int64 in the place of a number: Numba would compile a version for each Python integer."""
    return kind.literal_type if isinstance(kind, numba.types.IntegerLiteral) else kind


def apart(function):
    """The same, but a function of its own in the code of a kernel: LLVM takes less time for several than for one that has all."""
    function.is_apart = True
    return inline(function)


def kernel(function):
    """A kernel: what Python and other kernels call by address, and what in the code of another kernel becomes its part."""
    return function if numba.config.DISABLE_JIT else Kernel(function)


class Kernel(Entry):
    """py_func  the function as it was written"""

    def __init__(self, function):
        super().__init__(f"{function.__module__.removeprefix('fastfc.kernels.fused.')}.{function.__name__}")
        functools.update_wrapper(self, function)
        self.py_func, self.helper = function, inline(function)

    def __call__(self, *arguments: Any) -> None:
        defaults = self.py_func.__defaults__ or ()
        left = self.py_func.__code__.co_argcount - len(arguments)
        super().__call__(*arguments, *defaults[len(defaults) - left :])

    def compile(self, symbol: str, key: str) -> int:
        """The address of its compiled form for the arguments of a key, which is kept for the next process."""
        if PLAIN:
            return self._compile_plainly(key)
        try:
            content = object_code(self.helper, symbol, key)
            address: int = objects.link(symbol, content)
        except Exception as error:
            address = self._compile_plainly(key)  # raises what is wrong with the kernel itself
            reason = f"{type(error).__name__}: {error}"
            warn_once("build", f"compiled kernels cannot be kept, so every process compiles anew, after {reason}")
            return address
        objects.save(symbol, content)
        return address

    def _compile_plainly(self, key: str) -> int:
        helper, like = self.helper, numba.types.Tuple(types_of(key))

        @numba.cfunc(numba.types.void(numba.types.CPointer(numba.types.int64)), **OPTIONS)
        def entry(table):
            helper(*arguments_of(table, like))

        _plain.append(entry)
        address: Any = entry.address
        return address


@typeof_impl.register(Kernel)
def _typeof_kernel(kernel, context):
    return numba.typeof(kernel.helper)
