"""Programs of random shapes, for emulated CPUs: a library may choose its code, or cut a sum, by a shape that cases.py doesn't have.

    python tests/portable/shapes.py FILE SEED COUNT      (in the environment of conf/determinism/portable.yaml)

executes COUNT programs, eagerly and as a graph, gradients included, and writes {name: {"eager": digest, "graph": digest, "refused":
[operations that the level doesn't accept]}}. The same SEED gives the same programs; what they compute from doesn't depend on it.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(Path(__file__).parent)]

MOST = 3e6  # multiplications in a program: emulated, they take a second
Program = tuple[str, Callable[[], Any]]


def programs(seed: int, count: int) -> list[Program]:
    import keras
    import tensorflow as tf
    from cases import derived, layer, numbers, whole
    from keras import layers

    draw = random.Random(seed)

    def size(low: int, high: int) -> int:
        return round(math.exp(draw.uniform(math.log(low), math.log(high))))

    def sizes(*bounds: tuple[int, int], work: Callable[..., float] = lambda *found: math.prod(found)) -> tuple[int, ...]:
        while work(*(found := tuple(size(*bound) for bound in bounds))) > MOST:
            pass
        return found

    def of(name: str, make: Callable[[], Any], *values: Any) -> Program:
        return name, partial(layer, make, *values)

    def product() -> Program:
        m, k, n = sizes((1, 400), (1, 6000), (1, 400))
        dtype, first, second = draw.choice(["float32", "float32", "float64"]), draw.random() < 0.5, draw.random() < 0.5
        a, b = numbers(*((k, m) if first else (m, k)), dtype=dtype), numbers(*((n, k) if second else (k, n)), dtype=dtype, seed=3)
        name = f"product {m} {k} {n} {dtype} {first} {second}"
        return name, partial(derived, partial(tf.matmul, transpose_a=first, transpose_b=second), a, b)

    def batched() -> Program:
        count, m, k, n = sizes((1, 24), (1, 100), (1, 900), (1, 100))
        dtype = draw.choice(["float32", "float64"])
        return f"batched {count} {m} {k} {n} {dtype}", partial(
            derived, tf.matmul, numbers(count, m, k, dtype=dtype), numbers(count, k, n, dtype=dtype, seed=3)
        )

    def dense() -> Program:
        m, k, n = sizes((1, 300), (1, 2000), (1, 500))
        activation = draw.choice([None, "relu", "tanh", "sigmoid", "gelu", "elu", "softmax", "swish", "selu"])
        return of(f"dense {m} {k} {n} {activation}", lambda: layers.Dense(n, activation), numbers(m, k))

    def convolution() -> Program:
        kernel = draw.choice([1, 1, 2, 3, 3, 3, 5, 7])
        batch, high, wide, deep, filters = sizes((1, 9), (kernel, 40), (kernel, 40), (1, 600), (1, 300),
                                                 work=lambda *s: math.prod(s) * kernel**2 / 2)  # fmt: skip
        stride, padding = draw.choice([1, 1, 1, 2, 3]), draw.choice(["same", "valid"])
        dilation = draw.choice([1, 1, 2]) if stride == 1 and 2 * kernel - 1 <= min(high, wide) else 1
        groups = draw.choice([number for number in (1, 1, 2, 4) if deep % number == filters % number == 0])
        activation, bias = draw.choice([None, "relu", "elu", "relu6", "leaky_relu"]), draw.random() < 0.7
        return of(
            f"conv2d {batch} {high} {wide} {deep} {filters} kernel {kernel} {stride} {padding} {dilation} {groups} {activation} {bias}",
            lambda: layers.Conv2D(filters, kernel, stride, padding, dilation_rate=dilation, groups=groups, activation=activation, use_bias=bias),
            numbers(batch, high, wide, deep),
        )  # fmt: skip

    def line() -> Program:
        kernel = draw.choice([1, 2, 3, 5, 9])
        batch, steps, deep, filters = sizes((1, 20), (kernel, 300), (1, 300), (1, 200), work=lambda *s: math.prod(s) * kernel / 2)
        padding = draw.choice(["same", "valid", "causal"])
        made = lambda: layers.Conv1D(filters, kernel, padding=padding)  # noqa: E731 (a case is a function)
        return of(f"conv1d {batch} {steps} {deep} {filters} {kernel} {padding}", made, numbers(batch, steps, deep))

    def other_convolution() -> Program:
        kernel, stride = draw.choice([2, 3, 5]), draw.choice([1, 2])
        batch, high, deep, filters = sizes((1, 8), (5, 20), (1, 60), (1, 40), work=lambda b, h, d, f: b * h * h * d * f * kernel**2 / 2)
        kind, words = draw.choice([(layers.Conv2DTranspose, (filters, kernel, stride)), (layers.DepthwiseConv2D, (kernel, stride)),
                                   (layers.SeparableConv2D, (filters, kernel, stride))])  # fmt: skip
        return of(f"{kind.__name__} {batch} {high} {deep} {words}", lambda: kind(*words, padding="same"), numbers(batch, high, high, deep))

    def recurrent() -> Program:
        kind, both, whole_sequence = draw.choice([layers.GRU, layers.LSTM, layers.SimpleRNN]), draw.random() < 0.3, draw.random() < 0.5
        batch, steps, deep, units = sizes((1, 40), (1, 20), (1, 150), (1, 150))
        one = lambda: kind(units, return_sequences=whole_sequence)  # noqa: E731 (as above)
        name = f"{kind.__name__} {batch} {steps} {deep} {units} {both} {whole_sequence}"
        return of(name, (lambda: layers.Bidirectional(one())) if both else one, numbers(batch, steps, deep))

    def attention() -> Program:
        heads, width = draw.choice([1, 2, 3, 4, 8]), size(2, 40)
        batch, steps, deep = sizes((1, 12), (2, 60), (2, 100))
        values = numbers(batch, steps, deep)
        return of(f"attention {batch} {steps} {deep} {heads} {width}", lambda: layers.MultiHeadAttention(heads, width), values, values)

    def normalized() -> Program:
        batch, high, groups = sizes((2, 60), (1, 16), (1, 100))
        shape = draw.choice([(batch, 4 * groups), (batch, high, 4 * groups), (batch, high, high, 4 * groups)])
        kind = draw.choice(["BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "RMSNormalization"])
        words = (4,) if kind == "GroupNormalization" else ()
        return of(f"{kind} {shape}", lambda: getattr(layers, kind)(*words), numbers(*shape))

    def pooled() -> Program:
        batch, high, deep = sizes((1, 12), (4, 30), (1, 90))
        kind, words = draw.choice([layers.MaxPooling2D, layers.AveragePooling2D]), (draw.choice([2, 3, 4]), draw.choice([1, 2, 3]))
        return of(f"{kind.__name__} {batch} {high} {deep} {words}", lambda: kind(*words, padding="same"), numbers(batch, high, high, deep))

    def reduced() -> Program:
        rank = draw.randint(1, 4)
        shape = sizes(*[(1, 3000 if rank == 1 else 400)] * rank, work=lambda *s: 10 * math.prod(s))
        axes, dtype = [axis for axis in range(rank) if draw.random() < 0.5] or None, draw.choice(["float32", "float64"])
        name = draw.choice(["sum", "mean", "max", "prod", "std", "variance", "logsumexp", "euclidean_norm"])
        function = getattr(tf, f"reduce_{name}", None) or getattr(tf.math, f"reduce_{name}")
        values = numbers(*shape, low=0.9, high=1.1, dtype=dtype)
        return f"{name} {shape} {axes} {dtype}", partial(derived, partial(function, axis=axes), values)

    def activated() -> Program:
        shape = size(1, 300), size(1, 900)
        name = draw.choice(["softmax", "log_softmax", "gelu", "silu", "tanh", "sigmoid", "softplus", "selu", "elu", "mish", "exponential"])
        return f"{name} {shape}", partial(derived, getattr(keras.activations, name), numbers(*shape, low=-6, high=6))

    def lost() -> Program:
        rows, classes = size(1, 300), size(2, 300)
        name = draw.choice(["CategoricalCrossentropy", "BinaryCrossentropy", "MeanSquaredError", "Huber", "CosineSimilarity", "LogCosh"])
        words, wanted = {"from_logits": True} if "entropy" in name else {}, tf.one_hot(whole(rows, below=classes), classes)
        return f"{name} {rows} {classes}", partial(derived, partial(getattr(keras.losses, name)(**words), wanted), numbers(rows, classes))

    def embedded() -> Program:
        below, width, rows, steps = size(2, 500), size(1, 200), size(1, 30), size(1, 40)
        return of(f"embedding {below} {width} {rows} {steps}", lambda: layers.Embedding(below, width), whole(rows, steps, below=below))

    kinds = [product, batched, dense, dense, convolution, convolution, convolution, line, other_convolution, other_convolution, recurrent,
             recurrent, attention, normalized, normalized, pooled, reduced, reduced, activated, lost, embedded]  # fmt: skip
    return [draw.choice(kinds)() for _ in range(count)]


def main() -> None:
    file, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    from seedbed.run import config, determinism, portable

    determinism.apply(determinism.of(config.composed("determinism=portable")))
    import keras
    import tensorflow as tf
    from operations import digest

    found: dict[str, dict[str, Any]] = {}
    for number, (name, program) in enumerate(programs(seed, count)):
        function = tf.function(program, autograph=False)
        one: dict[str, Any] = {}
        for mode, call in (("eager", program), ("graph", function)):
            keras.utils.set_random_seed(7)
            one[mode] = digest(call())
        one["refused"] = portable.unproven(portable.operations_of(function.get_concrete_function().graph))
        found[f"{number} {name}"] = one
        print(number, name, one, flush=True)
    file.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
