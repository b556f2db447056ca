"""
Does it know how sure it is?
============================

Of the samples for which a network says 90 %, nine of ten should be right. Trained on labels as they are, it is surer than that; label
smoothing makes it less sure, and can make it too little so.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastfc

digits = fastfc.load_data()
networks = {f"label_smoothing={e}": fastfc.train(digits, epochs=6, label_smoothing=e).model for e in (0.0, 0.02, 0.1)}

# %%
# Test samples in bins of equal numbers by the largest probability: its mean in each, against the share that is right. The expected
# calibration error is the mean distance of the two.
figure, place = plt.subplots(figsize=(5.5, 4.6), layout="constrained")
place.plot([0.7, 1], [0.7, 1], "k:", label="as sure as it is right")
for name, model in networks.items():
    probabilities = model.predict_proba(digits.X_test)
    order = np.argsort(probabilities.max(axis=1))
    sure = probabilities.max(axis=1)[order]
    right = (probabilities.argmax(axis=1) == digits.y_test)[order]
    bins = [(part.mean(), hits.mean()) for part, hits in zip(np.array_split(sure, 20), np.array_split(right, 20), strict=True)]
    error = np.mean([abs(said - true) for said, true in bins])
    place.plot(*zip(*bins, strict=True), "o-", markersize=3, label=f"{name}: error {100 * error:.2f} points")
place.set(xlabel="largest probability", ylabel="share that is right", xlim=(0.7, 1.005), ylim=(0.7, 1.005))
place.legend(fontsize=9)
plt.show()
