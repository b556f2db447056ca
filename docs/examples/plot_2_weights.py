"""
What the first layer looks for
==============================

Each unit of the first layer has one weight a pixel: its column of ``weights[0]``, drawn as an image. Red speaks for the unit, blue
against it.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastfc

# %%
# As the default recipe leaves them, the weights of pixels that are hardly ever inked stay where they were drawn at the start: noise.
# A penalty on their absolute values takes those away.
trainings = {
    "default": fastfc.train(epochs=5, hidden=(32,)),
    "l1=1e-4": fastfc.train(epochs=5, hidden=(32,), l1=1e-4),
}

# %%
# The 16 units with the largest weights of each network.
figure, axes = plt.subplots(4, 9, figsize=(9, 4.4), layout="constrained", gridspec_kw={"width_ratios": [1] * 4 + [0.3] + [1] * 4})
for block, (name, result) in zip((axes[:, :4], axes[:, 5:]), trainings.items(), strict=True):
    weights = result.model.weights[0]
    largest = np.argsort(-np.abs(weights).max(axis=0))[:16]
    for place, unit in zip(block.flat, largest, strict=True):
        image = weights[:, unit].reshape(result.model.image_shape)
        limit = np.abs(image).max()
        place.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
    block[0, 1].set_title(f"{name}: {100 * result.test_accuracy:.2f} %", loc="left")
for place in axes.flat:
    place.set_axis_off()
plt.show()

for name, result in trainings.items():
    small = np.abs(result.model.weights[0]) < 1e-3
    print(f"{name:8} {100 * small.mean():.0f} % of the first layer's weights are below 0.001")
