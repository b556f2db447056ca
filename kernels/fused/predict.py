"""The forward pass alone: each thread takes its share of the samples, CHUNK at a time."""

from __future__ import annotations

import math

from fastfc.kernels.fused import batch, csr, sparse
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.compiler.slots import call
from fastfc.kernels.fused.dense import BIAS, STRAIGHT
from fastfc.kernels.fused.llvm.integers import smaller
from fastfc.kernels.fused.llvm.views import as_dtype, flat, view, view_rows
from fastfc.kernels.fused.model import activate, all_weights, bias_of, forward_hidden, outputs_of, sparse_work
from fastfc.kernels.fused.records import CHUNK, FAN_IN, FAN_OUT, MULTIPLY, PRODUCT, SCALE_PLACE, WORK_PLACE
from fastfc.kernels.fused.team import share

BLOCK = 128 * CHUNK  # samples that are put in another order at a time: they stay in the caches


@inline
def bring_together(X, sort_features, begin, end, starts, keys, order):
    """order[begin:end] = the samples begin to end, those next to each other that are non-zero in the same features.

    The sparse first layer takes neighbours at once, and each row of W that one of them needs. A counting sort; starts
    (2 ** sort_features + 1,) and keys (n,) are scratch memory.
    """
    for k in range(starts.size):
        starts[k] = 0
    for i in range(begin, end):
        key = 0
        for j in sort_features:
            key = 2 * key + (X[i, j] != 0)
        keys[i] = key
        starts[key + 1] += 1
    for k in range(starts.size - 1):
        starts[k + 1] += starts[k]
    for i in range(begin, end):
        order[begin + starts[keys[i]]] = i
        starts[keys[i]] += 1


@inline
def finish(function, out, begin, end):
    """Rows begin to end of out go through the kernel at the address `function`, unless that is 0."""
    if function != 0:
        call(function, (view_rows(out, begin, end),))


@inline
def bring(X, order, codes):
    """codes (rows, features) = X[order]; gives how many of the numbers are finite."""
    finite = 0
    for i in range(order.size):
        row = order[i]
        for j in range(X.shape[1]):
            codes[i, j] = X[row, j]
            finite += math.isfinite(X[row, j])
    return finite


@kernel
def run(thread, threads, model, task, out):
    """out[i] = what the network gives for X[i], for this thread's share of the samples."""
    X, order, layout = as_dtype(task.X, task.dtype), task.order, model.layout
    features, outputs, last = layout[0, FAN_IN], layout[-1, FAN_OUT], layout.shape[0] - 1
    work = sparse_work(model.arena, task.work_places[thread], features, thread, task.work)
    begin, end = share(order.size, CHUNK, thread, threads)
    finite = 0
    for block in range(begin, end, BLOCK):
        bring_together(X, task.sort_features, block, smaller(end, block + BLOCK), task.starts[thread], task.keys, order)
    for part in range(begin, end, CHUNK):
        lo, hi = thread * CHUNK, thread * CHUNK + smaller(CHUNK, end - part)
        codes, first = view_rows(task.codes, lo, hi), outputs_of(model, ZERO, lo, hi)
        finite += bring(X, order[part : part + hi - lo], as_dtype(codes, task.dtype))
        weights, bias = all_weights(model, ZERO), bias_of(model, ZERO)
        if task.multiply != 0:
            call(task.multiply, (codes, ZERO, features, task.scale, weights, bias, first, work))
        else:
            x = view(model.arena, task.inputs_place + lo * features, hi - lo, features)
            batch.multiply_by(as_dtype(codes, task.dtype), task.scale, x)
            call(layout[0, PRODUCT], (x, STRAIGHT, ZERO, features, weights, BIAS, bias, first))
        activate(model, ZERO, lo, hi)
        forward_hidden(model, lo, hi)
        result = outputs_of(model, last, lo, hi)
        for i in range(hi - lo):
            for j in range(outputs):
                out[order[part + i], j] = result[i, j]
    task.finite[thread] = finite
    finish(task.finish, out, begin, end)


@kernel
def run_rows(thread, threads, model, task, out):
    """out[i] = what the network gives for row i of a CSR matrix, for this thread's share of the rows."""
    indptr, layout = task.csr.indptr, model.layout
    features, outputs, last = layout[0, FAN_IN], layout[-1, FAN_OUT], layout.shape[0] - 1
    work = sparse_work(model.arena, task.work_places[thread], features, thread, task.work)
    weights, bias = all_weights(model, ZERO), bias_of(model, ZERO)
    begin, end = share(indptr.size - 1, CHUNK, thread, threads)
    for part in range(begin, end, CHUNK):
        lo, hi = thread * CHUNK, thread * CHUNK + smaller(CHUNK, end - part)
        first = outputs_of(model, ZERO, lo, hi)
        for i in range(hi - lo):
            start, stop = indptr[part + i], indptr[part + i + 1]
            count = csr.list_row(task.csr, task.dtype, start, stop, ZERO, task.scale, features, work)
            sparse.multiply_listed(work.x, work.index, count, weights, bias, view_rows(first, i, i + 1))
        activate(model, ZERO, lo, hi)
        forward_hidden(model, lo, hi)
        result = outputs_of(model, last, lo, hi)
        for i in range(hi - lo):
            for j in range(outputs):
                out[part + i, j] = result[i, j]
    finish(task.finish, out, begin, end)


@kernel
def one(stored, model, places, memory, label):
    """label[0] = which output is the largest for the single sample that is stored; -1 where that or what it gives is not finite."""
    label[0] = -1
    x = as_dtype(stored.codes, stored.dtype)
    finite = 0
    for j in range(x.shape[1]):  # without a way out, so that it is done in vectors
        finite += math.isfinite(x[0, j])
    if finite < x.shape[1]:
        return
    scale = flat(view(model.arena, places[SCALE_PLACE] + (x.itemsize > 1), ONE, ONE))
    work = sparse_work(model.arena, places[WORK_PLACE], x.shape[1], ZERO, memory)
    out = outputs_of(model, ZERO, ZERO, ONE)
    weights, bias = all_weights(model, ZERO), bias_of(model, ZERO)
    call(places[MULTIPLY], (stored.codes, ZERO, x.shape[1], scale, weights, bias, out, work))
    activate(model, ZERO, ZERO, ONE)
    forward_hidden(model, ZERO, ONE)
    result = outputs_of(model, model.layout.shape[0] - 1, ZERO, ONE)
    best = 0
    for j in range(model.layout[-1, FAN_OUT]):
        if not math.isfinite(result[0, j]):
            return
        if result[0, j] > result[0, best]:
            best = j
    label[0] = best
