"""Arguments of a kernel in a table of 64-bit slots, as `compiler.signature` has them: taken out, and put in for another kernel."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model

I64 = ir.IntType(64)
TABLE = I64.as_pointer()


class Record(types.Type):
    """A named tuple that a kernel is called with: a pointer to its slots, from which a field is loaded where it is used.

    By value it would go from helper to helper in up to a hundred parts, for each of which code is made.
    """

    def __init__(self, names: tuple[str, ...], kinds: tuple[Any, ...], key: str) -> None:
        self.names, self.kinds = names, kinds
        super().__init__(f"{key[: key.index('(')]}_{hashlib.sha256(key.encode()).hexdigest()[:8]}")

    def place(self, field: int) -> int:
        """How many slots come before a field, or with the number of fields, how many there are."""
        return sum(map(size_of, self.kinds[:field]))


register_model(Record)(lambda manager, kind: models.PrimitiveModel(manager, kind, TABLE))


@infer_getattr
class _Fields(AttributeTemplate):
    key = Record

    def generic_resolve(self, kind, name):
        return kind.kinds[kind.names.index(name)] if name in kind.names else None


@lower_getattr_generic(Record)
def _field(context, builder, kind, table, name):
    field = kind.names.index(name)
    return unpack(context, builder, kind.kinds[field], table, kind.place(field))


def size_of(kind: Any) -> int:
    """How many slots a value takes."""
    if isinstance(kind, types.Array):
        return 1 + kind.ndim * (1 if kind.layout == "C" else 2)
    if isinstance(kind, Record):
        return kind.place(len(kind.kinds))
    if isinstance(kind, types.BaseTuple):
        items: Any = kind
        return sum(map(size_of, items))
    return 0 if isinstance(kind, types.NoneType) else 1


def _load(builder, table, place, as_type):
    """A slot, which no kernel changes: LLVM may load it once for a loop."""
    loaded = builder.load(builder.bitcast(builder.gep(table, [I64(place)]), as_type.as_pointer()))
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


def unpack(context, builder, kind, table, place):
    """The value of a Numba type from the slots of `table`, beginning with number `place`."""
    if isinstance(kind, Record):
        return builder.gep(table, [I64(place)])
    if isinstance(kind, types.Array):
        return _array(context, builder, kind, table, place)
    if isinstance(kind, types.BaseTuple):
        values = []
        for item in kind:
            values.append(unpack(context, builder, item, table, place))
            place += size_of(item)
        return context.make_tuple(builder, kind, values)
    if isinstance(kind, types.NoneType):
        return context.get_dummy_value()
    return _load(builder, table, place, context.get_value_type(kind))


def _array(context, builder, kind, table, place):
    element, size = context.get_data_type(kind.dtype), kind.dtype.bitwidth // 8
    shape = [_load(builder, table, place + 1 + d, I64) for d in range(kind.ndim)]
    strides = [I64(size)]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    if kind.layout != "C":
        strides = [_load(builder, table, place + 1 + kind.ndim + d, I64) for d in range(kind.ndim)]
    return array_of(context, builder, kind, _load(builder, table, place, element.as_pointer()), shape, strides)


def array_of(context, builder, kind, data, shape, strides):
    """An array that has no owner, as a value: what Numba's `populate_array` gives, without a detour through memory."""
    model = context.data_model_manager[kind]
    fields = {
        "nitems": functools.reduce(builder.mul, shape),
        "itemsize": I64(kind.dtype.bitwidth // 8),
        "data": data,
        "shape": cgutils.pack_array(builder, shape),
        "strides": cgutils.pack_array(builder, strides),
    }
    array = ir.Constant(model.get_value_type(), None)
    for name, value in fields.items():
        array = builder.insert_value(array, value, model.get_field_position(name))
    return array


def pack(context, builder, kind, value, slots):
    """Put the values of the slots of `value` into the list `slots`."""
    if isinstance(kind, Record):
        slots.extend(_load(builder, value, place, I64) for place in range(size_of(kind)))
    elif isinstance(kind, types.Array):
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
def call_at(typingctx: Any, address: Any, table: Any) -> Any:
    """Call the kernel at an address with a table that is there."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [TABLE])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.inttoptr(args[1], TABLE)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def arguments_of(typingctx: Any, table: Any, like: Any) -> Any:
    """The arguments in a table, as a tuple of the types of `like`, a TypeRef; for kernels compiled by Numba alone."""
    kind = like.instance_type

    def codegen(context, builder, signature, args):
        return unpack(context, builder, kind, args[0], 0)

    return kind(table, like), codegen


def _plain(kind):
    """Every integer an int64, as Python gives them."""
    if isinstance(kind, types.BaseNamedTuple):
        return types.NamedTuple([_plain(item) for item in kind], kind.instance_class)
    if isinstance(kind, types.BaseTuple):
        return types.Tuple([_plain(item) for item in kind])
    return types.int64 if isinstance(kind, types.Integer) else kind
