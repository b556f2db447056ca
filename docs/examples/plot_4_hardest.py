"""
The hardest samples
===================

What a network is most wrong about is worth a look before anything is tuned: some of it is mislabelled, and some nobody could read.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastfc

digits = fastfc.load_data()
model = fastfc.train(digits, epochs=10).model

# %%
# The loss of a sample is minus the logarithm of the probability of its true class.
probabilities = model.predict_proba(digits.X_test)
losses = -np.log(np.maximum(probabilities[np.arange(len(digits.y_test)), digits.y_test], 1e-12))
hardest = np.argsort(-losses)[:24]
wrong = model.predict(digits.X_test) != digits.y_test
print(f"{wrong.sum()} of {len(losses):,} are read wrong; they have {100 * losses[wrong].sum() / losses.sum():.0f} % of the loss")

# %%
figure, axes = plt.subplots(3, 8, figsize=(9, 4.2), layout="constrained")
for place, sample in zip(axes.flat, hardest, strict=True):
    read, true = probabilities[sample].argmax(), digits.y_test[sample]
    place.imshow(digits.X_test[sample].reshape(digits.image_shape), cmap="gray_r")
    place.set_title(f"{true} as {read}, {100 * probabilities[sample, read]:.0f} %", fontsize=9)
    place.set_axis_off()
plt.show()
