"""What a training is about: the data as the kernels take it, what is held out of it, and the network for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.data import Dataset
from fastfc.data.dataset import load_pair
from fastfc.errors import InvalidType, invalid
from fastfc.initializers import initialize
from fastfc.kernels.plan import REGRESSIONS, Plan
from fastfc.network import PIXEL, Network
from fastfc.settings import Settings
from fastfc.training.evaluation import HeldOut, Watch, check_classes, classes_of, divided, split
from fastfc.training.input_kernel import background_of
from fastfc.validation import check_init, check_inputs, check_shifts, check_targets, check_weights, input_kind


class Problem:
    """Checked data. None of it is copied where it has the form that the kernels take.

    X            (samples, features), and targets (samples,) or (samples, outputs), as the kernels take them
    rows         (n,) those of the samples that are trained on: all but a share for validation
    weights      (samples,) float64 what each counts for in training, or None for 1
    validation, test   HeldOut samples, or None
    metrics_on   the one that metrics of one's own are of
    regression   whether targets are numbers, and not classes
    background   the most common value of X
    """

    def __init__(self, settings: Settings, data: Dataset, seed: int, network: Network | None, watch: Watch) -> None:
        self.settings, self.dtype, self.image_shape = settings, np.dtype(settings.dtype), data.image_shape
        trained_on = network.input_kind if network else None
        self.X, kind = check_inputs(data.X, self.dtype, trained_on=trained_on), input_kind(data.X)
        self.input_kind = trained_on if trained_on and kind == "float" else kind
        n, loss = self.X.shape[0], settings.loss
        self.targets, self.outputs = check_targets(data.y, n, self._known_outputs(data.y), loss, self.dtype)
        self.regression = loss in REGRESSIONS and self.targets.ndim == 2
        if self.regression and settings.label_smoothing:
            raise invalid("label_smoothing", settings.label_smoothing, f"0 with loss {loss!r} of numbers")
        self.test = None if data.X_test is None else self._held_out(data.X_test, data.y_test, None, "test_data")
        own = None if data.sample_weight is None else check_weights(data.sample_weight, self.samples)
        self.rows = np.arange(self.samples)
        self.validation = self._validation(watch.validation, data.y, own, seed)
        self._weigh(own, data.class_factor)
        self.metrics_on = self.validation or self.test
        if watch.metrics and not self.metrics_on:
            raise invalid("metrics", ", ".join(watch.metrics), "none without a validation set or test data")
        self.measured = self._measured(watch)
        self.background = background_of(self.X)

    @property
    def samples(self) -> int:
        """How many there are, those held out of them included."""
        return self.X.shape[0]

    @property
    def n(self) -> int:
        """How many samples are trained on."""
        return len(self.rows)

    def _validation(self, given: Any, y: Any, weights: np.ndarray | None, seed: int) -> HeldOut | None:
        """What is set apart, or given apart; the rows of the training are then without it."""
        if given is None:
            return None
        classes = classes_of(self.targets, self.settings.loss, self.regression)
        if not isinstance(given, (tuple, list)):
            return self._share(given, classes, y, weights, seed)
        if len(given) not in (2, 3):
            expected = "(X, y) or (X, y, sample_weight)"
            raise InvalidType(f"validation: given {type(given).__name__} of length {len(given)}, expected {expected}")
        held = self._held_out(*load_pair(given[:2], "validation"), given[2] if len(given) == 3 else None, "validation")
        check_classes(classes_of(held.targets, self.settings.loss, self.regression), classes)
        return held

    def _share(
        self, share: float, classes: np.ndarray | None, y: Any, weights: np.ndarray | None, seed: int
    ) -> HeldOut:
        self.rows, rows = split(share, classes, self.samples, seed)
        X, places = divided(self.X, rows)
        own = None if weights is None else check_weights(weights[rows], len(rows), "sample_weight of validation")
        return HeldOut(X, self.targets[rows], np.asarray(y)[rows], own, places)

    def _known_outputs(self, y: Any) -> int | None:
        """How many outputs there are, where the targets y do not say it."""
        return self.settings.outputs

    def _held_out(self, X: Any, y: Any, weights: Any, what: str) -> HeldOut:
        inputs = check_inputs(X, self.dtype, f"X of {what}", self.X.shape[1], self.input_kind)
        n, loss = inputs.shape[0], self.settings.loss
        targets, _ = check_targets(y, n, self.outputs, loss, self.dtype, f"y of {what}", self.regression)
        own = None if weights is None else check_weights(weights, n, f"sample_weight of {what}")
        return HeldOut(inputs, targets, np.asarray(y), own)

    def _weigh(self, sample_weight: np.ndarray | None, class_factor: np.ndarray | None) -> None:
        self.weights = sample_weight
        if class_factor is not None:
            self.weights = class_factor if sample_weight is None else class_factor * sample_weight
        if self.weights is not None:
            check_weights(self.weights[self.rows], self.n)

    def _measured(self, watch: Watch) -> list[str]:
        """Names of what each EpochRecord has for a Monitor."""
        score = "r2" if self.regression else "accuracy"
        parts = [name for name, held in (("validation", self.validation), ("test", self.test)) if held]
        return ["loss", "penalty", *(f"{p}_{w}" for p in parts for w in ("loss", score)), *watch.metrics]

    def make_model(self, backend: str, network: Network | None, rng: np.random.Generator) -> Network:
        """The network to train: new, or with the parameters of `network`."""
        settings, features = self.settings, self.X.shape[1]
        if network is not None and network.layers[0] != features:
            raise invalid("network", f"{network.layers[0]} inputs", f"{features}, as many as the data has features")
        scale = PIXEL if settings.scale is None else settings.scale
        check_init(settings.init)
        check_shifts(settings.augment, self.image_shape, self.X)
        layers = (features, *settings.hidden, self.outputs)
        weights, biases = (
            (network.weights, network.biases) if network else initialize(layers, settings.init, self.dtype, rng)
        )
        return Network(
            layers,
            activation=settings.activations,
            loss=settings.loss,
            output_activation=settings.output_activation,
            weights=weights,
            biases=biases,
            dtype=settings.dtype,
            scale=scale if network is None or settings.scale is not None else network.scale,
            image_shape=self.image_shape,
            backend=backend,
            regression=self.regression,
            input_kind=self.input_kind,
            huber_delta=settings.huber_delta,
        )

    def smooth(self, plan: Plan) -> None:
        """Targets (samples, outputs) become those of label smoothing; labels are smoothed where they are made targets."""
        if plan.smoothing and self.targets.ndim == 2:
            off, on = plan.off_and_on()
            self.targets = (off + (on - off) * self.targets).astype(plan.dtype)

    def start(self, model: Network, names: tuple[str, ...]) -> dict[str, list[np.ndarray]]:
        """The state that a Trainer begins with: the parameters, which are also what an average of them begins as."""
        state = {"weights": list(model.weights), "biases": list(model.biases)}
        return {**state, "average": [*model.weights, *model.biases]} if "average" in names else state
