"""Object code of a kernel, with a C entry. It leans on Numba's inside: `jit` does without it where it cannot be imported."""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastfc.kernels.fused import cpu
from fastfc.kernels.fused.compiler import objects
from fastfc.kernels.fused.compiler.lowering import link, refreshed
from fastfc.kernels.fused.compiler.slots import TABLE, unpack
from fastfc.kernels.fused.compiler.types_of import types_of

# What object code may call: of the C library alone, which is in a process without Numba too.
CALLED = {
    *("memcpy", "memset", "memmove", "sqrt", "sqrtf", "log", "logf", "log1p", "log1pf"),
    *("syscall", "__ulock_wait", "__ulock_wake", "WaitOnAddress", "WakeByAddressAll", "sched_yield"),
}


class CodeGenerator(JITCPUCodegen):
    """Numba's, for the CPU that `cpu` names, whichever this one is."""

    def _get_host_cpu_name(self):
        return cpu.NAME

    def _get_host_cpu_features(self):
        return cpu.FEATURES


_generator = functools.cache(CodeGenerator)


class ObjectLibrary(JITCodeLibrary):
    """A kernel's code, linked and optimised, for a file: Numba's own engine never sees it."""

    def _finalize_final_module(self):
        self._finalized = True

    def _optimize_final_module(self):
        """What the entry, which has the library's name, does not need is dropped first: much is there for Numba alone."""
        for value in (*self._final_module.functions, *self._final_module.global_variables):
            if not value.is_declaration and value.name != self.name:
                value.linkage = "internal"
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)

    def emit(self) -> bytes:
        return self._codegen._tm.emit_object(self._final_module)


@global_compiler_lock
def object_code(helper, symbol, key) -> bytes:
    """The helper, a dispatcher whose compiled form is for linking, behind an entry of one pointer, to the slots of `key`; as
    `objects` keeps it."""
    arguments, context = types_of(key), cpu_target.target_context
    with refreshed(context):
        helper.compile(arguments)
    compiled = helper.overloads[arguments]
    library = ObjectLibrary(_generator("fastfc"), symbol)
    module = library.create_ir_module(symbol)
    for name in ("NRT_incref", "NRT_decref"):  # in the place of Numba's: kernels own no memory, nothing is counted
        count = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()]), name)
        ir.IRBuilder(count.append_basic_block()).ret_void()
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [TABLE]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    together = types.Tuple(arguments)
    values = cgutils.unpack_tuple(builder, unpack(context, builder, together, entry.args[0], 0), len(arguments))
    native = context.declare_function(module, compiled.fndesc)
    context.call_conv.call_function(builder, native, types.none, arguments, values)
    builder.ret_void()
    library.add_ir_module(module)
    link(library._final_module, [compiled.library])
    library.finalize()
    code = library.emit()
    return objects.content_of(_calls(library._final_module, symbol), code)


def _calls(module, symbol) -> set[str]:
    """The functions that the code calls and does not have. NotImplementedError unless they are in CALLED."""
    declared = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if declared - CALLED:
        raise NotImplementedError(f"{symbol} calls {', '.join(sorted(declared - CALLED))}")
    return declared
