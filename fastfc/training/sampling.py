"""Which samples an epoch trains on, in which order, and how their images are shifted."""

from __future__ import annotations

import numpy as np

from fastfc.settings import Settings

DROPOUT = 2  # key of the generator of an epoch's dropout key, beside those of the training and the validation set


def dropout_key(seed: int, epoch: int) -> int:
    """From which the masks of epoch 1, 2, ... follow: 0 <= key < 2**64."""
    sequence = np.random.SeedSequence(seed, spawn_key=(DROPOUT, epoch))
    return int(sequence.generate_state(1, np.uint64)[0])


class Sampling:
    """Draws from `rng`: the same samples, order and shifts for the same generator, whatever the backend.

    With the setting `top_loss_fraction`, only that share of the n samples is trained on after the first epoch:
    those whose loss was the largest when it was last computed (Jiang et al. 2019, Accelerating deep learning by focusing on
    the biggest losers).
    With `augment`, an image goes through all shifts before one comes again; each image begins at another.

    rows    those of the `samples` that may be trained on; n of them
    later   number of samples of an epoch after the first
    losses  (samples,) of each sample, when it was last trained on; `remember` keeps them
    """

    def __init__(
        self, settings: Settings, rows: np.ndarray, samples: int, dtype: np.dtype, rng: np.random.Generator
    ) -> None:
        self.rows, self.n, self.rng, self.shuffle = rows, len(rows), rng, settings.shuffle
        self.later = settings.later_size(self.n)
        self.losses = np.zeros(samples, dtype)
        self._shifts = np.zeros((0, 2), np.int8)
        if settings.augment:
            pixels = np.arange(-settings.augment, settings.augment + 1, dtype=np.int8)
            self._shifts = rng.permutation(np.stack(np.meshgrid(pixels, pixels), axis=-1).reshape(-1, 2))
            self._places = rng.integers(0, len(self._shifts), samples)

    def size(self, epoch: int) -> int:
        """How many samples epoch 1, 2, ... has."""
        return self.n if epoch == 1 else self.later

    def order(self, epoch: int) -> np.ndarray:
        """(size,) the samples of an epoch, one after the other."""
        chosen = self.rows
        if self.size(epoch) < self.n:
            losses = self.losses[self.rows]
            least = np.partition(losses, -self.later)[-self.later]
            larger, equal = self.rows[losses > least], self.rows[losses == least]
            chosen = np.concatenate([larger, equal])[: self.later]
        return self.rng.permutation(chosen) if self.shuffle else np.sort(chosen)

    def shifts(self, order: np.ndarray, epoch: int) -> np.ndarray:
        """(size, 2) int8, pixels down and to the right for each sample of `order`; (0, 2) without `augment`."""
        if not len(self._shifts):
            return self._shifts
        return self._shifts[(self._places[order] + epoch) % len(self._shifts)]

    def remember(self, order: np.ndarray, losses: np.ndarray) -> None:
        self.losses[order] = losses
