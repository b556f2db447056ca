"""Explicit SIMD for the kernels: vectors as wide as the CPU's registers, emitted as LLVM IR.

Numba vectorises plain loops, but it will not keep a block of sums in registers across a loop, nor pack what is not zero.
What does is emitted with `Vectors`, and called from kernels through intrinsics that `intrinsic_of` makes.
Addresses are byte pointers of which `getelementptr` makes others: LLVM may know what array they point into.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastfc.kernels.fused.cpu import HAS_AVX2, HAS_FMA, VECTOR_BYTES

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
ADDRESS = I8.as_pointer()
NOWHERE = ir.Constant(ADDRESS, None)


class Vectors:
    """Emits vector instructions for one element type at the builder's position."""

    def __init__(self, builder, element):
        self.builder, self.element = builder, element
        self.size = 8 if isinstance(element, ir.DoubleType) else 4
        self.lanes = VECTOR_BYTES // self.size
        self.type = ir.VectorType(element, self.lanes)

    def _pointer(self, address, offset, kind):
        return self.builder.bitcast(self.builder.gep(address, [I64(offset)]), kind.as_pointer())

    def _at(self, address, i, kind):
        """The i-th element of type `kind` behind `address`."""
        return self.builder.gep(self.builder.bitcast(address, kind.as_pointer()), [i])

    def load(self, address, vector=0):
        instruction = self.builder.load(self._pointer(address, vector * VECTOR_BYTES, self.type))
        instruction.align = self.size
        return instruction

    def store(self, value, address, vector=0):
        self.builder.store(value, self._pointer(address, vector * VECTOR_BYTES, self.type)).align = self.size

    def integer(self, address, i):
        """The i-th int32 at `address`, as a 64-bit integer."""
        return self.builder.sext(self.builder.load(self._at(address, i, I32)), I64)

    def load_one(self, address, i):
        """The i-th number at `address`."""
        return self.builder.load(self._at(address, i, self.element))

    def store_one(self, value, address, i):
        """The i-th number at `address` becomes `value`."""
        self.builder.store(value, self._at(address, i, self.element))

    def sum(self, value):
        """The sum of all lanes, by halves."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{8 * self.size}"
        kind = ir.FunctionType(self.element, [self.element, self.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [self.element(-0.0), value], fastmath=("reassoc",))

    def fill(self, value):
        """A vector filled with one number."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, I32(0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def broadcast(self, address):
        """A vector filled with the one number at `address`."""
        return self.fill(self.load_one(address, I64(0)))

    def shuffle(self, a, b, lanes):
        """The lanes of a, then those of b, that `lanes` numbers."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, self.lanes), lanes))

    def prefetch(self, address, vector=0, write=True):
        """Begin to fetch a vector's cache line, to be written or read soon."""
        pointer = self._pointer(address, vector * VECTOR_BYTES, I8)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        self.builder.call(function, [pointer, I32(int(write)), I32(3), I32(1)])

    def fma(self, a, b, c):
        """a * b + c, in one rounding where the CPU can, otherwise in two: a library call would be 50 times slower."""
        if not HAS_FMA:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return self._llvm("fma", a, b, c)

    def sqrt(self, a):
        return self._llvm("sqrt", a)

    def sign(self, a):
        """-1, 0 or 1."""
        zero, one = ir.Constant(self.type, None), self.fill(self.element(1.0))
        return self.builder.select(self.builder.fcmp_ordered("==", a, zero), zero, self._llvm("copysign", one, a))

    def _llvm(self, name, *operands):
        kind = ir.FunctionType(self.type, [self.type] * len(operands))
        name = f"llvm.{name}.v{self.lanes}f{8 * self.size}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), operands)


class Number:
    """A vector in a formula of `kernels.optimizers`: arithmetic on it emits instructions.

    A product that is added to something becomes one FMA with it, the right one of two.
    """

    def __init__(self, vectors, value):
        self.vectors, self.value = vectors, value

    def _of(self, other):
        if isinstance(other, Number):
            return other
        return Number(self.vectors, self.vectors.fill(self.vectors.element(float(other))))

    def __mul__(self, other):
        return Product(self, self._of(other))

    def __add__(self, other):
        v, other = self.vectors, self._of(other)
        for product, rest in ((other, self), (self, other)):
            if isinstance(product, Product):
                return Number(v, v.fma(product.left.value, product.right.value, rest.value))
        return Number(v, v.builder.fadd(self.value, other.value))

    def __sub__(self, other):
        return Number(self.vectors, self.vectors.builder.fsub(self.value, self._of(other).value))

    def __truediv__(self, other):
        return Number(self.vectors, self.vectors.builder.fdiv(self.value, self._of(other).value))

    def __rmul__(self, other):
        return self._of(other) * self

    def __radd__(self, other):
        return self._of(other) + self

    def __rsub__(self, other):
        return self._of(other) - self

    def sqrt(self):
        return Number(self.vectors, self.vectors.sqrt(self.value))

    def sign(self):
        return Number(self.vectors, self.vectors.sign(self.value))

    def __array_ufunc__(self, function, method, *operands):
        """What np.sqrt and np.sign call."""
        return {np.sqrt: Number.sqrt, np.sign: Number.sign}[function](*operands)


class Product(Number):
    """left * right, multiplied when its value is asked for."""

    def __init__(self, left, right):
        self.vectors, self.left, self.right = left.vectors, left, right

    @property
    def value(self):
        return self.vectors.builder.fmul(self.left.value, self.right.value)


class Contracted(Number):
    """The same, but which products become FMAs is left to LLVM, as in what Numba compiles."""

    def _binary(self, instruction, other):
        return Contracted(self.vectors, instruction(self.value, self._of(other).value, flags=("contract",)))

    def __mul__(self, other):
        return self._binary(self.vectors.builder.fmul, other)

    def __add__(self, other):
        return self._binary(self.vectors.builder.fadd, other)

    def __sub__(self, other):
        return self._binary(self.vectors.builder.fsub, other)

    def __truediv__(self, other):
        return self._binary(self.vectors.builder.fdiv, other)


def compress(builder, value, chosen):
    """The chosen lanes of `value` moved to the front, in their order; what follows them is undefined."""
    kind = value.type
    if HAS_AVX2 and VECTOR_BYTES == 32 and kind.element == I32:  # for which LLVM goes through memory, lane by lane
        return _permuted(builder, value, chosen)
    suffix = {I32: "i32", ir.FloatType(): "f32", ir.DoubleType(): "f64"}[kind.element]
    name = f"llvm.experimental.vector.compress.v{kind.count}{suffix}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, chosen.type, kind]), name)
    return builder.call(function, [value, chosen, ir.Constant(kind, ir.Undefined)])


def _permuted(builder, value, chosen):
    """The same of up to 8 integers, by a table of 256 orders of 8 lanes."""
    count, eight, orders = value.type.count, ir.VectorType(I32, 8), ir.VectorType(I8, 8)
    lists = [[lane for lane in range(8) if mask >> lane & 1] for mask in range(256)]
    table = ir.Constant(ir.ArrayType(orders, 256), [ir.Constant(orders, (some + [0] * 8)[:8]) for some in lists])
    table = cgutils.global_constant(builder, "orders", table)
    mask = builder.zext(builder.bitcast(chosen, ir.IntType(count)), I64)
    order = builder.zext(builder.load(builder.gep(table, [I64(0), mask])), eight)
    whole = builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(I32, 8), [k % count for k in range(8)]))
    kind = ir.FunctionType(eight, [eight, eight])
    permute = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.permd")
    moved = builder.call(permute, [whole, order])
    return builder.shuffle_vector(moved, moved, ir.Constant(ir.VectorType(I32, count), list(range(count))))


def loop(builder, count, sums, body):
    """Emit `for k in range(count): sums = body(k, sums)` with the sums in registers; returns the final sums."""
    entry, again, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, I64(0)), again, done)
    builder.position_at_end(again)
    k = builder.phi(I64)
    carried = [builder.phi(s.type) for s in sums]
    following, new = builder.add(k, I64(1)), body(k, carried)
    for phi, first, after in zip([k, *carried], [I64(0), *sums], [following, *new], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(after, again)
    builder.cbranch(builder.icmp_signed("<", following, count), again, done)
    builder.position_at_end(done)
    results = [builder.phi(s.type) for s in sums]
    for phi, first, after in zip(results, sums, new, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(after, again)
    return results


def switch_on(builder, value, cases, emit):
    """Emit a block for each of the numbers `cases`, by emit(case), and go on behind the one that `value` names."""
    done = builder.append_basic_block("switched")
    switch = builder.switch(value, done)
    for case in cases:
        block = builder.append_basic_block(f"case{case}")
        switch.add_case(I64(case), block)
        builder.position_at_end(block)
        emit(case)
        builder.branch(done)
    builder.position_at_end(done)


class Arguments:
    """The arguments of an intrinsic by name: numbers as they are, arrays as an address and strides."""

    def __init__(self, context, builder, signature, args, names):
        self.context, self.builder = context, builder
        self.types, self.values = dict(zip(names, signature.args, strict=True)), dict(zip(names, args, strict=True))

    def __getitem__(self, name):
        return self.values[name]

    def element(self, name):
        return self.context.get_data_type(self.types[name].dtype)

    def _field(self, name, field):
        """Of an array: its address, shape or strides."""
        place = self.context.data_model_manager[self.types[name]].get_field_position(field)
        return self.builder.extract_value(self.values[name], place)

    def address(self, name, *indices):
        """Of the element with these indices; None, or an index left out, stands for 0."""
        address = self.builder.bitcast(self._field(name, "data"), ADDRESS)
        for index, stride in zip(indices, self.strides(name) if indices else (), strict=False):
            if index is not None:
                address = self.builder.gep(address, [self.builder.mul(index, stride)])
        return address

    def strides(self, name):
        return cgutils.unpack_tuple(self.builder, self._field(name, "strides"))

    def rows(self, name):
        return self.builder.extract_value(self._field(name, "shape"), 0)

    def columns(self, name):
        return self.builder.extract_value(self._field(name, "shape"), 1)

    def fields(self, name):
        """The values of a named tuple."""
        return cgutils.unpack_tuple(self.builder, self.values[name], len(self.types[name]))

    def along(self, name, transposed):
        """Distances between A(i, k) and its neighbours, where A(i, k) is A[i, k] or, transposed, A[k, i]."""
        row, column = self.strides(name)
        flip = self.builder.icmp_signed("!=", self.values[transposed], I64(0))
        return self.builder.select(flip, column, row), self.builder.select(flip, row, column)


def intrinsic_of(names, given, emit, returns=types.void):
    """Signature and code generator of an intrinsic: arrays and named tuples as they are, every number an int64."""

    def codegen(context, builder, signature, args):
        result = emit(builder, Arguments(context, builder, signature, args, names))
        return context.get_dummy_value() if result is None else result

    kept = (types.Array, types.BaseNamedTuple)
    return returns(*[t if isinstance(t, kept) else types.int64 for t in given]), codegen
