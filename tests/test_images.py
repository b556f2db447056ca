"""Pictures of digits brought into the form of MNIST."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import fastfc
from fastfc.data import load_data
from fastfc.images import draw, prepare
from tests.pictures import PATH, difference, pen, sheet, uneven_light, with_noise


def centre_of_mass(image: NDArray[np.uint8]) -> tuple[float, float]:
    rows, columns = np.indices(image.shape)  # MNIST counts pixels from 0: its mean is (14.00, 14.01)
    return float((rows * image).sum() / image.sum()), float((columns * image).sum() / image.sum())


@pytest.mark.parametrize("digit", PATH)
def test_a_drawing_takes_the_form_of_mnist(digit: str) -> None:
    result = prepare(sheet(pen(digit)))
    assert result.shape == (784,) and result.dtype == np.uint8
    image = result.reshape(28, 28)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert rows[-1] - rows[0] + 1 == 20  # these are taller than wide
    drawn = np.argwhere(pen(digit) > 0.5)
    aspect = np.divide(*(np.ptp(drawn, axis=0) + 1))
    assert (columns[-1] - columns[0] + 1) == pytest.approx(20 / aspect, abs=1.01)
    assert centre_of_mass(image) == pytest.approx((14, 14), abs=0.51)
    assert image.max() == 255


def test_the_ink_is_what_was_drawn() -> None:
    image = prepare(sheet(pen("7"))).reshape(28, 28)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert digit[1, 3:-3].min() > 150  # the bar
    assert digit[5:, :4].max() < 30  # nothing below it on the left
    assert digit[-2].argmax() < digit[3].argmax()  # the stroke leans to the left


def test_what_is_already_in_the_form_of_mnist_stays_so() -> None:
    once = prepare(sheet(pen("2")))
    assert difference(prepare(once.reshape(28, 28)), once) < 4


@pytest.mark.parametrize(("paper", "colour"), [(255, 0), (0, 255), (40, 210), (200, 130), (90, 160)])
def test_dark_on_light_and_light_on_dark_are_told_apart(paper: int, colour: int) -> None:
    assert difference(prepare(sheet(pen(), paper, colour)), prepare(sheet(pen()))) < 3


def test_the_size_of_the_picture_and_where_the_digit_is_do_not_matter() -> None:
    expected = prepare(sheet(pen()))
    large = np.full((900, 1300), 235, np.uint8)
    large[650:850, 50:250] = sheet(pen())
    assert difference(prepare(large), expected) < 12
    assert difference(prepare(sheet(pen(side=60, width=4))), expected) < 12


def test_dark_or_light_can_be_said() -> None:
    fat = sheet(pen(width=60))[15:185, 30:170]  # more ink than paper
    assert difference(prepare(fat, ink="dark"), prepare(255 - fat, ink="light")) < 1
    assert difference(prepare(fat, ink="dark"), prepare(sheet(pen(width=60)))) < 12
    assert difference(prepare(sheet(pen()), ink="dark"), prepare(sheet(pen()))) < 1
    assert difference(prepare(sheet(pen()), ink="light"), prepare(sheet(pen()))) > 50


def test_a_digit_cut_out_narrowly_is_no_paper() -> None:
    expected = prepare(sheet(pen("7", width=24)))
    rows, columns = np.nonzero(pen("7", width=24) > 0.5)
    narrow = sheet(pen("7", width=24))[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert difference(prepare(narrow), expected) < 5
    assert difference(prepare(255 - narrow), expected) < 5


def frame(picture: NDArray[np.uint8], margin: int, thick: int, level: int) -> NDArray[np.uint8]:
    framed = picture.copy()
    size = len(picture)
    outer, inner = np.s_[margin : size - margin], np.s_[margin + thick : size - margin - thick]
    framed[outer, outer] = level
    framed[inner, inner] = picture[inner, inner]
    return framed


def on_a_table(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = np.full((300, 320), 50, np.uint8)
    table[40:240, 60:260] = picture
    return table


def spotted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    spots = picture.copy()
    spots[np.random.default_rng(0).random(picture.shape) < 0.01] = 0
    return spots


def shadow(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:200, 0:200]
    return np.where(x + y < 70, 60, picture).astype(np.uint8)


DISTURBED: dict[str, Callable[[NDArray[np.uint8]], NDArray[Any]]] = {
    "frame at the edge": lambda picture: frame(picture, 0, 6, 10),
    "frame inside": lambda picture: frame(picture, 7, 3, 10),
    "frame of the ink's colour": lambda picture: frame(picture, 3, 5, 25),
    "white frame": lambda picture: frame(picture, 0, 12, 255),
    "thick frame": lambda picture: frame(picture, 0, 29, 20),
    "uneven light": lambda picture: uneven_light(picture).astype(np.uint8),
    "noise": lambda picture: with_noise(picture, 12),
    "noise and uneven light": lambda picture: with_noise(uneven_light(picture), 6),
    "paper on a table": on_a_table,
    "spots": spotted,
    "shadow in the corner": shadow,
}


@pytest.mark.parametrize("name", DISTURBED)
def test_what_is_not_the_digit_is_left_out(name: str) -> None:
    expected = prepare(sheet(pen()))
    assert difference(prepare(DISTURBED[name](sheet(pen()))), expected) < 8
    if name not in ("white frame", "thick frame", "uneven light"):  # which are of paper, and not of a blackboard
        assert difference(prepare(255 - DISTURBED[name](sheet(pen()))), expected) < 8


def test_a_frame_that_the_digit_touches_is_left_out() -> None:
    cut = sheet(pen())[30:176, 50:196]
    framed = frame(cut, 0, 4, 25)
    framed[100:104, 2:20] = 25  # a stroke from the digit to the frame
    result = prepare(framed).reshape(28, 28)
    assert difference(result.ravel(), prepare(sheet(pen()))) < 25
    assert (result[:, :3].max(), result[:, -3:].max()) == (0, 0)


def test_a_rectangular_digit_is_no_frame() -> None:
    eight = np.full((200, 140), 230, np.uint8)
    for rows, columns in (((20, 36), (30, 110)), ((92, 108), (30, 110)), ((164, 180), (30, 110))):
        eight[slice(*rows), slice(*columns)] = 20
    eight[20:180, 30:46] = eight[20:180, 94:110] = 20
    result = prepare(eight).reshape(28, 28)
    assert result[4:24, 14].astype(int).sum() > 3 * 2 * 200  # three bars, two pixels each
    assert result[4, 10:18].min() > 150 and result[23, 10:18].min() > 150


def test_thin_pens_are_widened() -> None:
    thin, thick = prepare(sheet(pen(width=2))), prepare(sheet(pen(width=14)))
    assert 0.6 < thin.astype(float).sum() / thick.astype(float).sum() < 1.6


# --- what holds the pixels


def colours(paper: tuple[int, int, int], ink: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.stack([sheet(pen(), p, i) for p, i in zip(paper, ink, strict=True)], axis=-1)


def rgba(ink: int) -> NDArray[np.uint8]:
    picture = np.full((200, 200, 4), ink, np.uint8)
    picture[..., 3] = np.rint(255 * pen())
    return picture


def round_corners() -> NDArray[np.uint8]:
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    opaque = np.where(x**2 + y**2 < 1.8, 255, 0).astype(np.uint8)
    return np.dstack([sheet(pen())] * 3 + [opaque])


ARRAYS: dict[str, Callable[[], NDArray[Any]]] = {
    "bool": lambda: pen() < 0.5,
    "float32": lambda: (sheet(pen()) / 255).astype(np.float32),
    "int64": lambda: sheet(pen()).astype(np.int64),
    "uint16": lambda: sheet(pen()).astype(np.uint16) * 257,
    "one channel": lambda: sheet(pen())[:, :, None],
    "red on cream": lambda: colours((250, 240, 200), (240, 40, 40)),
    "red on blue": lambda: colours((30, 60, 200), (220, 60, 30)),
    "black on nothing": lambda: rgba(0),
    "white on nothing": lambda: rgba(255),
    "round corners": round_corners,
    "strided": lambda: np.repeat(sheet(pen()), 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_every_kind_of_array_gives_the_same(name: str) -> None:
    array = ARRAYS[name]()
    before = array.copy()
    assert difference(prepare(array), prepare(sheet(pen()))) < 4
    np.testing.assert_array_equal(array, before)


def rotated(image: Image.Image) -> Image.Image:
    image = image.transpose(Image.Transpose.ROTATE_90)
    image.getexif()[0x0112] = 6  # to be turned back by a quarter
    return image


def palette(image: Image.Image) -> Image.Image:
    return image.convert("RGB").quantize(8)


FILES: dict[str, Callable[[Path], None]] = {
    "grey.png": lambda path: Image.fromarray(sheet(pen())).save(path),
    "colour.png": lambda path: Image.fromarray(colours((250, 240, 200), (240, 40, 40))).save(path),
    "alpha.png": lambda path: Image.fromarray(rgba(255)).save(path),
    "grey-alpha.png": lambda path: Image.fromarray(rgba(0)).convert("LA").save(path),
    "palette.png": lambda path: palette(Image.fromarray(sheet(pen()))).save(path),
    "transparent-palette.png": lambda path: palette(Image.fromarray(sheet(pen(), 255, 0))).save(path, transparency=1),
    "bilevel.png": lambda path: Image.fromarray(pen() < 0.5).save(path),
    "sixteen.png": lambda path: Image.fromarray(sheet(pen()).astype(np.uint16) * 257).save(path),
    "photo.jpg": lambda path: Image.fromarray(sheet(pen())).convert("RGB").save(path, quality=60),
    "cmyk.jpg": lambda path: Image.fromarray(sheet(pen())).convert("CMYK").save(path, quality=90),
    "turned.jpg": lambda path: (image := rotated(Image.fromarray(sheet(pen())))).save(path, exif=image.getexif()),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FILES[name](path)
    expected = prepare(sheet(pen()))
    assert difference(prepare(path), expected) < 6
    assert difference(prepare(str(path)), expected) < 6
    with Image.open(path) as image:
        assert difference(prepare(image), expected) < 6


def test_numbers_in_pil_images_of_32_bits() -> None:
    expected = prepare(sheet(pen()))
    for levels in (sheet(pen()).astype(np.int32), sheet(pen()).astype(np.int32) * 257, sheet(pen()).astype(np.float32)):
        assert difference(prepare(Image.fromarray(levels)), expected) < 4


def test_a_list_gives_a_row_for_each(tmp_path: Path) -> None:
    FILES["grey.png"](tmp_path / "grey.png")
    rows = prepare([tmp_path / "grey.png", sheet(pen("7"))])
    assert rows.shape == (2, 784)
    np.testing.assert_array_equal(rows[1], prepare(sheet(pen("7"))))


def test_another_size_keeps_the_margins() -> None:
    image = prepare(sheet(pen()), size=56).reshape(56, 56)
    rows = np.flatnonzero(image.any(axis=1))
    assert rows[-1] - rows[0] + 1 == 40
    assert centre_of_mass(image) == pytest.approx((28, 28), abs=0.51)


def test_a_large_photo_takes_little_memory() -> None:
    photo = Image.new("RGB", (6000, 5000), (230, 228, 220))
    ImageDraw.Draw(photo).line([(2000, 1500), (3000, 1500), (2400, 3500)], fill=(40, 40, 60), width=200)
    tracemalloc.start()
    prepare(photo)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


# --- digits of MNIST as pictures


def test_drawings_are_seeded_and_framed() -> None:
    digit = prepare(sheet(pen()))
    first, again, other = (np.asarray(draw(digit, np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape
    assert first.ndim == 3 and min(first.shape[:2]) > 4 * 28 and max(first.shape[:2]) <= 2 * 12 * 28
    border = [first[3], first[-4], first[:, 3], first[:, -4]]
    assert np.median(np.concatenate(border)) < np.median(first)
    assert difference(prepare(draw(digit, np.random.default_rng(1))), digit) < 15


@pytest.mark.mnist
def test_drawn_digits_are_read_as_well_as_the_originals(mnist_dir: Path) -> None:
    data = load_data(mnist_dir)
    model = fastfc.train(data, hidden=(50,), epochs=2, threads=1).model
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(data.X_test), 50, replace=False)
    assert data.y_test is not None
    digits, labels = data.X_test[chosen], data.y_test[chosen]
    pictures = prepare([draw(digit, rng) for digit in digits])
    read = model.score(digits, labels)
    assert read > 0.95
    assert model.score(pictures, labels) >= read - 0.03
    assert model.score(prepare([digit.reshape(28, 28) for digit in digits]), labels) >= read - 0.03
