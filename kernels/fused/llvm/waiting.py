"""How threads wait for each other: atomic numbers, the pause of a core, and the sleep of the system, which another thread ends."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.cpu import TRIPLE
from fastfc.kernels.fused.llvm.vectors import I32, I64, NOWHERE
from fastfc.kernels.fused.records import OPENED, TIMEOUT

FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "powerpc64le": 221}  # its number among Linux' calls
WAIT, WAKE, ALL = 128, 129, 2**31 - 1  # FUTEX_WAIT and FUTEX_WAKE of one process (linux/futex.h), and how many to wake
ULOCK_WAIT, ULOCK_WAKE = 0x0100_0001, 0x0100_0101  # compare 32 bits, leave errno; wake all (Darwin's sys/ulock.h)
MACHINE = TRIPLE.split("-")[0]
PAUSES = {"x86_64": ("llvm.x86.sse2.pause", ()), "aarch64": ("llvm.aarch64.isb", (15,)), "arm64": ("llvm.aarch64.isb", (15,))}


def _call(builder, name, result, arguments, variadic=0):
    """Call a function of C, of whose arguments all behind the first `variadic` are, unless that is 0, variadic."""
    kinds = [argument.type for argument in arguments]
    kind = ir.FunctionType(result, kinds[:variadic] if variadic else kinds, var_arg=variadic > 0)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _place(context, builder, signature, args, place):
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [I64(place)])


@intrinsic
def add_to(typingctx, meeting, place, value):
    """Add to meeting[place] and return what it was. All calls of this and of `read_from` have one order for all threads."""

    def codegen(context, builder, signature, args):
        address = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(address, [args[1]]), args[2], "seq_cst")

    return types.int64(meeting, types.int64, types.int64), codegen


@intrinsic
def read_from(typingctx, meeting, place):
    """meeting[place], read anew each time."""

    def codegen(context, builder, signature, args):
        address = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(address, [args[1]]), "seq_cst", 8)

    return types.int64(meeting, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Let the core know that this is a loop that waits."""

    def codegen(context, builder, signature, args):
        if MACHINE in PAUSES:
            name, numbers = PAUSES[MACHINE]
            _call(builder, name, ir.VoidType(), [I32(number) for number in numbers])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def sleep(typingctx, meeting, seen):
    """Sleep until `wake`, or until TIMEOUT, unless meeting[OPENED] is no more what was seen of it."""

    def codegen(context, builder, signature, args):
        word, timeout = (_place(context, builder, signature, args, place) for place in (OPENED, TIMEOUT))
        if "linux" in TRIPLE and MACHINE in FUTEX:
            numbers = [I64(FUTEX[MACHINE]), word, I64(WAIT), args[1], timeout, NOWHERE, I64(0)]
            _call(builder, "syscall", I64, numbers, variadic=1)
        elif "darwin" in TRIPLE or "macosx" in TRIPLE:
            microseconds = builder.trunc(builder.udiv(builder.load(builder.gep(timeout, [I64(1)])), I64(1000)), I32)
            _call(builder, "__ulock_wait", I32, [I32(ULOCK_WAIT), word, args[1], microseconds])
        elif "windows" in TRIPLE:
            compared = cgutils.alloca_once_value(builder, args[1])
            milliseconds = builder.trunc(builder.udiv(builder.load(builder.gep(timeout, [I64(1)])), I64(10**6)), I32)
            _call(builder, "WaitOnAddress", I32, [word, compared, I64(8), milliseconds])
        else:
            _call(builder, "sched_yield", I32, [])
        return context.get_dummy_value()

    return types.void(meeting, types.int64), codegen


@intrinsic
def wake(typingctx, meeting):
    """Wake all who sleep."""

    def codegen(context, builder, signature, args):
        word = _place(context, builder, signature, args, OPENED)
        if "linux" in TRIPLE and MACHINE in FUTEX:
            numbers = [I64(FUTEX[MACHINE]), word, I64(WAKE), I64(ALL), NOWHERE, NOWHERE, I64(0)]
            _call(builder, "syscall", I64, numbers, variadic=1)
        elif "darwin" in TRIPLE or "macosx" in TRIPLE:
            _call(builder, "__ulock_wake", I32, [I32(ULOCK_WAKE), word, I64(0)])
        elif "windows" in TRIPLE:
            _call(builder, "WakeByAddressAll", ir.VoidType(), [word])
        return context.get_dummy_value()

    return types.void(meeting), codegen
