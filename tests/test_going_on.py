"""Averages of the parameters, and trainings that go on with the optimiser's state: against single steps of the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.backend import load_backend
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.kernels.plan import Epoch
from tests.small import BACKENDS, SMALL, blobs, digest

X, Y = blobs(100)


def parameters_after_each_step(backend: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[list[Any]]:
    """Weights and biases, before the first step and after each."""
    trainer, _ = load_backend(backend)
    run, seen = trainer.run, []

    def recorded(self: Any, epoch: Epoch, *steps: int) -> None:
        run(self, epoch, *steps)
        state = self.state()
        seen.append([*state["weights"], *state["biases"]])

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "run", recorded)
        fastfc.train((X, Y), backend=backend, steps_per_call=1, **options)
    return seen


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", [0.5, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_average_is_of_the_parameters_after_each_step(
    backend: str, decay: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {**SMALL, "epochs": 3, "dtype": dtype}
    start, *seen = parameters_after_each_step(backend, monkeypatch, **options)
    expected = [array.astype("float64") for array in start]
    for t, parameters in enumerate(seen):
        d = min(decay, (1 + t) / (10 + t))
        expected = [d * e + (1 - d) * p for e, p in zip(expected, parameters, strict=True)]
    assert len(seen) == 12
    results = [fastfc.train((X, Y), (X, Y), backend=backend, ema=decay, steps_per_call=k, **options) for k in (1, 3, None)]
    for found, wanted in zip((*results[0].model.weights, *results[0].model.biases), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 if dtype == "float64" else 1e-6)
    assert len({digest(result.model) for result in results}) == 1
    last = results[0].history[-1]
    assert last.test_accuracy == results[0].model.score(X, Y)
    plain = fastfc.train((X, Y), backend=backend, **options)
    assert plain.history[-1].loss == last.loss and digest(plain.model) != digest(results[0].model)


STEADY: dict[str, Any] = {**SMALL, "shuffle": False, "schedule": "constant"}
KINDS: tuple[dict[str, Any], ...] = (
    *({"momentum_kind": kind} for kind in ("none", "ema", "nesterov")),
    {"optimizer": "adam"},
    {"optimizer": "adagrad"},
    {"velocity_has_rate": True, "l1": 0.01},
    {"clip_norm": 0.5, "optimizer": "rmsprop"},
    {"ema": 0.9},
    {"ema": 0.95, "optimizer": "adagrad", "l1": 1e-3},
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_training_goes_on_with_the_state_of_another(backend: str, kind: dict[str, Any]) -> None:
    """In the order of the file and at a constant rate, two trainings of it are one that is longer."""
    options: dict[str, Any] = {**STEADY, "backend": backend, **kind}
    whole = fastfc.train((X, Y), **{**options, "epochs": 3})
    first = fastfc.train((X, Y), **{**options, "epochs": 1})
    before = {name: [array.copy() for array in arrays] for name, arrays in first.state.items() if name != "steps"}
    then = fastfc.train((X, Y), network=first.model, state=first.state, **{**options, "epochs": 2})
    assert digest(then.model) == digest(whole.model)
    assert list(then.state) == list(whole.state) and then.state["steps"] == whole.state["steps"] == 12
    for name, arrays in before.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, first.state[name], strict=True))
    if before:
        alone = fastfc.train((X, Y), network=first.model, **{**options, "epochs": 2})
        assert digest(alone.model) != digest(whole.model)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_average_counts_the_steps_of_the_state(backend: str) -> None:
    """With many steps behind it, the average does not forget its begin as soon."""
    first = fastfc.train((X, Y), backend=backend, **STEADY)
    options: dict[str, Any] = {**STEADY, "backend": backend, "network": first.model, "ema": 0.999}
    late, early = (
        fastfc.train((X, Y), state={**first.state, "steps": steps}, **options).model.weights[0] for steps in (10**6, 0)
    )
    moved = [np.abs(w - first.model.weights[0]).max() for w in (late, early)]
    assert 0 < 10 * moved[0] < moved[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_state_with_an_average_has_the_parameters_that_it_is_of(backend: str) -> None:
    options: dict[str, Any] = {**STEADY, "backend": backend}
    plain, averaged = (fastfc.train((X, Y), ema=ema, **options) for ema in (None, 0.9))
    state = averaged.state
    assert list(state) == ["velocity", "average", "weights", "biases", "steps"] and list(plain.state) == ["velocity", "steps"]
    for name, arrays in (("weights", plain.model.weights), ("biases", plain.model.biases)):
        assert all(np.array_equal(a, b) for a, b in zip(state[name], arrays, strict=True))
    shown = [*averaged.model.weights, *averaged.model.biases]
    assert all(np.array_equal(a, b) for a, b in zip(state["average"], shown, strict=True))
    with pytest.raises(InvalidArgument, match=r"^state: given velocity, average, weights, biases, steps, expected velocity, steps, as"):
        fastfc.train((X, Y), network=averaged.model, state=state, **options)
    del state["weights"]
    with pytest.raises(InvalidArgument, match=r"^state: given velocity, average, biases, steps, expected velocity, average, weig"):
        fastfc.train((X, Y), network=averaged.model, state=state, ema=0.9, **options)


def test_the_steps_of_an_interrupted_training_are_those_it_has_made() -> None:
    def stop(epoch: int, done: int, n: int, losses: list[float]) -> None:
        if (epoch, done) == (2, 64):
            raise KeyboardInterrupt

    result = fastfc.train((X, Y), backend="numpy", on_steps=stop, steps_per_call=1, **SMALL)
    assert result.interrupted and result.state["steps"] == 6


def states() -> list[tuple[Any, type[FastFCError], str]]:
    good = fastfc.train((X, Y), backend="numpy", **STEADY).state
    velocity = good["velocity"]
    nan = [np.full_like(velocity[0], np.nan), *velocity[1:]]
    return [
        ([], InvalidType, "state: given list, expected TrainResult.state"),
        ({}, InvalidArgument, "state: given nothing, expected velocity, steps, as this optimizer keeps them"),
        ({"steps": 3}, InvalidArgument, "state: given steps, expected velocity, steps, as this"),
        ({**good, "second": velocity}, InvalidArgument, "state: given velocity, steps, second, expected velocity, steps"),
        ({**good, "steps": -1}, InvalidArgument, r"state\['steps'\]: given -1, expected a whole number >= 0"),
        ({**good, "velocity": velocity[0]}, InvalidType, r"state\['velocity'\]: given ndarray, expected a list of arrays"),
        ({**good, "velocity": velocity[:-1]}, InvalidArgument, r"state\['velocity'\]: given 3 arrays, expected 4"),
        (
            {**good, "velocity": [velocity[0].T, *velocity[1:]]},
            InvalidArgument,
            r"state\['velocity'\]\[0\]: given shape \(8, 20\), expected \(20, 8\)",
        ),
        ({**good, "velocity": nan}, InvalidArgument, r"state\['velocity'\]\[0\]: given nan at \(0, 0\), expected finite"),
        (
            {**good, "velocity": [v.astype("float32") for v in velocity]},
            InvalidArgument,
            r"state\['velocity'\]\[0\]: given an array of float32, expected float64",
        ),
    ]


def test_a_state_that_does_not_fit_is_refused_before_any_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fastfc.train((X, Y), backend="numpy", **STEADY).model
    cases = states()
    monkeypatch.setattr(fastfc.training.run, "load_backend", None)
    for state, error, message in cases:
        with pytest.raises(error, match=f"^{message}") as caught:
            fastfc.train((X, Y), network=network, state=state, backend="numpy", **STEADY)
        assert "\n" not in str(caught.value)
