"""The tutorial's program, for Keras 2.0.3 on Python 3.6: ten small networks in one process, and what each is off by.

KERAS_BACKEND (theano or tensorflow) says on what. Both backends draw through NumPy's generator; TensorFlow has one of its own besides.
"""

import keras
import numpy
import pandas
from keras.layers import Dense
from keras.models import Sequential
from sklearn.metrics import mean_squared_error

REPEATS = 10

numpy.random.seed(1)  # noqa: NPY002  (the generator that Keras 2.0.3 draws from)
if keras.backend.backend() == "tensorflow":
    import tensorflow

    tensorflow.set_random_seed(2)

# Each number of the sequence 0.0, 0.1 … 0.9 is to be told from the one before it.
sequence = pandas.DataFrame([step / 10 for step in range(10)])
pairs = pandas.concat([sequence.shift(1), sequence], axis=1).dropna().values
X, y = pairs[:, 0], pairs[:, 1]

for _ in range(REPEATS):
    model = Sequential()
    model.add(Dense(10, input_dim=1))
    model.add(Dense(1))
    model.compile(loss="mean_squared_error", optimizer="adam")
    model.fit(X, y, epochs=100, batch_size=len(X), verbose=0)
    predicted = model.predict(X, verbose=0)
    print(repr(float(mean_squared_error(y, predicted[:, 0]))), flush=True)
