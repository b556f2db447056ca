"""Whole epochs in compiled code.

A step has two phases with a barrier after each, and needs no sum across threads, so that its result does not depend on
their number:

    by samples    each thread takes its share of the batch through the network and back: x, a, loss, delta
    by features   each thread takes its share of the rows of every weight matrix: gradient and update

A batch larger than CHUNK passes in parts, whose gradients are added up.
"""

from __future__ import annotations

from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastfc.kernels.fused import batch, dense, losses, sparse
from fastfc.kernels.fused.arena import (
    ACTIVATION,
    FAN_IN,
    FAN_OUT,
    ONE,
    PADDED,
    A,
    Arena,
    B,
    D,
    G,
    H,
    T,
    U,
    V,
    W,
    forward_pass,
    matrix,
    matrix_rows,
    sparse_work,
    transposed_weights,
)
from fastfc.kernels.fused.background import background_gradient, folded_bias, sum_panels
from fastfc.kernels.fused.encode import encode
from fastfc.kernels.fused.jit import inline, kernel
from fastfc.kernels.fused.momentum import step
from fastfc.kernels.fused.online import fits, forward_one, step_one
from fastfc.kernels.fused.parallel import aligned, barrier, fill, share, view, view_rows
from fastfc.kernels.fused.vector import VECTOR_BYTES, lanes
from fastfc.kernels.plan import MSE, SIGMOID_BCE, SOFTMAX_CE, Plan

Arrays = list[np.ndarray]
NEVER = 1 << 62
LANES = VECTOR_BYTES // 4  # rows of weights are divided in multiples of it, so that each thread transposes whole blocks
CHUNK = 256  # samples in a part of a batch: its activations and deltas stay in the caches


@inline
def loss_and_delta(arena, layout, loss, target, scale, lo, hi, sample_losses):
    """The loss of rows lo to hi and its gradient with respect to the last layer's logits."""
    last = layout.shape[0] - 1
    z, delta = matrix_rows(arena, layout, last, A, lo, hi), matrix_rows(arena, layout, last, D, lo, hi)
    if loss == SOFTMAX_CE:
        losses.softmax_cross_entropy(z, view_rows(target, lo, hi), scale, delta, sample_losses)
    elif loss == SIGMOID_BCE:
        losses.sigmoid_cross_entropy(z, view_rows(target, lo, hi), scale, delta, sample_losses)
    elif loss == MSE:
        losses.mean_squared_error(z, view_rows(target, lo, hi), layout[last, ACTIVATION], scale, delta, sample_losses)


@inline
def backward_pass(arena, layout, lo, hi):
    """The deltas of rows lo to hi, from the last layer to the first."""
    for l in range(layout.shape[0] - 1, 0, -1):
        delta, below = matrix_rows(arena, layout, l, D, lo, hi), matrix_rows(arena, layout, l - 1, D, lo, hi)
        a = matrix_rows(arena, layout, l - 1, A, lo, hi)
        dense.backward(delta, transposed_weights(arena, layout, l), a, layout[l - 1, ACTIVATION], below)


@inline
def update_weights(arena, layout, l, x, codes, scale, is_sparse, first, last, rows, rules, lo, hi, common, work):
    """Rows lo to hi of the weights of layer l: gradient over the `rows` samples of this part, and after the last the step.

    common (1, >= padded) is a part of the gradient that all rows share.
    """
    weights, velocity = matrix_rows(arena, layout, l, W, lo, hi), matrix_rows(arena, layout, l, V, lo, hi)
    delta = matrix(arena, layout, l, D, rows)
    earlier, rule = common, rules[0]
    if not (first and last):
        earlier = matrix_rows(arena, layout, l, G, lo, hi)
        if first:
            fill(earlier, arena.dtype.type(0))
        if not last:  # a step of length -1 without momentum adds the gradient of this part to that of the others
            weights, velocity, earlier, rule = earlier, earlier, common, rules[2]
        else:
            for i in range(hi - lo):
                for j in range(earlier.shape[1]):
                    earlier[i, j] += common[0, j]
    if l == 0 and is_sparse:
        sparse.update(codes[:rows, lo:hi], scale, delta, earlier, weights, velocity, rule, work)
    else:
        before = view_rows(x, 0, rows) if l == 0 else matrix(arena, layout, l - 1, A, rows)
        dense.update(before[:, lo:hi], delta, earlier, weights, velocity, rule)
    if l > 0 and last:
        whole = matrix(arena, layout, l, W, layout[l, FAN_IN])
        dense.transpose(whole, lo, hi, transposed_weights(arena, layout, l))


@inline
def update_bias(arena, layout, l, ones, first, last, rules):
    """The bias of layer l: its gradient is the sum of delta over the batch."""
    gradient, delta = matrix(arena, layout, l, H, ONE), matrix(arena, layout, l, D, ones.shape[0])
    if first:
        fill(gradient, arena.dtype.type(0))
    dense.multiply(ones, ONE, delta, gradient)
    if last:
        step(matrix(arena, layout, l, B, ONE), matrix(arena, layout, l, U, ONE), gradient, rules[1])


@inline
def load_batch(data, chosen, shifts, sizes, constants, codes, target):
    """The chosen samples into `codes`, shifted where `shifts` is not empty, and their targets."""
    if data.csr.indptr.size > 0:
        batch.gather_csr(data.csr.data, data.csr.indices, data.csr.indptr, chosen, codes)
    elif shifts.shape[0] > 0:
        batch.gather_shifted(data.X, chosen, sizes.height, sizes.width, shifts, codes, constants[4])
    else:
        batch.gather(data.X, chosen, codes)
    if data.labels.size > 0:
        batch.one_hot(data.labels, chosen, constants[1], constants[2], target)
    else:
        batch.gather(data.targets, chosen, target)


# mean, sparse, convert (codes to floats), online: 0 or 1; height and width of an image, for shifts
Sizes = namedtuple("Sizes", "batch chunk loss mean sparse convert online height width")
# X (n, features), or csr where its indptr is not empty; labels (n,), or targets (n, outputs) where there are none.
Data = namedtuple("Data", "X csr labels targets")
Csr = namedtuple("Csr", "data indices indptr")
# What there is beside the arena: codes (chunk, features), the batch as it is stored; scratch memory for each thread; and
# rules (threads, 3, 6) of weights, of biases, and to add up gradients.
Memory = namedtuple("Memory", "codes work rules")
X, TARGET, ZEROS, ONES, PANELS, ROWS, WORK = np.arange(
    7
)  # places: offsets in the arena; those of threads follow at WORK


@kernel
def run(
    thread,
    threads,
    counter,
    arena,
    layout,
    places,
    sizes,
    constants,
    split,
    data,
    memory,
    order,
    shifts,
    rates,
    sample_losses,
    start,
    stop,
):
    """Steps `start` to `stop` of an epoch, this thread's share of them.

    constants = (scale, low, high, background, fill): the input is background + scale * codes, `fill` comes into a shifted
    image, low and high are the targets off and on the label; split (threads + 1,) the first layer's features for each
    thread. The rest is that of Trainer.run.
    """
    codes, rules = memory.codes, memory.rules[thread]
    chunk, scale, background = sizes.chunk, constants[:1], constants[3]
    features, widest = codes.shape[1], layout[:, PADDED].max()
    x, target = view(arena, places[X], chunk, features), view(arena, places[TARGET], chunk, layout[-1, FAN_OUT])
    sums = view(arena, places[PANELS], (features + sparse.PANEL - 1) // sparse.PANEL, layout[0, PADDED])
    bias, common = matrix(arena, layout, 0, B, ONE), view(arena, places[ZEROS], ONE, widest)
    weights, ones = matrix(arena, layout, 0, W, features), view(arena, places[ONES], max(chunk, sparse.PANEL), ONE)
    if background != 0:
        bias = view(arena, places[ROWS] + 2 * thread * widest, ONE, layout[0, PADDED])
        common = view(arena, places[ROWS] + (2 * thread + 1) * widest, ONE, layout[0, PADDED])
        sum_panels(weights, split[thread], split[thread + 1], ones, sums)
    work = sparse_work(arena, places[WORK + thread], features, thread, memory.work)
    one = arena.dtype.type(1)
    if sizes.online:
        own_codes = view_rows(codes, 0, 1)
        for s in range(start, stop):
            load_batch(data, order[s : s + 1], shifts[s : s + 1], sizes, constants, own_codes, view_rows(target, 0, 1))
            count = forward_one(arena, layout, own_codes, scale, work)
            loss_and_delta(arena, layout, sizes.loss, target, one, 0, 1, sample_losses[s : s + 1])
            rules[0, 5] = rules[0, 2] * rates[s]
            step_one(arena, layout, count, rules[0, 5:], work)
        return 0
    passed = barrier(counter, threads, 0)
    for s in range(start, stop):
        begin, end = s * sizes.batch, min((s + 1) * sizes.batch, order.size)
        gradient_scale = one / arena.dtype.type(end - begin) if sizes.mean else one
        rules[0, 5] = rules[1, 5] = rates[s]
        for part in range(begin, end, chunk):
            first, last, rows = part == begin, part + chunk >= end, min(chunk, end - part)
            lo, hi = share(rows, 8, thread, threads)
            own_codes = view_rows(codes, lo, hi)
            chosen, own_shifts = order[part + lo : part + hi], shifts[part + lo : part + hi]
            load_batch(data, chosen, own_shifts, sizes, constants, own_codes, view_rows(target, lo, hi))
            if sizes.convert:
                batch.multiply_by(own_codes, scale, view_rows(x, lo, hi))
            if background != 0:
                folded_bias(matrix(arena, layout, 0, B, ONE), background, sums, bias)
            forward_pass(arena, layout, bias, x, codes, scale, sizes.sparse, lo, hi, work)
            loss_and_delta(
                arena, layout, sizes.loss, target, gradient_scale, lo, hi, sample_losses[part + lo : part + hi]
            )
            backward_pass(arena, layout, lo, hi)
            passed = barrier(counter, threads, passed)

            ones_of_part = view_rows(ones, 0, rows)
            if background != 0:
                background_gradient(matrix(arena, layout, 0, D, rows), background, ones_of_part, common)
            update_weights(
                arena,
                layout,
                0,
                x,
                codes,
                scale,
                sizes.sparse,
                first,
                last,
                rows,
                rules,
                split[thread],
                split[thread + 1],
                common,
                work,
            )
            if background != 0 and last:
                sum_panels(weights, split[thread], split[thread + 1], ones, sums)
            zeros = view(arena, places[ZEROS], ONE, widest)
            for l in range(1, layout.shape[0]):
                lo, hi = share(layout[l, FAN_IN], LANES, thread, threads)
                update_weights(arena, layout, l, x, codes, scale, 0, first, last, rows, rules, lo, hi, zeros, work)
            for l in range(thread, layout.shape[0], threads):
                update_bias(arena, layout, l, ones_of_part, first, last, rules)
            passed = barrier(counter, threads, passed)
    return passed


class Trainer:
    """One training: its parameters and their velocities, which are copies, and the data, which is only read.

    X           (n, features) uint8 or plan.dtype, C-contiguous, or a scipy CSR matrix of one of these
    targets     (n,) int64 labels, or (n, outputs) of plan.dtype
    weights     (fan_in, fan_out) for each layer, biases (fan_out,)
    velocities  of the weights, then of the biases; or none, for zeros
    threads     how many threads compute
    input_kernel  "sparse" or "dense": how the first layer is multiplied
    """

    def __init__(
        self,
        plan: Plan,
        X: Any,
        targets: np.ndarray,
        weights: Arrays,
        biases: Arrays,
        velocities: Arrays,
        threads: int,
        input_kernel: str,
    ) -> None:
        features, outputs, dtype = plan.layers[0], plan.layers[-1], plan.dtype
        is_sparse, chunk = input_kernel == "sparse", min(CHUNK, plan.batch_size)
        scale, background, outside = (plan.scale if X.dtype == np.uint8 else 1), 0.0, plan.background
        if is_sparse and X.dtype != np.uint8 and isinstance(X, np.ndarray):
            background, outside = outside, 0.0
            X, scale = encode(X, background)
        online = fits(plan, lanes(dtype), is_sparse, background)
        threads = 1 if online else threads
        arena = Arena(plan, chunk, threads, chunk if is_sparse else 0, training=True, parts=plan.batch_size > chunk)
        widest, panels = arena.layout[:, PADDED].max(), -(-features // sparse.PANEL)
        ones = max(chunk, sparse.PANEL)
        counts = (
            chunk * features * (not is_sparse),
            chunk * outputs,
            widest,
            ones,
            panels * widest,
            2 * threads * widest,
        )
        places = [arena.place(n) for n in counts]
        arena.allocate()
        arena.memory[places[ONES] : places[ONES] + ones] = 1
        self.arena, self.plan, self.threads = arena, plan, threads
        self.counter = np.zeros(8, np.int64)
        rules = [(*plan.rule, 0), (*plan.rule[:4], 0, 0), (0, 0, 1, 0, 0, -1)]
        convert = not is_sparse and X.dtype == np.uint8  # floats are multiplied where they lie
        in_place = arena.memory[places[0] : places[0] + chunk * features] if not (is_sparse or convert) else None
        codes = (aligned(chunk * features, X.dtype) if in_place is None else in_place).reshape(chunk, features)
        unit = sparse.PANEL if is_sparse else LANES
        self.arguments: tuple[Any, ...] = (
            arena.memory,
            arena.layout,
            np.array(places + arena.work),
            Sizes(
                plan.batch_size,
                chunk,
                plan.loss,
                int(plan.mean),
                int(is_sparse),
                int(convert),
                int(online),
                *(plan.image_shape or (0, 0)),
            ),
            np.array([scale, *plan.off_and_on(), background, outside], dtype),
            np.array([share.py_func(features, unit, t, threads)[0] for t in range(threads)] + [features]),
            _data(X, targets, outputs, dtype),
            Memory(codes, arena.thread_memory, np.array([rules] * threads, dtype)),
        )
        self._fill(weights, biases, velocities)
        self.pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def run(
        self, order: np.ndarray, shifts: np.ndarray, rates: np.ndarray, sample_losses: np.ndarray, start: int, stop: int
    ) -> None:
        """Steps `start` to `stop` of an epoch.

        order (n,) which sample comes when; shifts (n, 2) in that order, or empty; rates (steps,) learning rates;
        sample_losses (n,), in that order, is written.
        """
        self.counter[0] = 0
        arguments: tuple[Any, ...] = (
            self.threads,
            self.counter,
            *self.arguments,
            order,
            shifts,
            rates,
            sample_losses,
            start,
            stop,
        )
        others = [self.pool.submit(run, t, *arguments) for t in range(1, self.threads)] if self.pool else []
        try:
            run(0, *arguments)
        except BaseException:
            self.counter[0] = NEVER  # opens every barrier: the others end with what they have
            raise
        finally:
            for other in others:
                other.result()

    def parameters(self) -> tuple[Arrays, Arrays, Arrays]:
        """Copies of the weights, the biases, and the velocities of both."""
        layers = range(len(self.plan.layers) - 1)
        weights, velocities = ([self._matrix(l, what).copy() for l in layers] for what in (W, V))
        biases, bias_velocities = ([self._matrix(l, what)[0].copy() for l in layers] for what in (B, U))
        return weights, biases, velocities + bias_velocities

    def close(self) -> None:
        """End the threads."""
        if self.pool:
            self.pool.shutdown()

    def _matrix(self, layer: int, what: np.integer) -> np.ndarray:
        return self.arena.matrix(layer, what, self.plan.layers[layer] if what in (W, V) else 1)

    def _fill(self, weights: Arrays, biases: Arrays, velocities: Arrays) -> None:
        layers = len(weights)
        for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
            self._matrix(l, W)[:], self._matrix(l, B)[:] = w, b
            if velocities:
                self._matrix(l, V)[:], self._matrix(l, U)[:] = velocities[l], velocities[layers + l]
            if l:
                self.arena.matrix(l, T, w.shape[1])[:] = w.T


def _data(X: Any, targets: np.ndarray, outputs: int, dtype: np.dtype) -> Data:
    none = np.zeros((0, 0), X.dtype)
    if isinstance(X, np.ndarray):
        dense, csr = X, Csr(none[0:0].ravel(), np.zeros(0, np.int32), np.zeros(0, np.int64))
    else:
        dense, csr = none, Csr(X.data, X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False))
    if targets.ndim == 1:
        return Data(dense, csr, targets, np.zeros((0, outputs), dtype))
    return Data(dense, csr, np.zeros(0, np.int64), targets)
