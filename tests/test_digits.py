"""The generated digits: deterministic, inked like MNIST, hard for a linear classifier and easy for a network."""

from __future__ import annotations

import stat
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fastfc.data import digits, load_data

Sample = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTFC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def sample() -> Sample:
    """15,000 images to train on and 3,000 to test."""
    X, y = digits.generate(15_000, np.random.default_rng(1))
    return X, y, *digits.generate(3000, np.random.default_rng(2))


def accuracy(sample: Sample, hidden: tuple[int, ...], epochs: int, rate: float) -> float:
    """Test accuracy of a softmax classifier, with the ReLU layers `hidden`, trained by plain SGD."""
    X, X_test = (part.reshape(len(part), 784).astype(np.float32) / 255 for part in (sample[0], sample[2]))
    y, y_test = sample[1], sample[3]
    rng = np.random.default_rng(3)
    sizes = [784, *hidden, 10]
    weights = [rng.standard_normal(pair, np.float32) * np.float32((2 / pair[0]) ** 0.5) for pair in pairwise(sizes)]
    for epoch in range(epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X), 100):
            batch = order[start : start + 100]
            inner = [X[batch]]
            for w in weights[:-1]:
                inner.append(np.maximum(inner[-1] @ w, 0))
            scores = inner[-1] @ weights[-1]
            delta = np.exp(scores - scores.max(axis=1, keepdims=True))
            delta /= delta.sum(axis=1, keepdims=True)
            delta[np.arange(len(batch)), y[batch]] -= 1
            for k in reversed(range(len(weights))):
                gradient = inner[k].T @ delta
                delta = (delta @ weights[k].T) * (inner[k] > 0)
                weights[k] -= np.float32(rate * (1 - epoch / epochs) / len(batch)) * gradient
    out = X_test
    for w in weights[:-1]:
        out = np.maximum(out @ w, 0)
    return float(((out @ weights[-1]).argmax(axis=1) == y_test).mean())


def test_form(sample: Sample) -> None:
    X, y, _, _ = sample
    assert X.shape == (15_000, 28, 28) and y.shape == (15_000,) and X.dtype == y.dtype == np.uint8
    assert np.bincount(y, minlength=10).min() > 1300 and np.bincount(y).size == 10
    assert X.max() == 255 and (X.max(axis=(1, 2)) > 100).all()


def test_ink_is_that_of_mnist(sample: Sample) -> None:
    X = sample[0]
    assert 0.17 < (X > 0).mean() < 0.21
    assert 0.10 < X.mean() / 255 < 0.16
    share = (X > 0).mean(axis=(1, 2))
    assert share.min() > 0.03 and share.max() < 0.45
    assert (X[:, 4:24, 4:24] > 0).sum() > 0.9 * (X > 0).sum()


def test_the_same_generator_draws_the_same_digits() -> None:
    (X, y), again, another = (digits.generate(300, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(X, again[0])
    np.testing.assert_array_equal(y, again[1])
    assert not np.array_equal(X, another[0])


def test_no_two_images_are_equal(sample: Sample) -> None:
    images = np.concatenate([sample[0], sample[2]])
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_linear_classifier_falls_behind_a_network(sample: Sample) -> None:
    with threadpool_limits(1):
        assert 0.84 < accuracy(sample, (), epochs=6, rate=0.15) < 0.91
        assert accuracy(sample, (100,), epochs=12, rate=0.5) > 0.955


@pytest.mark.slow
def test_whole_set_is_as_hard_as_promised() -> None:
    X, y, X_test, y_test = digits.load()
    with threadpool_limits(1):
        linear = accuracy((X, y, X_test, y_test), (), epochs=5, rate=0.15)
        network = accuracy((X, y, X_test, y_test), (200, 50), epochs=10, rate=0.5)
    print(f"generated digits: linear {linear:.2%}, 784-200-50-10 {network:.2%}")
    assert 0.86 <= linear <= 0.93 and network >= 0.97


def test_load_generates_then_reads_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = digits.load(seed=1, n_train=200, n_test=50)
    assert [array.shape for array in made] == [(200, 28, 28), (200,), (50, 28, 28), (50,)]
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    assert len(files) == 4 and all(path.suffix == ".gz" for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (cache, files[0].parent)} == {0o700}
    with monkeypatch.context() as patch:
        patch.setattr(digits, "generate", None)
        for one, other in zip(made, digits.load(seed=1, n_train=200, n_test=50), strict=True):
            np.testing.assert_array_equal(one, other)
    files[0].write_bytes(files[0].read_bytes()[:-100])
    for one, other in zip(made, digits.load(seed=1, n_train=200, n_test=50), strict=True):
        np.testing.assert_array_equal(one, other)


def test_seeds_and_sets_differ() -> None:
    one, other = digits.load(1, 100, 100), digits.load(2, 100, 100)
    assert not np.array_equal(one[0], other[0]) and not np.array_equal(one[1], one[3])
    assert not {image.tobytes() for image in one[0]} & {image.tobytes() for image in one[2]}


def test_without_a_cache_digits_are_generated(cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    assert [len(array) for array in digits.load(0, 50, 20)] == [50, 50, 20, 20]


@pytest.mark.slow
def test_whole_set_by_name(cache: Path) -> None:
    dataset = load_data("digits")
    assert dataset.name == "generated digits" and dataset.notice == "" and dataset.image_shape == (28, 28)
    assert dataset.X.shape == (60_000, 784) and dataset.X_test.shape == (10_000, 784) and dataset.y.dtype == np.int64
    assert 0.17 < (dataset.X > 0).mean() < 0.21
