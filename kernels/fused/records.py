"""The records that kernels are called with, and what their numbers mean. Arrays are (rows, columns) and C-contiguous unless said."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastfc.kernels.optimizers import Rule  # noqa: F401  found here by its name, as the others

HALVES = 2  # of the features, each of which has its own sums in the first layer
UNIT = 8  # samples or features that threads do not divide: the rows of a tile
PART = 256  # samples of a batch that are trained on at a time: their activations and deltas stay in the caches
PANEL = 64  # features whose non-zeros are listed at a time
CHUNK = 64  # samples that are predicted at a time: their activations stay in the caches
WORK_PLACE, SCALE_PLACE, MULTIPLY = np.arange(3)  # of predict.one
# Places in the meeting of a team, each in a cache line of its own, which grow for as long as a call lasts: how often a thread
# has come to a barrier, how many barriers are open, and, at the moment, who sleeps; then seconds and nanoseconds after which a
# sleeper looks again; then, of each thread, how often its looks are halved. np.int64, as below.
ARRIVED, OPENED, SLEEPERS, TIMEOUT, IN_VAIN = np.arange(5) * 8
NEVER = (1 << 62) + (1 << 31)  # in the place of OPENED, opens every barrier; the system compares 32 bits of it

# Columns of `Model.layout`, which has one row for each layer of weights: sizes; offsets into the arena; addresses.
# WEIGHTS (fan_in, padded), BIASES (1, padded), TRANSPOSED (padded fan_out, padded fan_in) the weights once more,
# OUTPUTS, DELTAS and SLOPES (rows, padded): f(z) of the samples, the gradient with respect to z, and, or offset 0, f'(z);
# SAVED: that of the last two which CHAIN reads. ACTIVATE and CHAIN are kernels of `activations`, or 0 for the identity; PRODUCT is
# that of `dense`.
# np.int64, for Numba compiles a version for each Python integer.
FAN_IN, FAN_OUT, PADDED, WEIGHTS, BIASES, TRANSPOSED, OUTPUTS, DELTAS, SLOPES, SAVED, ACTIVATE, CHAIN, PRODUCT = np.arange(13)
COLUMNS = 13


class Team(NamedTuple):
    """Thread number `thread` of `threads`; meeting (8 * (4 + threads),) int64, zero at the start but for TIMEOUT; who waits looks
    `spins` times, at most, before it sleeps."""

    thread: int
    threads: int
    spins: int
    meeting: Any


class Model(NamedTuple):
    """arena (numbers,) and its layout: parameters, behind them, `distance` numbers apart, `states` arrays of the optimiser's state
    and at `gradient`, from the parameters, their gradient, -1 where it is not kept; then activations and scratch memory."""

    arena: Any
    layout: Any
    distance: int
    states: int
    gradient: int


class Work(NamedTuple):
    """What a thread needs for the sparse first layer beside its data.

    index (int32,) the features of samples, or the samples of a panel; x (GROUP, > fan_in + VECTOR_BYTES) samples as floats;
    listed (LISTS * batch + WORDS, GROUP) those of a panel; packed_words (as many, uint32) the same as bytes; words
    (PANEL / GROUP, > batch + WORDS) uint32, a panel transposed; starts (LISTS + 1,).

    For CSR rows: index and listed have room for the numbers of some features, starts (fan_in + 1,).
    """

    index: Any
    x: Any
    listed: Any
    packed_words: Any
    words: Any
    starts: Any


class ThreadMemory(NamedTuple):
    """Scratch memory of integers, one row for each thread; `Work` says what for."""

    index: Any
    packed_words: Any
    words: Any
    starts: Any


class Stored(NamedTuple):
    """Samples as they are stored: codes (rows, bytes of a sample), of the named dtype."""

    codes: Any
    dtype: Any


class Csr(NamedTuple):
    """data, as bytes; indices (int32,); indptr (int64,), empty where X is dense."""

    data: Any
    indices: Any
    indptr: Any


class Rows(NamedTuple):
    """CSR rows, of which the features lo to hi: ends (rows, 2) int64 where each begins and ends in csr.data, of the named dtype,
    and csr.indices, which ascend within a row."""

    csr: Csr
    ends: Stored
    lo: int
    hi: int
    dtype: Any


class Data(NamedTuple):
    """X (n, bytes of a sample), or csr; labels (n,), or targets (n, outputs) where there are none."""

    X: Any
    csr: Csr
    labels: Any
    targets: Any


class Options(NamedTuple):
    """chunk: the samples in a part of a batch; sparse, convert (codes to floats): 0 or 1; height and width of an image, for
    shifts; widest of the layers, padded; itemsize of the codes; has_rows: 1 where CSR rows are multiplied as they are."""

    batch_size: int
    chunk: int
    sparse: int
    convert: int
    height: int
    width: int
    widest: int
    itemsize: int
    has_rows: int


class Numbers(NamedTuple):
    """The input is background + scale * codes, `outside` comes into a shifted image, low and high are the targets off and on the
    label, threshold is huber's; scale is (1,), for it is read by address. What dropout keeps of float input is `kept` times as
    large. clip_norm 0: the gradient is not clipped."""

    scale: Any
    low: Any
    high: Any
    background: Any
    outside: Any
    threshold: Any
    kept: float
    clip_norm: float


class Parts(NamedTuple):
    """Addresses of kernels, 0 where one is not needed.

    load         samples that are not just copied: CSR, or where its rows are, shifted images
    drop_codes   dropout of the input;  drop: of a hidden layer, at `rates` (layers,), the input's first
    multiply     of the first layer, forward
    update_first, add_first   its step; and its gradient, added to that of earlier parts of a batch
    update, add  the same for all other layers
    step         of the biases
    head         the loss
    square, clip of the gradient, where its norm is limited; the former also where penalties are asked for
    """

    load: int
    drop_codes: int
    drop: int
    rates: Any
    multiply: int
    update_first: int
    add_first: int
    update: int
    add: int
    step: int
    head: int
    square: int
    clip: int


class Places(NamedTuple):
    """Offsets into the arena: inputs (2 * chunk, features), target (chunk, outputs), zeros (widest,), ones, sums (HALVES * chunk,
    padded), and for each thread a row (widest,) and, with an offset for each, what Work has of floats."""

    inputs: int
    target: int
    zeros: int
    ones: int
    sums: int
    rows: int
    work: Any


class Arrangement(NamedTuple):
    """How a part of a batch is arranged: its samples come in the order order[place], are chosen = order[place], and have the numbers
    chosen + first_sample; shifts
    (chunk, 2), scale (chunk,) of the gradient and losses (chunk,) in that order; count (outputs + 1,) is scratch."""

    place: Any
    chosen: Any
    numbers: Any
    shifts: Any
    scale: Any
    losses: Any
    count: Any


class Memory(NamedTuple):
    """codes (2 * chunk, bytes of a sample): two batches as they are stored, or `Rows.ends` of them; places in the arena; scratch
    memory, an Arrangement and a rule (numbers,) for each thread; squares (2, rows of all layers + layers) float64: of the rows of
    all weights, and of the biases, the sum of squares; below it that of their gradient."""

    codes: Any
    places: Places
    work: ThreadMemory
    arrangement: Arrangement
    rules: Any
    squares: Any


class Shares(NamedTuple):
    """Where the first layer's features are divided: by thread (threads + 1,), and by half (HALVES + 1,)."""

    features: Any
    halves: Any


class Problem(NamedTuple):
    """What is computed, and on what: the same for all steps of a training."""

    data: Data
    options: Options
    numbers: Numbers
    parts: Parts
    memory: Memory
    shares: Shares


class Schedule(NamedTuple):
    """The numbers of the optimiser: rules (steps, numbers) and factors (layers, 2, numbers), as `Optimizer` gives them."""

    rules: Any
    factors: Any


class Span(NamedTuple):
    """order, shifts, scale, losses and penalties of an Epoch, its dropout key and first_sample, of which steps start to stop are made;
    with is_held = 1 without the update."""

    order: Any
    shifts: Any
    scale: Any
    losses: Any
    penalties: Any
    key: int
    first_sample: int
    start: int
    stop: int
    is_held: int


class Varying(NamedTuple):
    """What changes from call to call of a training."""

    schedule: Schedule
    span: Span


class RowTask(NamedTuple):
    """What is predicted of CSR rows: scale (1,) of the numbers of the named dtype; a place, a ThreadMemory and the address of a
    kernel as in Task."""

    csr: Csr
    dtype: Any
    scale: Any
    work_places: Any
    work: ThreadMemory
    finish: int


class Task(NamedTuple):
    """What is predicted, and with what: samples X (n, bytes of a sample) of the named dtype, scale (1,) of them; `multiply`, the kernel
    of the sparse first layer, or 0; sort_features, by which samples are brought together, with starts (threads, 2 ** sort_features
    + 1), keys (n,) and order (n,); codes (threads * CHUNK, bytes of a sample) and their place in the arena as floats; a place and a
    ThreadMemory for what is sparse; `finish`, a kernel that the outputs go through, or 0; finite (threads,): how many numbers of X
    are."""

    X: Any
    dtype: Any
    scale: Any
    multiply: int
    sort_features: Any
    starts: Any
    keys: Any
    order: Any
    codes: Any
    inputs_place: int
    work_places: Any
    work: ThreadMemory
    finish: int
    finite: Any
