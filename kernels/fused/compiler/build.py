"""Object code of a kernel, with a C entry. It leans on Numba's inside: `jit` does without it where it cannot be imported."""

from __future__ import annotations

from itertools import count

from llvmlite import ir
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastfc.kernels.fused.compiler import objects
from fastfc.kernels.fused.compiler.types_of import types_of
from fastfc.kernels.fused.compiler.slots import TABLE, unpack

# What object code may call, all of the C library: an unknown name would end the process that loads it.
CALLED = {"memcpy", "memset", "memmove", "sqrt", "sqrtf", "log", "logf", "log1p", "log1pf", "sched_yield", "SwitchToThread", "syscall"}


class ObjectLibrary(JITCodeLibrary):
    """A kernel's code, linked and optimised, for a file: Numba's own engine never sees it."""

    def _finalize_final_module(self):
        self._finalized = True


@global_compiler_lock
def object_code(helper, symbol, key) -> bytes:
    """The helper, a dispatcher whose compiled form is for linking, behind an entry of one pointer, to the slots of `key`."""
    arguments, context = types_of(key), cpu_target.target_context
    helper.compile(types.void(*arguments))
    compiled = helper.overloads[arguments]
    library = ObjectLibrary(context.codegen(), symbol)
    module = library.create_ir_module(symbol)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [TABLE]), symbol)
    builder, places = ir.IRBuilder(entry.append_basic_block()), count()
    values = [unpack(context, builder, kind, entry.args[0], places) for kind in arguments]
    native = context.declare_function(module, compiled.fndesc)
    context.call_conv.call_function(builder, native, types.none, arguments, values)
    builder.ret_void()
    library.add_ir_module(module)
    library.add_linking_library(compiled.library)
    library.finalize()
    _check(library._final_module, symbol)
    return library._codegen._tm.emit_object(library._final_module)


def _check(module, symbol) -> None:
    """Raise NotImplementedError unless all that the code calls is in it, or in CALLED."""
    declared = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if declared - CALLED:
        raise NotImplementedError(f"{symbol} calls {', '.join(sorted(declared - CALLED))}")


def compile_kernel(helper, symbol, key) -> int:
    """The address of the kernel, which is kept for the next process."""
    code = object_code(helper, symbol, key)
    objects.save(symbol, code)
    return objects.link(symbol, code)
