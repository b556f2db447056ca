"""The ink of a picture: what stands out from the paper, without frames, specks and what lies at the edges.

Levels are float32, 0 to 255. A picture is (height, width, channels); what was found of it is (height, width).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVELS = 16.0  # the least difference between ink and paper, of 255
NOISE = 5.0  # ink differs from the paper by so many standard deviations of the paper
INK_SHARE = 0.25  # of the strongest ink: what is ink for sure
EDGE_SHARE = 0.12  # of the strongest ink: what is ink beside ink, the soft edge of a stroke
SPECK_SHARE = 0.04  # of the ink: smaller parts are dirt
FRAME_SPAN = 0.5  # of the picture, in both directions: what may be a frame
LINE_SHARE = 0.75  # of its length that a straight frame line must cover
RIM = 2  # pixels cut off a sheet, where it blends into the table

Picture = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


class Found(NamedTuple):
    strokes: Picture  # trimmed; 0 to 255 above the paper
    box: tuple[slice, slice]  # where it was in the picture
    free: bool  # touches no edge of the picture
    filling: bool  # its largest part touches all four


def find_ink(pixels: Picture, ink: str) -> Picture | None:
    """The digit alone, trimmed, 0 to 255 above the paper; None when there is none."""
    dark, bright = _two_levels(pixels)
    if ink != "auto":
        paper = _paper(pixels, bright if ink == "dark" else dark)
        found = _one_sided(_darker(pixels, paper) if ink == "dark" else pixels - paper)
        return found.strokes if found else None
    around = np.concatenate([_thirds(side) for side in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])])
    margin = np.abs(around - np.median(around, axis=0)).max(axis=1) < 2 * LEVELS
    if margin.mean() < 0.9:  # cut out narrowly, then: there may be more ink than paper, but only ink goes right across
        for start in (bright, dark):
            if (np.abs(pixels - start).max(axis=2) < 3 * LEVELS).mean() > 0.2:
                paper = _paper(pixels, start)
                found = _one_sided(_darker(pixels, paper) if start is bright else pixels - paper)
                if found and found.filling:
                    return found.strokes
    found = _stronger(pixels, np.median(pixels, axis=(0, 1)))
    if found and _is_sheet(found, pixels):
        y, x = (slice(side.start + RIM, side.stop - RIM) for side in found.box)
        return find_ink(pixels[y, x], ink)
    return found.strokes if found else None


def _is_sheet(found: Found, pixels: Picture) -> bool:
    """Whether it is no digit but a sheet of paper with one on it, seen on a dark table or in a thick frame."""
    mask = found.strokes > 0.5 * found.strokes.max()
    large = min(mask.shape[axis] / pixels.shape[axis] for axis in (0, 1)) > FRAME_SPAN
    sides = np.stack([mask.argmax(axis=1), mask[:, ::-1].argmax(axis=1)]) / mask.shape[1]
    return large and 0.6 < mask.mean() < 0.97 and sides.mean() < 0.06 and min(mask.shape) > 32


def _two_levels(pixels: Picture) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is typical of the dark and of the bright pixels, (channels,) each, parted as Otsu (1979) does."""
    values = pixels[:, :, int(pixels.std(axis=(0, 1)).argmax())]
    share = np.bincount(np.rint(values).astype(np.intp).ravel(), minlength=256) / values.size
    below, mean_below = np.cumsum(share), np.cumsum(share * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean_below[-1] * below - mean_below) ** 2 / (below * (1 - below))
    split = values <= int(np.nan_to_num(between, posinf=0).argmax()) + 0.5
    if split.all() or not split.any():
        return np.median(pixels, axis=(0, 1)), np.median(pixels, axis=(0, 1))
    return np.median(pixels[split], axis=0), np.median(pixels[~split], axis=0)


def _stronger(pixels: Picture, start: NDArray[Any]) -> Found | None:
    """Dark or light ink, whichever there is more of; but ink that stands free goes before what lies at the edges."""
    paper = _paper(pixels, start)
    dark, light = _one_sided(_darker(pixels, paper)), _one_sided(pixels - paper)
    if dark is None or light is None:
        return dark or light
    if dark.free != light.free:
        free, other = (dark, light) if dark.free else (light, dark)
        tall = free.strokes.shape[0] > 0.15 * pixels.shape[0]
        return free if tall and free.strokes.max() > INK_SHARE * other.strokes.max() else other
    return dark if dark.strokes.sum() >= light.strokes.sum() else light


def _one_sided(above: Picture) -> Found | None:
    """What is above the paper in any channel, cleaned and trimmed."""
    near = np.abs(above[np.abs(above) < 3 * LEVELS])
    noise = 1.4826 * float(np.median(near)) if near.size else 0.0  # of a normal distribution
    contrast = np.maximum(above.max(axis=2), 0)
    smooth = blur(contrast)
    floor = max(LEVELS, NOISE * noise / 2)

    smooth = _without_lines(smooth, floor)
    parts = _parts(smooth > max(floor, EDGE_SHARE * float(smooth.max())))
    smooth = np.where(_paint(parts, _frames(parts)), 0, smooth)
    peak = float(smooth.max())
    parts = _parts(smooth > max(floor, INK_SHARE * peak))
    kept = _paint(parts, _digit(parts))
    if not kept.any():
        return None
    edge = _dilate(kept, 2) & (smooth > max(floor / 2, EDGE_SHARE * peak))
    rows, columns = np.flatnonzero(edge.any(axis=1)), np.flatnonzero(edge.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    k = parts.area.argmax()
    thin = min(kept.shape) < max(kept.shape) / 2  # a picture of a 1
    filling = bool(_at_edges(parts, 0.06)[k].all()) and (thin or parts.area[k] < 0.7 * kept.size)
    free = not (kept[0].any() or kept[-1].any() or kept[:, 0].any() or kept[:, -1].any())
    return Found(np.where(_dilate(edge, 1), contrast, 0)[box], box, free, filling)


def _darker(pixels: Picture, paper: Picture) -> Picture:
    """How much darker than the paper, as if that were everywhere as bright as where it is brightest."""
    brightest = paper.max(axis=(0, 1))
    return (paper - pixels) * (brightest / np.maximum(paper, np.maximum(brightest / 4, 1)))


def _paper(pixels: Picture, start: NDArray[Any]) -> Picture:
    """The paper under the ink: for each channel a quadratic surface, fitted to what is near `start` (channels,)."""
    height, width, channels = pixels.shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    rows, columns = slice(None, None, -(-height // 64)), slice(None, None, -(-width // 64))
    basis = _quadratic(y[rows], x[columns]).reshape(-1, 6)
    everywhere = _quadratic(y, x)
    paper = np.empty_like(pixels)
    for channel in range(channels):
        levels = pixels[rows, columns, channel].ravel()
        fitted = np.full_like(levels, start[channel])
        for _ in range(6):
            off = np.abs(levels - fitted)
            near = off <= max(min(max(3 * float(np.median(off)), LEVELS), 3 * LEVELS), float(off.min()))
            weights = np.linalg.lstsq(basis[near], levels[near], rcond=1e-4)[0]
            fitted = basis @ weights
        paper[:, :, channel] = np.clip(everywhere @ weights, levels[near].min(), levels[near].max())
    return paper


def _quadratic(y: Picture, x: Picture) -> Picture:
    """1, y, x, y², xy, x² at every point: (len(y), len(x), 6)."""
    Y, X = np.broadcast_arrays(y[:, None], x[None, :])
    return np.stack([np.ones_like(Y), Y, X, Y * Y, X * Y, X * X], axis=-1)


def _thirds(side: Picture) -> Picture:
    """Means of three neighbours along (n, channels), against noise."""
    return (side[:-2] + side[1:-1] + side[2:]) / 3 if len(side) > 32 else side


def blur(levels: Picture) -> Picture:
    """3x3 mean, against the noise of a picture; small ones, whose strokes are that thin, stay as they are."""
    if min(levels.shape) < 64:
        return levels
    padded = np.pad(levels, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / np.float32(9)


def _dilate(mask: Mask, pixels: int) -> Mask:
    """Grow a mask by so many pixels in every direction, diagonals included."""
    for axis in (0, 1):
        grown = mask.copy()
        for shift in range(1, min(pixels, mask.shape[axis] - 1) + 1):
            low = [slice(None)] * 2
            high = [slice(None)] * 2
            low[axis], high[axis] = slice(None, -shift), slice(shift, None)
            grown[tuple(low)] |= mask[tuple(high)]
            grown[tuple(high)] |= mask[tuple(low)]
        mask = grown
    return mask


# --- parts of a mask


class Parts(NamedTuple):
    """The 8-connected parts of a mask, as runs of pixels in rows, and one entry a part."""

    shape: tuple[int, int]
    row: NDArray[np.intp]  # of each run
    start: NDArray[np.intp]
    stop: NDArray[np.intp]
    part: NDArray[np.intp]
    top: NDArray[np.intp]  # of each part; bottom and right are exclusive
    bottom: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    area: NDArray[np.intp]


def _parts(mask: Mask) -> Parts:
    """Label the 8-connected parts: runs in rows, joined by the least label, with pointer jumping."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(steps == 1)
    _, stop = np.nonzero(steps == -1)
    stride = mask.shape[1] + 2
    first = np.searchsorted(row * stride + stop, (row + 1) * stride + start)
    last = np.searchsorted(row * stride + start, (row + 1) * stride + stop, side="right")
    count = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(row)), count)
    below = np.arange(len(above)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    label = np.arange(len(row))
    while True:
        old = label.copy()
        np.minimum.at(label, label[above], label[below])
        np.minimum.at(label, label[below], label[above])
        label = label[label]
        if np.array_equal(label, old):
            break
    _, part = np.unique(label, return_inverse=True)
    n = int(part.max(initial=-1)) + 1

    def over(values: NDArray[np.intp], ufunc: np.ufunc, initial: int) -> NDArray[np.intp]:
        result = np.full(n, initial)
        ufunc.at(result, part, values)
        return result

    big = sum(mask.shape)
    return Parts(
        (mask.shape[0], mask.shape[1]), row, start, stop, part,
        top=over(row, np.minimum, big), bottom=over(row + 1, np.maximum, 0),
        left=over(start, np.minimum, big), right=over(stop, np.maximum, 0), area=over(stop - start, np.add, 0),
    )  # fmt: skip


def _paint(parts: Parts, chosen: Mask) -> Mask:
    """The mask of the chosen parts."""
    runs = chosen[parts.part]
    steps = np.zeros((parts.shape[0], parts.shape[1] + 1), np.int8)
    steps[parts.row[runs], parts.start[runs]] += 1
    steps[parts.row[runs], parts.stop[runs]] -= 1
    return np.cumsum(steps, axis=1)[:, :-1] > 0


def _frames(parts: Parts) -> Mask:
    """Which parts are frames: large, with straight left and right sides, and with another part inside."""
    height, width = parts.bottom - parts.top, parts.right - parts.left
    frames = (height >= FRAME_SPAN * parts.shape[0]) & (width >= FRAME_SPAN * parts.shape[1])
    for k in np.flatnonzero(frames):
        runs = parts.part == k
        row = parts.row[runs] - parts.top[k]
        left, right = np.full(height[k], width[k]), np.zeros(height[k], np.intp)
        np.minimum.at(left, row, parts.start[runs] - parts.left[k])
        np.maximum.at(right, row, parts.stop[runs] - parts.left[k])
        straight = (left + width[k] - right).mean() < 0.12 * width[k]  # an ellipse has 0.21
        inside = (parts.top > parts.top[k]) & (parts.bottom < parts.bottom[k])
        inside &= (parts.left > parts.left[k]) & (parts.right < parts.right[k])
        inside &= np.maximum(height, parts.right - parts.left) >= 0.1 * height[k]
        frames[k] = straight and inside.any()
    return frames


def _without_lines(smooth: Picture, floor: float) -> Picture:
    """Blank the four straight lines of a frame that the digit touches, where there are four and a digit remains."""
    parts = _parts(smooth > max(floor, EDGE_SHARE * float(smooth.max())))
    if not parts.area.size:
        return smooth
    k = int(parts.area.argmax())
    top, bottom, left, right = (int(side[k]) for side in (parts.top, parts.bottom, parts.left, parts.right))
    height, width = bottom - top, right - left
    if height < FRAME_SPAN * smooth.shape[0] or width < FRAME_SPAN * smooth.shape[1]:
        return smooth
    mask = _paint(parts, np.arange(parts.area.size) == k)[top:bottom, left:right]
    rows, columns = mask.mean(axis=1) >= LINE_SHARE, mask.mean(axis=0) >= LINE_SHARE
    inner, thick = [], 0
    for lines, span in ((rows, height), (columns, width)):
        near = max(2, round(0.08 * span))  # a line is that thin, and that near to the side
        first, last = np.flatnonzero(lines[:near]), np.flatnonzero(lines[-near:])
        if not (first.size and last.size):
            return smooth
        thick += int(lines[near - 1]) + int(lines[-near])
        inner.append((int(first[-1]) + 2, span - near + int(last[0]) - 1))
    (y0, y1), (x0, x1) = inner
    inside = np.zeros_like(smooth)
    inside[top + y0 : top + y1, left + x0 : left + x1] = smooth[top + y0 : top + y1, left + x0 : left + x1]
    rest = _parts(inside > max(floor, EDGE_SHARE * float(inside.max(initial=0))))
    tall = (rest.bottom - rest.top).max(initial=0) >= 0.2 * height
    return inside if tall and thick < 2 else smooth


def _at_edges(parts: Parts, slack: float = 0.0) -> Mask:
    """(parts, 4): which edges of the picture each part touches, or comes near to by `slack` of the side."""
    height, width = parts.shape
    y, x = int(slack * height), int(slack * width)
    sides = parts.top <= y, parts.bottom >= height - y, parts.left <= x, parts.right >= width - x
    return np.stack(sides, axis=1)


def _digit(parts: Parts) -> Mask:
    """Which parts are the digit: no specks, and nothing that comes in from the edge where something stands free."""
    kept = np.ones(parts.area.size, np.bool_)
    edge = _at_edges(parts).any(axis=1)
    free = np.where(~edge & (parts.bottom - parts.top >= 0.15 * parts.shape[0]), parts.area, 0)
    if free.max(initial=0) > 0.1 * parts.area.max(initial=0):
        kept &= ~edge
    if kept.any():
        kept &= parts.area >= max(SPECK_SHARE * parts.area[kept].max(), 4)
    return kept
