"""The first layer on CSR rows as they are: each number that is stored is a term, and nothing else is looked at.

Indices ascend within a row and none comes twice: sums run in the order that they have on the same samples with their zeros.
"""

from __future__ import annotations

from fastfc.kernels.fused.codes import numbers_of
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.cpu import VECTOR_BYTES
from fastfc.kernels.fused.llvm.integers import larger, smaller
from fastfc.kernels.fused.llvm.tiles import gather_update_tile
from fastfc.kernels.fused.llvm.views import as_dtype, flat, view, view_rows
from fastfc.kernels.fused.optimizers import as_rule
from fastfc.kernels.fused.records import PANEL
from fastfc.kernels.fused.sparse import L1_BYTES, ROW_WIDTH, is_idle, multiply_listed


@kernel
def load(data, chosen, shifts, height, width, outside, stored):
    """Where the chosen rows begin and end, int64, in the place of codes."""
    ends, indptr = numbers_of(stored), data.csr.indptr
    for i in range(chosen.size):
        ends[i, 0], ends[i, 1] = indptr[chosen[i]], indptr[chosen[i] + 1]


@inline
def find(indices, begin, end, feature):
    """The first place from `begin` on, before `end`, whose index is not below `feature`; `end` if there is none."""
    while begin < end:
        middle = (begin + end) // 2
        if indices[middle] < feature:
            begin = middle + 1
        else:
            end = middle
    return begin


@inline
def list_row(csr, dtype, begin, end, lo, scale, columns, work):
    """List what a row has in the `columns` features from `lo` on: work.index[k] and scale * value in work.x; returns how many."""
    values, indices, index, x, factor = as_dtype(csr.data, dtype), csr.indices, work.index, flat(work.x), scale[0]
    first = find(indices, begin, end, lo)
    count = 0
    while first + count < end and indices[first + count] < lo + columns:
        column = indices[first + count] - lo
        index[count] = column
        x[column] = factor * values[first + count]
        count += 1
    return count


@kernel
def multiply(rows, scale, weights, init, out, work):
    """out (batch, fan_out) = init + scale * x[:, lo:hi] W[lo:hi];  init (1, fan_out), scale (1,)."""
    ends, of_range, columns = numbers_of(rows.ends), view_rows(weights, rows.lo, rows.hi), rows.hi - rows.lo
    for i in range(out.shape[0]):
        count = list_row(rows.csr, rows.dtype, ends[i, 0], ends[i, 1], rows.lo, scale, columns, work)
        multiply_listed(work.x, work.index, count, of_range, init, view_rows(out, i, i + 1))


@inline
def count_entries(rows, starts):
    """starts[f] = how many numbers the rows have in the features lo to lo + f, for f from 0 to hi - lo."""
    ends, indices, lo = numbers_of(rows.ends), rows.csr.indices, rows.lo
    for f in range(rows.hi - lo + 1):
        starts[f] = 0
    for i in range(ends.shape[0]):
        p = find(indices, ends[i, 0], ends[i, 1], lo)
        while p < ends[i, 1] and indices[p] < rows.hi:
            starts[indices[p] - lo + 1] += 1
            p += 1
    for f in range(rows.hi - lo):
        starts[f + 1] += starts[f]


@inline
def sort_entries(rows, first, last, scale, work):
    """List the numbers of the features lo + first to lo + last by feature, and by sample in each: samples in work.index, scale *
    value in work.listed. starts[f], where those of f begin, becomes where they end."""
    values, indices, ends = as_dtype(rows.csr.data, rows.dtype), rows.csr.indices, numbers_of(rows.ends)
    index, listed, starts, lo, factor = work.index, flat(work.listed), work.starts, rows.lo, scale[0]
    base = starts[first]
    for i in range(ends.shape[0]):
        p = find(indices, ends[i, 0], ends[i, 1], lo + first)
        while p < ends[i, 1] and indices[p] < lo + last:
            f = indices[p] - lo
            k = starts[f] - base
            index[k], listed[k] = i, factor * values[p]
            starts[f] += 1
            p += 1


@inline
def tiles_of(delta, entries, idle):
    """In how many tiles of columns delta passes: narrow ones stay in the L1 cache, where its rows are needed more than once; in none
    where nothing moves."""
    if idle and entries == 0:
        return 0
    samples, vectors = delta.shape[0], delta.shape[1] * delta.itemsize // VECTOR_BYTES
    most = ROW_WIDTH
    if entries > samples:
        most = larger(1, smaller(ROW_WIDTH, L1_BYTES // (samples * VECTOR_BYTES)))
    return (vectors + most - 1) // most


@kernel
def update(rows, scale, delta, gradient, weights, state, rule, work):
    """One step of the weights of the features lo to hi along gradient + (scale * x[:, lo:hi])^T delta, which is never stored.

    weights (hi - lo, fan_out) and the rest as in `sparse.update`. A counting sort brings together what each feature has, for as
    many features at a time as there is room for in work.
    """
    starts, listed, numbers = work.starts, flat(work.listed), as_rule(rule)
    packed, room = view(listed, ZERO, listed.size, ONE), smaller(work.index.size, listed.size)
    init_step = 1 if gradient.shape[0] == weights.shape[0] else 0
    lanes, count, idle = VECTOR_BYTES // delta.itemsize, weights.shape[0], is_idle(gradient, numbers)
    vectors = delta.shape[1] // lanes
    count_entries(rows, starts)
    first = 0
    while first < count:
        base, last = starts[first], first + 1
        if starts[count] - base <= room:
            last = count
        while last < count and starts[last + 1] - base <= room:
            last += 1
        sort_entries(rows, first, last, scale, work)
        for panel in range(first, last, PANEL):
            behind = smaller(last, panel + PANEL)
            before = starts[panel - 1] if panel > first else base
            tiles = tiles_of(delta, starts[behind - 1] - before, idle)
            for t in range(tiles):
                column = vectors * t // tiles
                width = vectors * (t + 1) // tiles - column
                begin = before - base
                for f in range(panel, behind):
                    end = starts[f] - base
                    if not (idle and begin == end):
                        gather_update_tile(
                            packed,
                            work.index,
                            begin,
                            end,
                            f,
                            delta,
                            gradient,
                            init_step,
                            weights,
                            state,
                            numbers,
                            column * lanes,
                            ONE,
                            width,
                        )
                    begin = end
        first = last
