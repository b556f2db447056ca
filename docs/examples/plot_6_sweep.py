"""
A sweep
=======

Rate and batch on a grid, judged on samples that no network was trained on. Where a training takes a fraction of a
second, a grid is the simplest search that there is.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import fastfc

digits = fastfc.load_data()
rng = np.random.default_rng(0)
rows = rng.permutation(len(digits.y))
trained, held = rows[:5_000], rows[5_000:10_000]
rates, sizes = (0.02, 0.05, 0.15, 0.4, 1.0), (32, 128, 512)

# %%
# A rate that is too large makes a loss that is not finite, which is an error: for a sweep, an answer like another.
accuracy = np.full((len(sizes), len(rates)), np.nan)
start = time.perf_counter()
for i, size in enumerate(sizes):
    for j, rate in enumerate(rates):
        try:
            model = fastfc.train((digits.X[trained], digits.y[trained]), lr=rate, batch_size=size, epochs=5).model
        except fastfc.DivergenceError:
            continue
        accuracy[i, j] = model.score(digits.X[held], digits.y[held])
print(f"{accuracy.size} trainings of 5 epochs of 5,000 samples: {time.perf_counter() - start:.1f} s")

# %%
figure, place = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
place.imshow(accuracy, vmin=np.nanmax(accuracy) - 0.05, aspect="auto")
for (i, j), value in np.ndenumerate(accuracy):
    text = "diverged" if np.isnan(value) else f"{100 * value:.1f} %"
    place.text(j, i, text, ha="center", va="center", color="w" if value < np.nanmax(accuracy) - 0.02 else "k")
place.set_xticks(range(len(rates)), [str(rate) for rate in rates])
place.set_yticks(range(len(sizes)), [str(size) for size in sizes])
place.set(xlabel="lr", ylabel="batch_size", title="accuracy on 5,000 samples held out")
plt.show()
