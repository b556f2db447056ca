"""Pictures of one digit, brought into the form of MNIST: 20x20 in 28x28, centred by mass, light ink on black.

The steps, in order: open and decode, find the ink (`fastfc.images.ink`), trim, scale to 20x20 with the aspect kept, pad to
28x28, shift the centre of mass to the centre. Pillow is imported when a file is opened; arrays need NumPy alone.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastfc.errors import DataError, FastFCError, InvalidType, invalid
from fastfc.images.ink import EDGE_SHARE, LEVELS, Picture, blur, find_ink
from fastfc.validation import one_of, whole

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["draw", "prepare"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
INKS = ("auto", "dark", "light")
MISSING = "image files need Pillow: pip install fastfc[images]"
MAX_PIXELS = 1 << 26  # the largest phone cameras give 50 million
MIN_SIDE = 8  # pixels, the longer side
MAX_ASPECT = 32
WORKING_SIDE = 512  # pixels; larger pictures are averaged down, 20x20 needs no more
THIN, PEN = 1.1, 2.2  # pixels of the result: strokes thinner than the one are widened to the other
SQUARE = [(y, x) for y in range(3) for x in range(3)]
CROSS = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]


def prepare(image: Any, *, ink: str = "auto", size: int = 28) -> NDArray[np.uint8]:
    """A picture of a digit as MNIST has it: (size*size,) uint8, 0 background, 255 ink; (n, size*size) for n pictures.

    image  the path of a PNG, JPEG, BMP, GIF or WebP file; a PIL image; an array (height, width) or
           (height, width, channels) with 3 or 4 channels, of bool, integers 0 to 255 (uint16: to 65535) or floats 0 to
           1; or a list of these
    ink    "dark" on light paper, "light" on dark, or "auto": what most of the picture is made of is the paper, unless
           the ink runs from edge to edge; what stands free on it is the ink
    size   of the result, in pixels, at least 8; the digit fits into 20/28 of it, the rest is the margin

    Colour, alpha, palettes, 16 bits and the EXIF orientation are honoured. Uneven light, noise, specks and frames are
    left out, and the lines of a thin pen widened. The method is that of MNIST: fitted into 20x20, then placed in 28x28
    by the centre of mass.

    Raises DataError, in one line that names the picture, for a file that is missing, damaged, not an image or too
    large, and for a picture without ink; InvalidArgument or InvalidType for other arguments; FastFCError when Pillow
    is needed and not installed.
    """
    one_of("ink", ink, INKS)
    whole("size", size, 8)
    if isinstance(image, (list, tuple)):
        if not image:
            raise invalid("image", "an empty list", "one picture or more")
        return np.stack([prepare(one, ink=ink, size=size) for one in image])
    pixels, name = _pixels(image)
    strokes = find_ink(_average_down(pixels), ink)
    if strokes is None:
        raise DataError(f"{name}: no digit found, the picture looks blank")
    return _centre(_fit(strokes, round(size * 20 / 28)), size).ravel()


def draw(digit: NDArray[np.uint8], generator: np.random.Generator) -> Image.Image:
    """A (784,) digit of MNIST as a drawing to try `prepare` with: an RGB JPEG, decoded.

    Enlarged 4 to 12 times, dark on light, anywhere on a larger sheet with a drawn border, with noise and the marks of
    JPEG at quality 30 to 90. Needs Pillow.
    """
    from PIL import Image

    side = round(28 * generator.uniform(4, 12))
    strokes = Image.fromarray(digit.reshape(28, 28)).resize((side, side), Image.Resampling.BICUBIC)
    height, width = (round(side * generator.uniform(1.1, 2)) for _ in range(2))
    paper, ink, line = generator.uniform((200, 0, 0), (255, 90, 120))
    sheet = np.full((height, width), paper)
    y, x = generator.integers(0, (height - side + 1, width - side + 1))
    sheet[y : y + side, x : x + side] += (ink - paper) * np.asarray(strokes) / 255
    margin, thick = generator.integers((0, 1), (6, 9))
    within = np.minimum.outer(_to_side(height), _to_side(width))
    sheet[(within >= margin) & (within < margin + thick)] = line
    sheet += generator.normal(0, generator.uniform(0, 8), sheet.shape)
    file = io.BytesIO()
    picture = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8)).convert("RGB")
    picture.save(file, "JPEG", quality=int(generator.integers(30, 91)))
    return Image.open(file)


def _to_side(length: int) -> NDArray[np.intp]:
    """Distance of each pixel from the nearer end."""
    return np.minimum(np.arange(length), np.arange(length)[::-1])


# --- decoding


def _pixels(image: Any) -> tuple[Picture, str]:
    """(height, width, channels) float32 in 0 to 255, and what to call the picture in a message."""
    if isinstance(image, (str, os.PathLike)):
        return _decode_file(os.fsdecode(image))
    if isinstance(image, np.ndarray):
        return _from_array(image), "image"
    if hasattr(image, "getbands") and hasattr(image, "convert"):
        return _decode(image, "image"), "image"
    given = type(image).__name__
    raise InvalidType(f"image: given {given}, expected a path, a PIL image, an array, or a list of these")


def _decode_file(path: str) -> tuple[Picture, str]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise FastFCError(MISSING) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check_size` is stricter
            with Image.open(path, formats=FORMATS) as opened:
                return _decode(opened, path), path
    except FastFCError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{path}: given more pixels than Pillow opens, expected at most {MAX_PIXELS}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read ({', '.join(FORMATS)})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or _first_line(error)}") from None
    except Exception as error:  # a damaged header raises whatever the decoder ran into
        raise DataError(f"{path}: damaged image ({_first_line(error)})") from None


def _decode(image: Image.Image, name: str) -> Picture:
    from PIL import ImageOps

    _check_size(image.width, image.height, name)
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            return _from_array(_wide_levels(image))
        alpha = image.has_transparency_data
        image = image.convert("RGBA" if alpha else "L" if image.mode in ("1", "L") else "RGB")
        return _from_array(np.asarray(image.reduce(_shrinkage(*image.size))))
    except FastFCError:
        raise
    except Exception as error:  # a truncated or damaged stream raises whatever the decoder ran into
        raise DataError(f"{name}: damaged or truncated image ({_first_line(error)})") from None


def _check_size(width: int, height: int, name: str) -> None:
    given = f"{width}x{height} pixels"
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: given {given}, expected at most {MAX_PIXELS} in all")
    if max(width, height) < MIN_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
        expected = f"at least {MIN_SIDE} on the longer side and 1/{MAX_ASPECT} of it on the other"
        raise DataError(f"{name}: given {given}, expected {expected}")


def _wide_levels(image: Image.Image) -> NDArray[Any]:
    """A picture of more than 8 bits a pixel: 16-bit grey, or 32-bit numbers in the range of 8 or 16 bits."""
    levels = np.asarray(image)
    if image.mode == "F":
        return levels if levels.max() <= 1 else levels / np.float32(255)
    return levels.astype(np.uint16) if image.mode.startswith("I;16") or levels.max() > 255 else levels


def _from_array(array: NDArray[Any]) -> Picture:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        expected = "(height, width), (height, width, 3 or 4), or a list of these"
        raise invalid("image", f"an array of shape {array.shape}", expected)
    _check_size(array.shape[1], array.shape[0], "image")
    kind = array.dtype.kind
    if kind not in "buif":
        raise InvalidType(f"image: given an array of {array.dtype}, expected numbers")
    top = 1 if kind in "bf" else 65535 if array.dtype == np.uint16 else 255
    least, most = array.min(), array.max()
    if not (least >= 0 and most <= top):
        raise invalid("image", f"{array.dtype} from {least} to {most}", f"0 to {top}")
    if array.shape[2] == 3 and (array == array[:, :, :1]).all():
        array = array[:, :, :1]
    levels = array.astype(np.float32) * np.float32(255 / top)
    return _flatten(levels) if array.shape[2] == 4 else levels


def _flatten(rgba: Picture) -> Picture:
    """Lay (height, width, 4) on paper: that of the picture where it has some, else one that the ink stands out from."""
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:] / 255
    seen = colour[alpha[:, :, 0] > 0.5]
    if not 0 < len(seen) < alpha.size:
        return colour * alpha
    has_paper = 2 * len(seen) > alpha.size and np.ptp(seen, axis=0).max() > 2 * LEVELS
    paper = np.median(seen, axis=0) if has_paper else np.float32(0 if seen.mean() > 127 else 255)
    return (colour * alpha + paper * (1 - alpha)).astype(np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shrinkage(*sides: int) -> int:
    """So many pixels in each direction become one; the noise shrinks with them."""
    return -(-max(sides) // WORKING_SIDE)


def _average_down(pixels: Picture) -> Picture:
    """Average k x k blocks, so that the longer side is at most WORKING_SIDE."""
    k = _shrinkage(*pixels.shape[:2])
    height, width = (side // k for side in pixels.shape[:2])
    return pixels[: height * k, : width * k].reshape(height, k, width, k, -1).mean(axis=(1, 3))


# --- the form of MNIST


def _fit(strokes: Picture, box: int) -> Picture:
    """Scale to `box` pixels on the longer side, the aspect kept, and the strongest ink to 255."""
    peak = float(np.quantile(strokes[strokes > 0], 0.9))
    levels = np.clip((strokes - EDGE_SHARE * peak / 2) / (peak * (1 - EDGE_SHARE / 2)), 0, 1)
    levels = _thicken(levels, box)
    height, width = levels.shape
    scale = box / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    fitted = _resampling(height, rows) @ levels @ _resampling(width, columns).T
    return fitted * (255 / max(float(fitted.max()), 1e-6))


def _thicken(levels: Picture, box: int) -> Picture:
    """Widen the strokes of a thin pen to PEN pixels of the result; MNIST was written with thick ones."""
    mask = blur(levels) > 0.5
    outline = np.abs(np.diff(np.pad(mask, 1).astype(np.int8), axis=0)).sum()
    outline += np.abs(np.diff(np.pad(mask, 1).astype(np.int8), axis=1)).sum()
    pixel = max(levels.shape) / box  # of the result
    width = 2 * float(mask.sum()) / max(int(outline), 1)
    grow = round((PEN * pixel - width) / 2)
    if grow < 1 or width > THIN * pixel:
        return levels
    levels = np.pad(levels, grow)
    height, width = levels.shape
    for k in range(grow):
        padded = np.pad(levels, 1)
        around = CROSS if k % 2 else SQUARE  # in turn they make an octagon
        levels = np.maximum.reduce([padded[y : y + height, x : x + width] for y, x in around])
    return levels


def _resampling(old: int, new: int) -> Picture:
    """(new, old) weights of the mean over the area of each new pixel; linear between pixels where it enlarges."""
    reach = max(old / new, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * old / new
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centre)
    overlap = np.clip((reach + 1) / 2 - distance, 0, 1)
    weights = overlap if reach > 1 else np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _centre(fitted: Picture, size: int) -> NDArray[np.uint8]:
    """Pad to size x size, with the centre of mass as near to the middle as the ink allows."""
    result = np.zeros((size, size), np.uint8)
    corner = []
    for axis in (0, 1):
        mass = fitted.sum(axis=1 - axis)
        middle = float(mass @ np.arange(mass.size)) / float(mass.sum())
        corner.append(min(max(round(size / 2 - middle), 0), size - mass.size))
    height, width = fitted.shape
    result[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = np.rint(fitted)
    return result
