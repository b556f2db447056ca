"""Model files: what is saved comes back bit for bit, and what could not come back is not saved."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import fastfc
from fastfc.data import load_data
from fastfc.errors import FastFCError, InvalidArgument, InvalidType, ModelFileError
from fastfc.storage.checkpoint import FILE_NAME, read_checkpoint
from fastfc.storage.modelfile import read_parameters, save_parameters
from tests.small import DESCRIBED, parameters

hostile = pytest.mark.promise(3)


def identical(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    """Equal dtype, shape and bits, the sign of zero with them."""
    return len(found) == len(expected) and all(
        a.dtype == b.dtype and a.dtype.isnative and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(found, expected, strict=True)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    save_parameters(path, DESCRIBED, *parameters((3, 2, 4), "float32"))
    return path


# round trips


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [(1, 1), (784, 10), (7, 5, 3), (5, 1, 1, 2), (2,) * 13])
def test_parameters_come_back_bit_for_bit(tmp_path: Path, layers: tuple[int, ...], dtype: str) -> None:
    description = {**DESCRIBED, "layers": layers, "dtype": dtype, "image_shape": None}
    description["activations"] = ("relu", "tanh", "sigmoid", "identity", *["relu"] * 7)[: len(layers) - 2]
    weights, biases = parameters(layers, dtype)
    info = np.finfo(dtype)
    special = [-0.0, info.smallest_subnormal, info.max, info.min]
    weights[0].flat[:4] = np.array(special, dtype)[: weights[0].size]
    save_parameters(tmp_path / "m", description, weights, biases)
    found, found_weights, found_biases = read_parameters(tmp_path / "m")
    assert found == description
    assert identical(found_weights, weights) and identical(found_biases, biases)
    assert all(array.flags.writeable and array.flags.owndata for array in found_weights + found_biases)


@pytest.mark.parametrize("scale", [1 / 255, 5e-324, 1.7e308, 1])
@pytest.mark.parametrize(
    ("loss", "output"), [("softmax_ce", "identity"), ("sigmoid_bce", "identity"), ("mse", "identity"), ("mse", "relu")]
)
def test_descriptions_come_back(path: Path, loss: str, output: str, scale: float) -> None:
    description = {**DESCRIBED, "loss": loss, "output_activation": output, "scale": scale}
    save_parameters(path, description, *parameters((3, 2, 4), "float32"))
    assert read_parameters(path)[0] == description


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
    "negative strides": lambda array: np.ascontiguousarray(array[::-1])[::-1],
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_is_saved_and_not_changed(tmp_path: Path, layout: str) -> None:
    weights, biases = parameters((3, 2, 4), "float32")
    given = [LAYOUTS[layout](array) for array in weights + biases]
    before = [array.tobytes() for array in given]
    save_parameters(tmp_path / "m", DESCRIBED, given[:2], given[2:])
    _, found_weights, found_biases = read_parameters(tmp_path / "m")
    assert identical(found_weights, weights) and identical(found_biases, biases)
    assert [array.tobytes() for array in given] == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("activation", "loss", "output"),
    [("relu", "softmax_ce", "identity"), (("tanh", "sigmoid"), "sigmoid_bce", "identity"), ("identity", "mse", "tanh")],
)
def test_a_network_comes_back_and_predicts_the_same(
    tmp_path: Path, activation: Any, loss: str, output: str, dtype: str
) -> None:
    network = fastfc.Network(
        (12, 7, 5, 3), activation, loss, output, dtype=dtype, scale=0.01, image_shape=(3, 4), seed=4, backend="numpy"
    )
    network.save(tmp_path / "m.safetensors")
    found = fastfc.load(str(tmp_path / "m.safetensors"))
    found.backend = "numpy"
    for name in ("layers", "activations", "loss", "output_activation", "scale", "dtype", "image_shape"):
        assert getattr(found, name) == getattr(network, name), name
    assert identical(found.weights, network.weights) and identical(found.biases, network.biases)
    X = np.random.default_rng(5).integers(0, 256, (20, 12), np.uint8)
    assert identical([found.predict_proba(X)], [network.predict_proba(X)])


def test_the_file_is_what_safetensors_reads(path: Path) -> None:
    weights, biases = parameters((3, 2, 4), "float32")
    with safe_open(path, "np") as file:
        found = json.loads(file.metadata()["fastfc"])
        for name, array in {"weights.0": weights[0], "weights.1": weights[1], "biases.1": biases[1]}.items():
            assert identical([file.get_tensor(name)], [array])
        assert len(file.keys()) == 4
    assert found["format"] == "fastfc" and found["version"] == "1" and found["layers"] == [3, 2, 4]


def test_equal_networks_give_equal_bytes(path: Path) -> None:
    files = []
    for _ in range(8):
        save_parameters(path, dict(reversed(DESCRIBED.items())), *parameters((3, 2, 4), "float32"))
        files.append(path.read_bytes())
    assert len(set(files)) == 1


def test_neither_module_imports_safetensors_before_it_is_needed() -> None:
    script = (
        "import sys, fastfc.storage.modelfile, fastfc.storage.checkpoint; print('safetensors' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# what is refused before it is written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": (3,)}, r"layers: given \(3,\), expected 2 to 1000 sizes"),
        ({"layers": (3, 0, 4)}, "layers: given 0, expected a whole number >= 1"),
        ({"layers": (3, 2.0, 4)}, "layers: given 2.0, expected a whole number"),
        ({"layers": (3, 2**31, 4)}, "layers: given 2147483648, expected sizes of at most 2147483647"),
        ({"layers": (3, 2, 5)}, r"weights\[1\]: given float32 of shape \(2, 4\), expected float32 of shape \(2, 5\)"),
        ({"activations": ()}, r"activations: given \(\), expected a name for each of 1 hidden layers"),
        ({"activations": ("swish",)}, "activations: given 'swish', expected one of relu, tanh, sigmoid, identity"),
        ({"loss": "hinge"}, "loss: given 'hinge', expected one of softmax_ce, sigmoid_bce, mse"),
        ({"loss": "softmax_ce"}, "output_activation: given 'sigmoid', expected one of identity"),
        ({"scale": 0}, "scale: given 0, expected a finite number > 0"),
        ({"scale": None}, "scale: given None, expected a number"),
        ({"dtype": "float16"}, "dtype: given 'float16', expected one of float32, float64"),
        ({"dtype": "float64"}, r"weights\[0\]: given float32 of shape \(3, 2\), expected float64 of shape \(3, 2\)"),
        ({"image_shape": (28, 28)}, r"image_shape: given \(28, 28\), expected height and width of 3 pixels"),
        ({"image_shape": (3,)}, r"image_shape: given \(3,\), expected height and width of 3 pixels"),
        ({"image_shape": 3}, "image_shape: given 3, expected sizes"),
        ({"regression": 1}, "regression: given 1, expected True, False or None"),
        ({"regression": True, "loss": "softmax_ce", "output_activation": "identity"}, "regression: given True, expected F"),
        ({"input_kind": "int64"}, "input_kind: given 'int64', expected one of uint8, integer, float"),
        ({"seed": 1}, r"description: given unknown \['seed'\], expected exactly \['layers', "),
    ],
)
def test_a_wrong_description_is_not_saved(path: Path, change: dict[str, Any], message: str) -> None:
    before = path.read_bytes()
    with pytest.raises((InvalidArgument, InvalidType), match=f"^{message}"):
        save_parameters(path, {**DESCRIBED, **change}, *parameters((3, 2, 4), "float32"))
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_wrong_arrays_are_not_saved(path: Path) -> None:
    before = path.read_bytes()
    weights, biases = parameters((3, 2, 4), "float32")
    with pytest.raises(InvalidArgument, match=r"^weights: given 1 arrays, expected 2"):
        save_parameters(path, DESCRIBED, weights[:1], biases)
    with pytest.raises(InvalidType, match=r"^biases\[0\]: given list, expected a numpy array"):
        save_parameters(path, DESCRIBED, weights, [[1.0, 2.0], biases[1]])  # type: ignore[list-item]
    for value in (np.nan, np.inf, -np.inf):
        biases[1][2] = value
        with pytest.raises(InvalidArgument, match=rf"^biases\[1\]: given {value} at \(2,\), expected finite numbers"):
            save_parameters(path, DESCRIBED, weights, biases)
    assert path.read_bytes() == before


def test_the_largest_number_of_layers_is_saved_and_read(tmp_path: Path) -> None:
    description = {**DESCRIBED, "layers": (1,) * 1000, "activations": ("identity",) * 998, "image_shape": None}
    save_parameters(tmp_path / "m", description, *parameters((1,) * 1000, "float32"))
    assert read_parameters(tmp_path / "m")[0] == description


@hostile
def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="given a name that does not exist, expected a file"):
        read_parameters(tmp_path / "missing")
    with pytest.raises(ModelFileError, match="given a folder, device or pipe, expected a file"):
        read_parameters(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelFileError, match="given Not a directory, expected a file that can be read"):
        read_parameters(tmp_path / "file" / "m")
    with pytest.raises(InvalidArgument, match=r"^path: given '', expected a file name"):
        read_parameters("")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ModelFileError, match="given a folder, device or pipe"):
            read_parameters(tmp_path / "pipe")


# memory


def peak(call: Callable[[], Any]) -> int:
    """Bytes that Python and NumPy took at most while `call` ran."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@hostile
def test_reading_takes_less_than_twice_the_file(tmp_path: Path) -> None:
    layers = (784, 1000, 500)
    description = {**DESCRIBED, "layers": layers, "image_shape": None, "dtype": "float64"}
    weights, biases = parameters(layers, "float64")
    size = sum(array.nbytes for array in weights + biases)
    assert size > 10**7
    assert peak(lambda: save_parameters(tmp_path / "m", description, weights, biases)) < 1.5 * size
    assert peak(lambda: read_parameters(tmp_path / "m")) < 1.5 * size


def test_loading_takes_the_parameters_twice(tmp_path: Path) -> None:
    """As they are read, and as the network holds them; no random ones before that."""
    layers = (784, 2000, 500)
    fastfc.Network(layers).save(tmp_path / "m")
    assert peak(lambda: fastfc.load(tmp_path / "m")) < 2.5 * (tmp_path / "m").stat().st_size


@hostile
def test_a_file_with_a_hole_of_gigabytes_is_refused_before_it_is_read(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(2**33)

    def read() -> None:
        with pytest.raises(ModelFileError, match="length: given 8589934592 bytes, expected"):
            read_parameters(path)

    assert peak(read) < 2**20


# no pickle


class Canary:
    """Makes a folder when a pickle of it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def npy(path: Path, canary: Canary) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([canary], dtype=object))


def npz(path: Path, canary: Canary) -> None:
    objects = np.array([canary], dtype=object)
    np.savez(path.with_suffix(".npz"), x_train=objects, y_train=objects, X=objects, y=objects)
    path.with_suffix(".npz").rename(path)


def torch_like(path: Path, canary: Canary) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(canary, 2))
        archive.writestr("x_train.npy", pickle.dumps(canary, 2))
        archive.writestr("y_train.npy", pickle.dumps(canary, 2))


HOLDERS: dict[str, Callable[[Path, Canary], Any]] = {
    "pickle 0": lambda path, canary: path.write_bytes(pickle.dumps(canary, 0)),
    "pickle 5": lambda path, canary: path.write_bytes(pickle.dumps(canary, 5)),
    "npy": npy,
    "npz": npz,
    "torch": torch_like,
}
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "load": ("m.safetensors", lambda path: fastfc.load(path)),
    "checkpoint": (FILE_NAME, lambda path: read_checkpoint(path.parent)),
    "data": ("data.npz", load_data),
}


@hostile
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("reader", READERS)
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, holder: str, reader: str) -> None:
    canary = Canary(tmp_path / "the canary")
    pickle.loads(pickle.dumps(canary))
    canary.folder.rmdir()  # it does sing
    name, read = READERS[reader]
    HOLDERS[holder](tmp_path / name, canary)
    with pytest.raises(FastFCError):
        read(tmp_path / name)
    assert not canary.folder.exists()


@hostile
def test_no_module_that_reads_files_can_load_a_pickle() -> None:
    """Not one of them names a module or a function that could. Numba's cache of compiled kernels is another matter."""
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "torch", "eval", "exec"}
    files = list(Path(fastfc.__file__).parent.glob("**/*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: set[Any] = {getattr(node, "module", None), getattr(node, "id", None)}
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names |= {alias.name.split(".")[0] for alias in node.names}
            makes_modules = {"torch"} if file.name == "exchange.py" else set()  # and reads no file
            assert not names & banned - makes_modules, f"{file}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file
