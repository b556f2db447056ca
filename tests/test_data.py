"""What `load_data` accepts, what it makes of it, and how it says no."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from fastfc.data import Dataset, load_data, mnist
from fastfc.data.idx import encode
from fastfc.errors import DataError, DownloadError, InvalidArgument, InvalidType
from tests.promises import Cases

hostile = pytest.mark.promise(3)
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 4, 5), np.uint8)
Y = RNG.integers(0, 3, 6, np.uint8)
XT = RNG.integers(0, 256, (3, 4, 5), np.uint8)
YT = RNG.integers(0, 3, 3, np.uint8)
FILES = dict(zip(mnist.SHAPES, (X, Y, XT, YT), strict=True))


@pytest.fixture(autouse=True)
def no_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTFC_DATA_DIR", raising=False)
    monkeypatch.setenv("FASTFC_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the four files, two of them plain and one with a dot in its name."""
    (tmp_path / "idx").mkdir()
    for k, (name, array) in enumerate(FILES.items()):
        name = name.replace("-idx", ".idx") if k == 1 else name
        (tmp_path / "idx" / f"{name}{'.gz' if k % 2 else ''}").write_bytes(encode(array, compress=k % 2 == 1))
    return tmp_path / "idx"


def assert_whole(dataset: Dataset, name: str) -> None:
    np.testing.assert_array_equal(dataset.X, X.reshape(6, 20))
    np.testing.assert_array_equal(dataset.X_test, XT.reshape(3, 20))
    np.testing.assert_array_equal(dataset.y, Y)
    np.testing.assert_array_equal(dataset.y_test, YT)
    assert dataset.X.dtype == dataset.X_test.dtype == np.uint8
    assert dataset.y.dtype == np.int64 and dataset.y_test is not None and dataset.y_test.dtype == np.int64
    assert (dataset.name, dataset.image_shape, dataset.notice) == (name, (4, 5), "")


@pytest.mark.parametrize("kind", [str, Path])
def test_folder(folder: Path, kind: type) -> None:
    assert_whole(load_data(kind(folder)), str(folder))


def test_folder_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFC_DATA_DIR", str(folder))
    assert_whole(load_data("mnist"), "mnist")
    assert_whole(load_data(), "mnist")


def test_fashion_mnist_is_a_subfolder_of_the_folder_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFC_DATA_DIR", str(folder.parent))
    folder.rename(folder.parent / "fashion-mnist")
    assert_whole(load_data("fashion-mnist"), "fashion-mnist")


def test_fashion_mnist_is_not_taken_from_the_files_of_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFC_DATA_DIR", str(folder))
    source = mnist.SOURCES["fashion-mnist"]
    monkeypatch.setitem(mnist.SOURCES, "fashion-mnist", mnist.Source(source.title, ("http://127.0.0.1:9/",), {}, 1))
    with pytest.raises(DownloadError, match="FOLDER/fashion-mnist"):
        load_data("fashion-mnist")


@pytest.mark.parametrize("data", [None, "mnist"])
def test_a_folder_of_the_user_without_the_files_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, data: str | None
) -> None:
    (folder / "train-images-idx3-ubyte").unlink()
    monkeypatch.setenv("FASTFC_DATA_DIR", str(folder))
    with pytest.raises(DataError, match=r"^FASTFC_DATA_DIR: given .* without train-images-idx3-ubyte, expected"):
        load_data(data)
    monkeypatch.setenv("FASTFC_DATA_DIR", str(folder / "missing"))
    with pytest.raises(DataError, match=r"^FASTFC_DATA_DIR: given .*missing"):
        load_data(data)


def test_images_where_labels_should_be(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(encode(XT))
    with pytest.raises(DataError, match=r"t10k-labels.* 3 dimensions \(3, 4, 5\), expected 1"):
        load_data(folder)


@pytest.mark.mnist
def test_true_mnist(mnist_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFC_DATA_DIR", str(mnist_dir))
    dataset = load_data()
    assert dataset.name == "mnist" and dataset.image_shape == (28, 28) and dataset.y_test is not None
    assert dataset.X.shape == (60_000, 784) and dataset.X_test.shape == (10_000, 784)
    assert dataset.X.dtype == np.uint8 and dataset.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(dataset.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert round(float((dataset.X > 0).mean()), 3) == 0.191


@pytest.mark.parametrize("names", [("x_train", "y_train", "x_test", "y_test"), ("X", "y", "X_test", "y_test")])
def test_npz(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **dict(zip(names, FILES.values(), strict=True)))
    assert_whole(load_data(path), str(path))
    np.savez(path, **dict(zip(names[:2], FILES.values(), strict=False)))
    dataset = load_data(str(path))
    np.testing.assert_array_equal(dataset.X, X.reshape(6, 20))
    assert dataset.X_test is None and dataset.y_test is None


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


GOOD = npz(X=X, y=Y)
HUGE = npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 9), }\n")


@hostile
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip file",
        GOOD[: len(GOOD) // 2],
        GOOD.replace(X.tobytes(), (X ^ 1).tobytes()),
        npz(X=np.ones((9000, 3)), y=np.arange(9000)).replace(b"'shape': (9000,", b"'shape': (1000,"),
        npz(a=X, b=Y),
        npz(X=X),
        npz(X=X, y=Y, X_test=XT),
        npz(X=np.array([[1, None]], dtype=object), y=Y),
        npz(x_train=X, y_train=np.array([print], dtype=object)),
        zipped("X.npy", b"no array"),
        zipped("X.npy", npy(b"{'descr': __import__('os'), 'shape': (1,)}\n")),
        encode(X),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n") + b"ab",
    ],
)
def test_bad_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and "expected" in str(caught.value)


@hostile
def test_mutated_npz_is_read_right_or_refused(tmp_path: Path, cases: Cases) -> None:
    tries = cases(300, 10_000)
    rng = np.random.default_rng(1)
    path = tmp_path / "data.npz"
    refused = 0
    for _ in range(tries):
        data = bytearray(GOOD)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.2 else data)
        try:
            dataset = load_data(path)
        except DataError:
            refused += 1
        else:
            assert dataset.X.tobytes() == X.tobytes() and dataset.y.tolist() == Y.tolist()
    assert 2 * tries // 3 < refused < tries


@hostile
def test_npz_that_claims_more_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", HUGE)
        archive.writestr("y.npy", HUGE)
    with pytest.raises(DataError):
        load_data(path)


@hostile
def test_pickles_in_npz_are_never_run(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "run",))  # type: ignore[return-value]

    path = tmp_path / "data.npz"
    np.savez(path, X=np.array([[Canary()]], dtype=object), y=Y)
    with pytest.raises(DataError):
        load_data(path)
    assert not (tmp_path / "run").exists()
    np.load(path, allow_pickle=True)["X"]
    assert (tmp_path / "run").exists()


def test_arrays() -> None:
    assert_whole(load_data((X, Y), (XT, YT)), "arrays")
    dataset = load_data((X.reshape(6, 20), Y))
    assert dataset.image_shape is None and dataset.X_test is None and dataset.y_test is None


def test_unsigned_bytes_are_not_copied() -> None:
    dataset = load_data([X, Y], [XT, YT])
    assert np.shares_memory(dataset.X, X) and np.shares_memory(dataset.X_test, XT)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, ">i4", np.int64, np.uint64])
def test_integer_labels_become_int64(dtype: str) -> None:
    labels = Y.astype(dtype)
    dataset = load_data((X, labels))
    assert dataset.y.dtype == np.int64 and dataset.y.tolist() == Y.tolist()
    assert labels.dtype == np.dtype(dtype)


def test_other_inputs_and_targets_keep_their_type() -> None:
    for dtype in np.float16, np.float32, np.float64, np.int32, ">f8", bool:
        assert load_data((X.astype(dtype), Y)).X.dtype == dtype
    targets = RNG.standard_normal((6, 2))
    assert load_data((X, targets)).y is targets
    assert load_data((X, Y.astype(float))).y.dtype == np.float64


def test_lists_frames_and_sparse_matrices() -> None:
    dataset = load_data(([[1, 2], [3, 4]], [0, 1]))
    assert dataset.X.tolist() == [[1, 2], [3, 4]] and dataset.y.dtype == np.int64
    frame = pd.DataFrame({"a": [0.5, 1.5], "b": [2.5, 3.5]})
    dataset = load_data((frame, pd.Series([1, 0])))
    assert dataset.X.tolist() == [[0.5, 2.5], [1.5, 3.5]] and dataset.y.tolist() == [1, 0]
    sparse = scipy.sparse.csr_array(X.reshape(6, 20))
    assert load_data((sparse, Y)).X is sparse


def test_dataset() -> None:
    dataset = Dataset(X.reshape(6, 20), Y.astype(np.int64), name="mine", image_shape=(4, 5))
    assert load_data(dataset) is dataset
    with_test = load_data(dataset, (XT, YT))
    assert_whole(with_test, "mine")
    assert dataset.X_test is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X[0, 0], Y), r"X: given shape \(5,\), expected \(n, features\) or \(n, height, width\)"),
        ((X[None], Y), r"X: given shape \(1, 6, 4, 5\), expected"),
        ((3, Y), r"X: given shape \(\), expected"),
        (([[1, 2], [3]], [0, 1]), "X: given list that is no array .* expected rows of equal length"),
    ],
)
def test_shapes_that_are_no_samples(data: tuple, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        load_data(data)
    with pytest.raises(InvalidArgument, match="of test_data"):
        load_data((X, Y), data)


@pytest.mark.parametrize(
    "data",
    [3, X, (X,), (X, Y, XT), {"X": X, "y": Y}, (X.astype(str), Y), (X.astype(object), Y), (X * 1j, Y), (X, ["a"] * 6)],
)
def test_other_types(data: object) -> None:
    with pytest.raises(InvalidType, match=r"^(data|X|y): given .*, expected .*(numbers|arrays)"):
        load_data(data)
    with pytest.raises(InvalidType, match=r"test_data: given .*, expected"):
        load_data((X, Y), data)


@pytest.mark.parametrize("name", ["mnits", "/no/such/folder", "missing.npz", "", __file__])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(DataError, match=r'^data: given .*, expected "mnist", "fashion-mnist", "digits", a folder'):
        load_data(name)


def test_inputs_are_not_modified(folder: Path) -> None:
    before = X.tobytes(), Y.tobytes(), X.shape, Y.dtype
    load_data((X, Y), (XT, YT))
    assert (X.tobytes(), Y.tobytes(), X.shape, Y.dtype) == before


def test_import_is_light() -> None:
    heavy = '{"numba", "pooch", "requests", "tqdm", "matplotlib", "PIL", "safetensors"}'
    program = f"import sys, fastfc.data; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert (result.stdout, result.stderr) == ("set()\n", "")
