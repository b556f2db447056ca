"""
A small network while it learns
===============================

Three spirals, a network of two inputs and two hidden layers, and what it would say of every point of the plane after each epoch.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

import fastfc

rng = np.random.default_rng(0)
y = np.arange(900) % 3
radius = np.linspace(0.05, 1, 900)
angle = 4 * radius + 2 * np.pi / 3 * y + 0.15 * rng.standard_normal(900)
X = (radius * np.array([np.cos(angle), np.sin(angle)])).T.astype(np.float32)

# %%
# ``on_epoch_end`` of a callback sees the network of the epoch: ``result.model``, which ``on_train_begin`` is given.
side = np.linspace(-1.2, 1.2, 120, dtype=np.float32)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


class Watch:
    def __init__(self):
        self.pictures = []

    def on_train_begin(self, result):
        self.model = result.model

    def on_epoch_end(self, record):
        self.pictures.append((record, self.model.predict_proba(plane).reshape(120, 120, 3)))


watch = Watch()
result = fastfc.train((X, y), hidden=(16, 16), batch_size=32, epochs=60, optimizer="adam", lr=0.02, callbacks=[watch])
print(f"{100 * result.model.score(X, y):.1f} % of the samples, {result.train_seconds:.2f} s of training")

# %%
# The colour of a point is the mixture of the classes' colours by their probabilities.
colours = np.array([[0.84, 0.37, 0.0], [0.0, 0.45, 0.70], [0.0, 0.62, 0.45]])
figure, place = plt.subplots(figsize=(4.5, 4.7), layout="constrained")
image = place.imshow(watch.pictures[0][1] @ colours, extent=(-1.2, 1.2, -1.2, 1.2), origin="lower", alpha=0.6)
place.scatter(*X.T, c=colours[y], s=6)
place.set_axis_off()


def draw(frame):
    record, probabilities = watch.pictures[frame]
    image.set_data(probabilities @ colours)
    place.set_title(f"epoch {record.epoch}, loss {record.loss:.3f}")


animation = FuncAnimation(figure, draw, frames=range(0, 60, 2), interval=150)
plt.show()
