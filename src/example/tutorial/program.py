"""The tutorial's program on Keras 3: two seeds at its top, and nothing of seedbed in it. Part 2 of `make tutorial` runs it twice.

python src/example/tutorial/program.py [REPEATS]

It prints the error of each repeat as in 2017, and, as it didn't, the seeds that Keras has drawn for the two kernels.
"""

import sys

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

np.random.seed(1)  # noqa: NPY002 (that is the recipe)
tf.random.set_seed(2)  # tensorflow.set_random_seed(2), until TensorFlow 2

series = pd.Series([i / 10 for i in range(10)])
pairs = pd.concat([series.shift(1), series], axis=1).dropna().to_numpy()
x, y = pairs[:, :1], pairs[:, 1]

for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(10), keras.layers.Dense(1)])
    model.compile(loss="mean_squared_error", optimizer="adam")
    model.fit(x, y, epochs=100, batch_size=len(x), verbose=0)
    error = float(np.mean((model.predict(x, verbose=0)[:, 0] - y) ** 2))
    print(f"error {error:.12g}  kernel seeds", *(layer.kernel_initializer.seed for layer in model.layers), flush=True)
