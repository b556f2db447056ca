"""
Training curves
===============

What the rate does: the same network and the same number of epochs with three schedules. Every epoch is measured on a tenth of the
samples that is not trained on; ``history`` has one record an epoch.
"""

import matplotlib.pyplot as plt

import fastfc

digits = fastfc.load_data()
print(digits.name, digits.X.shape, digits.X.dtype)

# %%
# One training for each schedule. ``one_cycle`` rises to the rate and falls to nothing; ``step`` divides it by ten after half and after
# three quarters of the steps.
results = {
    name: fastfc.train(digits, schedule=name, lr=0.15, epochs=8, validation=0.1)
    for name in ("constant", "step", "one_cycle")
}

# %%
# The best rate for one is not the best for another: this is a picture of the curves, not a race.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for name, result in results.items():
    epochs = [record.epoch for record in result.history]
    (line,) = left.plot(epochs, [record.validation_loss for record in result.history], label=name)
    left.plot(epochs, [record.loss for record in result.history], ":", color=line.get_color())
    right.plot(epochs, [100 * record.validation_accuracy for record in result.history])
left.set(xlabel="epoch", ylabel="loss (nats)", yscale="log", title="validation, and dotted: training")
right.set(xlabel="epoch", ylabel="%", title="validation accuracy")
left.legend()
plt.show()

for name, result in results.items():
    print(f"{name:10} test accuracy {100 * result.test_accuracy:.2f} %, {result.train_seconds:.2f} s of training")
