"""Arguments of a kernel in a table of 64-bit slots, as `compiler.signature` has them: taken out, and put in for another kernel."""

from __future__ import annotations

from itertools import count
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I64 = ir.IntType(64)
TABLE = I64.as_pointer()


def _strides(context, builder, array_type, shape):
    """Of a C-contiguous array, in bytes."""
    strides = [I64(context.get_abi_sizeof(context.get_data_type(array_type.dtype)))]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    return strides


def unpack(context, builder, kind, table, places):
    """The value of a Numba type from the next slots of `table`, whose numbers `places` gives."""

    def slot(as_type):
        at = builder.gep(table, [I64(next(places))])
        return builder.load(builder.bitcast(at, as_type.as_pointer()))

    if isinstance(kind, types.Array):
        data, shape = slot(context.get_data_type(kind.dtype).as_pointer()), [slot(I64) for _ in range(kind.ndim)]
        contiguous = kind.layout == "C"
        strides = _strides(context, builder, kind, shape) if contiguous else [slot(I64) for _ in range(kind.ndim)]
        array = context.make_array(kind)(context, builder)
        context.populate_array(
            array,
            data=data,
            shape=cgutils.pack_array(builder, shape),
            strides=cgutils.pack_array(builder, strides),
            itemsize=I64(context.get_abi_sizeof(context.get_data_type(kind.dtype))),
            meminfo=None,
        )
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        return context.make_tuple(builder, kind, [unpack(context, builder, item, table, places) for item in kind])
    if isinstance(kind, types.NoneType):
        return context.get_dummy_value()
    return slot(context.get_value_type(kind))


def pack(context, builder, kind, value, slots):
    """Put the values of the slots of `value` into the list `slots`."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        slots.append(builder.ptrtoint(array.data, I64))
        slots.extend(cgutils.unpack_tuple(builder, array.shape))
        if kind.layout != "C":
            slots.extend(cgutils.unpack_tuple(builder, array.strides))
    elif isinstance(kind, types.BaseTuple):
        for i, item in enumerate(kind):
            pack(context, builder, item, builder.extract_value(value, i), slots)
    elif isinstance(kind, types.Float):
        bits = builder.bitcast(value, ir.IntType(kind.bitwidth))
        slots.append(bits if kind.bitwidth == 64 else builder.zext(bits, I64))
    elif isinstance(kind, types.Integer):
        slots.append(value)
    elif not isinstance(kind, types.NoneType):
        raise TypeError(f"kernels take no {kind}")


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the kernel at an address with a tuple of arguments, of just the types that it was compiled for."""

    def codegen(context, builder, signature, args):
        slots: list[Any] = []
        pack(context, builder, signature.args[1], args[1], slots)
        table = cgutils.alloca_once(builder, I64, size=max(len(slots), 1))
        for i, value in enumerate(slots):
            builder.store(value, builder.gep(table, [I64(i)]))
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [TABLE]).as_pointer())
        builder.call(function, [table])
        return context.get_dummy_value()

    return types.void(types.int64, _plain(arguments)), codegen


@intrinsic
def arguments_of(typingctx: Any, table: Any, like: Any) -> Any:
    """The arguments in a table, as a tuple of the types of `like`, a TypeRef; for kernels compiled by Numba alone."""
    kind = like.instance_type

    def codegen(context, builder, signature, args):
        return unpack(context, builder, kind, args[0], count())

    return kind(table, like), codegen


def _plain(kind):
    """Every integer an int64, as Python gives them."""
    if isinstance(kind, types.BaseNamedTuple):
        return types.NamedTuple([_plain(item) for item in kind], kind.instance_class)
    if isinstance(kind, types.BaseTuple):
        return types.Tuple([_plain(item) for item in kind])
    return types.int64 if isinstance(kind, types.Integer) else kind
