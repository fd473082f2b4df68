"""What operations.py executes: small programs that together use every operation that training with Keras is likely to need.

Each is a function without arguments that returns tensors; where there is something to differentiate, its gradients are among them.
Shapes are chosen so that sums are long enough to be cut by caches, vectors have a rest, and batches are not a power of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

Case = tuple[str, Callable[[], Any]]


def numbers(*shape: int, low: float = -2.0, high: float = 2.0, dtype: str = "float32", seed: int = 1) -> Any:
    """Numbers from a linear congruential sequence: generators are among what is measured."""
    count = int(np.prod(shape))
    whole = (np.arange(count, dtype=np.int64) * 7919 + 1009 * seed) % 2003
    return tf.constant((low + (high - low) * (whole / 2048)).reshape(shape).astype(dtype))


def whole(*shape: int, below: int = 10) -> Any:
    return tf.constant((np.arange(int(np.prod(shape))) * 7 % below).reshape(shape).astype("int32"))


def derived(function: Callable[..., Any], *values: Any) -> Any:
    """The function's results, and the gradients of the sum of their squares with respect to `values`."""
    floating = [value for value in values if value.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floating)
        out = function(*values)
        flat = [one for one in tf.nest.flatten(out) if one.dtype.is_floating]
        loss = tf.add_n([tf.reduce_sum(one * one) for one in flat]) if flat else None
    gradients = tape.gradient(loss, floating) if loss is not None else []
    return [out, [tf.convert_to_tensor(one) for one in gradients if one is not None]]


def layer(make: Callable[[], Any], *values: Any, call: Callable[..., Any] | None = None) -> Any:
    """A layer's output in training and in prediction, and the gradients by its weights and inputs."""
    keras.utils.set_random_seed(3)
    made = made_once(make)
    floating = [value for value in values if value.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floating)
        out = call(made, *values) if call else made(*values, training=True) if _trains(made) else made(*values)
        loss = tf.add_n([tf.reduce_mean(one * one) for one in tf.nest.flatten(out) if one.dtype.is_floating] or [tf.constant(0.0)])
    gradients = tape.gradient(loss, [*made.trainable_weights, *floating])
    return [out, [tf.convert_to_tensor(one) for one in gradients if one is not None], [] if call else made(*values)]


_MADE: dict[Any, Any] = {}


def made_once(make: Callable[[], Any]) -> Any:
    """In a graph variables can't be made, so the eager call before it has made them."""
    if make not in _MADE:
        _MADE[make] = make()
    return _MADE[make]


def _trains(made: Any) -> bool:
    return bool(getattr(made, "_call_has_training_arg", True)) and "training" in made.call.__code__.co_varnames


def cases() -> Iterator[Case]:
    for part in (
        elementwise,
        binary,
        reductions,
        products,
        convolutions,
        moving,
        random,
        blocks,
        losses,
        optimizers,
        metrics,
        images,
        algebra,
        raw,
    ):
        for name, function in part():
            yield f"{part.__name__}: {name}", function


def elementwise() -> Iterator[Case]:
    inner = ["asin", "acos", "atanh", "erfinv"]
    positive = ["sqrt", "log", "log1p", "rsqrt", "reciprocal", "lgamma", "digamma", "acosh", "ndtri", "bessel_i0e", "bessel_i1e"]
    plain = ["abs", "negative", "sign", "square", "exp", "expm1", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "asinh", "erf", "erfc",
             "sigmoid", "softplus", "floor", "ceil", "round", "rint", "cumsum", "cumprod", "cumulative_logsumexp", "is_nan", "is_finite", "is_inf",
             "softsign", "log_sigmoid"]  # fmt: skip
    for names, low, high in (
        (inner, -0.9, 0.9),
        (positive, 1.05, 3.0),
        (positive[:6], 0.01, 0.99),
        (plain, -2.0, 2.0),
        (plain[:20], -30.0, 30.0),
    ):
        for name in names:
            for dtype in ("float32", "float64"):
                for shape in ((3, 7), (40, 33)):
                    if hasattr(tf.math, name):
                        yield (
                            f"{name} {dtype} {shape} {low}",
                            partial(derived, getattr(tf.math, name), numbers(*shape, low=low, high=high, dtype=dtype)),
                        )
    for name in ("relu", "relu6", "elu", "selu", "leaky_relu", "gelu", "silu", "softmax", "log_softmax", "softsign", "softplus", "hard_sigmoid",
                 "hard_silu", "mish", "celu", "glu", "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "squareplus", "sparse_plus",
                 "log_sigmoid", "exponential", "threshold", "sparsemax", "sparse_sigmoid"):  # fmt: skip
        if hasattr(keras.activations, name):
            for shape in ((3, 8), (37, 66), (5, 12, 30)):
                more = {"threshold": 0.5, "default_value": 0.0} if name == "threshold" else {}
                yield (
                    f"activation {name} {shape}",
                    partial(derived, partial(getattr(keras.activations, name), **more), numbers(*shape, low=-4, high=4)),
                )
    yield "exact gelu", partial(derived, lambda x: keras.activations.gelu(x, approximate=False), numbers(23, 31))
    yield "softmax axis 1", partial(derived, lambda x: tf.nn.softmax(x, axis=1), numbers(4, 9, 11))
    yield "l2_normalize", partial(derived, lambda x: tf.math.l2_normalize(x, -1), numbers(14, 21))
    yield "clip", partial(derived, lambda x: tf.clip_by_value(x, -1, 1), numbers(14, 21))
    yield "clip by norm", partial(derived, lambda x: tf.clip_by_norm(x, 2.0), numbers(14, 21))
    yield "global norm", lambda: tf.clip_by_global_norm([numbers(14, 21), numbers(5)], 1.5)


def binary() -> Iterator[Case]:
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "squared_difference", "divide_no_nan", "multiply_no_nan", "atan2",
                 "floormod", "floordiv", "xlogy", "xdivy", "xlog1py", "pow", "less", "greater", "equal", "not_equal", "greater_equal", "less_equal"):  # fmt: skip
        for dtype in ("float32", "float64"):
            for shape, other in (((3, 7), (3, 7)), ((40, 33), (33,)), ((9, 1, 5), (4, 1))):
                low = 0.1 if name in ("pow", "xlogy", "xlog1py") else -2
                values = numbers(*shape, low=low, dtype=dtype), numbers(*other, low=low, dtype=dtype, seed=5)
                yield f"{name} {dtype} {shape}", partial(derived, getattr(tf.math, name), *values)
    for power in (2.0, 0.5, -0.5, 3.0, -1.0):
        yield f"power {power}", partial(derived, lambda x, power=power: x**power, numbers(12, 13, low=0.1))
    yield "where", partial(derived, lambda x, y: tf.where(x > y, x, y), numbers(12, 13), numbers(12, 13, seed=4))
    yield "add_n", partial(derived, lambda x, y: tf.add_n([x, y, x]), numbers(12, 13), numbers(12, 13, seed=4))
    yield "bias_add", partial(derived, tf.nn.bias_add, numbers(12, 4, 13), numbers(13))


def reductions() -> Iterator[Case]:
    for name in ("sum", "mean", "max", "min", "prod", "std", "variance", "logsumexp", "euclidean_norm"):
        for dtype in ("float32", "float64"):
            for shape, axis in (
                ((37, 29), None),
                ((37, 29), 0),
                ((37, 29), 1),
                ((3, 600, 5), 1),
                ((2, 9, 8, 6), (1, 2)),
                ((5000,), None),
                ((8, 7, 6), (0, 2)),
            ):
                low = 0.9 if name == "prod" else -2
                function = partial(getattr(tf, f"reduce_{name}", None) or getattr(tf.math, f"reduce_{name}"), axis=axis)
                yield f"{name} {dtype} {shape} {axis}", partial(derived, function, numbers(*shape, low=low, high=1.1, dtype=dtype))
    yield "moments", partial(derived, lambda x: tf.nn.moments(x, [0, 1]), numbers(9, 8, 7))
    yield "norm", partial(derived, tf.norm, numbers(9, 8, 7))
    yield (
        "argmax",
        lambda: [tf.argmax(numbers(9, 8), 1), tf.argmin(numbers(9, 8), 0), tf.math.in_top_k(whole(9, below=8), numbers(9, 8), 3)],
    )
    yield "top_k", partial(derived, lambda x: tf.math.top_k(x, 3), numbers(9, 18))
    yield "sort", partial(derived, lambda x: tf.sort(x, axis=-1), numbers(9, 18))
    yield "segment_sum", partial(derived, lambda x: tf.math.unsorted_segment_sum(x, whole(20, below=4), 4), numbers(20, 3))
    yield "segment mean", partial(derived, lambda x: tf.math.unsorted_segment_mean(x, whole(20, below=4), 4), numbers(20, 3))
    yield "segment max", partial(derived, lambda x: tf.math.unsorted_segment_max(x, whole(20, below=4), 4), numbers(20, 3))
    yield "bincount", lambda: tf.math.bincount(whole(50), weights=numbers(50), minlength=10)
    yield "confusion", lambda: tf.math.confusion_matrix(whole(50), whole(50, below=9), num_classes=10)


def products() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for m, k, n in (
            (1, 1, 1),
            (3, 5, 2),
            (1, 70, 9),
            (32, 10, 10),
            (9, 300, 7),
            (33, 64, 65),
            (7, 784, 40),
            (5, 1500, 11),
            (2, 4100, 3),
            (64, 130, 64),
        ):
            a, b = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype, seed=3)
            yield f"matmul {dtype} {m} {k} {n}", partial(derived, tf.matmul, a, b)
        a, b = numbers(41, 23, dtype=dtype), numbers(19, 41, dtype=dtype, seed=3)
        yield f"matmul transposed {dtype}", partial(derived, lambda a, b: tf.matmul(a, b, transpose_a=True, transpose_b=True), a, b)
        for shape in ((2, 3, 5, 4), (3, 4, 32, 16), (2, 1, 9, 600)):
            a, b = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=9)
            yield f"batched {dtype} {shape}", partial(derived, lambda a, b: tf.matmul(a, b, transpose_b=True), a, b)
            yield f"batched a {dtype} {shape}", partial(derived, lambda a, b: tf.matmul(a, b, transpose_a=True), a, b)
        yield f"broadcast {dtype}", partial(derived, tf.matmul, numbers(4, 6, 7, dtype=dtype), numbers(7, 8, dtype=dtype))
        yield (
            f"einsum {dtype}",
            partial(derived, lambda a, b: tf.einsum("abc,cde->abde", a, b), numbers(3, 9, 16, dtype=dtype), numbers(16, 4, 5, dtype=dtype)),
        )
        yield (
            f"einsum attention {dtype}",
            partial(
                derived, lambda a, b: tf.einsum("aecd,abcd->acbe", a, b), numbers(2, 9, 4, 8, dtype=dtype), numbers(2, 7, 4, 8, dtype=dtype)
            ),
        )
        yield (
            f"tensordot {dtype}",
            partial(derived, lambda a, b: tf.tensordot(a, b, 2), numbers(3, 9, 16, dtype=dtype), numbers(9, 16, 5, dtype=dtype)),
        )
        yield f"matvec {dtype}", partial(derived, tf.linalg.matvec, numbers(30, 90, dtype=dtype), numbers(90, dtype=dtype))


def convolutions() -> Iterator[Case]:
    for height, depth, count, kernel, stride, padding, dilation in (
        (8, 1, 8, 3, 1, "same", 1), (8, 3, 16, 3, 1, "same", 1), (8, 16, 32, 3, 1, "same", 1), (9, 5, 7, 3, 2, "same", 1), (12, 4, 6, 5, 1, "valid", 1),
        (12, 8, 8, 3, 1, "same", 2), (7, 64, 24, 3, 1, "same", 1), (7, 70, 33, 1, 1, "same", 1), (16, 32, 16, 1, 2, "valid", 1), (17, 3, 32, 7, 2, "same", 1),
        (6, 128, 40, 3, 1, "same", 1), (14, 12, 48, 3, 2, "valid", 1),
    ):  # fmt: skip
        name = f"{height} {depth} {count} {kernel} {stride} {padding} {dilation}"
        given = {"padding": padding, "dilation_rate": dilation}
        yield f"conv2d {name}", partial(layer, _new(layers.Conv2D, count, kernel, stride, **given), numbers(5, height, height, depth))
        if dilation == 1:
            yield (
                f"depthwise {name}",
                partial(layer, _new(layers.DepthwiseConv2D, kernel, stride, **given), numbers(3, height, height, depth)),
            )
            yield (
                f"transposed {name}",
                partial(
                    layer,
                    _new(layers.Conv2DTranspose, min(count, 8), kernel, stride, padding=padding),
                    numbers(2, height, height, min(depth, 8)),
                ),
            )
        yield f"conv1d {name}", partial(layer, _new(layers.Conv1D, count, kernel, stride, **given), numbers(5, 4 * height, depth))
    yield "separable", partial(layer, _new(layers.SeparableConv2D, 6, 3), numbers(3, 9, 9, 5))
    yield "separable 1d", partial(layer, _new(layers.SeparableConv1D, 6, 3), numbers(3, 9, 5))
    yield "conv1d transposed", partial(layer, _new(layers.Conv1DTranspose, 6, 3, 2), numbers(3, 9, 5))
    yield "causal", partial(layer, _new(layers.Conv1D, 6, 3, padding="causal"), numbers(3, 9, 5))
    yield "groups", partial(layer, _new(layers.Conv2D, 8, 3, groups=2), numbers(3, 9, 9, 4))
    yield "conv3d", partial(layer, _new(layers.Conv3D, 6, 3, padding="same"), numbers(2, 5, 6, 7, 3))
    yield "conv3d transposed", partial(layer, _new(layers.Conv3DTranspose, 4, 3, 2), numbers(2, 4, 4, 4, 3))
    for kind in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling"):
        for dimensions in (1, 2, 3):
            for size, padding in (((), "valid"),) if kind.startswith("Global") else (((2,), "valid"), ((3, 2), "same"), ((3, 1), "same")):
                given = {} if kind.startswith("Global") else {"padding": padding}
                shape = (3, *(9, 8, 7)[:dimensions], 6)
                yield (
                    f"{kind}{dimensions}D {size}",
                    partial(layer, _new(getattr(layers, f"{kind}{dimensions}D"), *size, **given), numbers(*shape)),
                )


def moving() -> Iterator[Case]:
    x, y = numbers(6, 7, 5), numbers(6, 7, 5, seed=8)
    several: dict[str, Callable[..., Any]] = {
        "reshape": lambda x: tf.reshape(x, [-1, 5]), "transpose": lambda x: tf.transpose(x, [2, 0, 1]), "slice": lambda x: x[1:4, ::2, -1],
        "concat": lambda x: tf.concat([x, x * 2], 1), "split": lambda x: tf.split(x, 7, 1), "stack": lambda x: tf.stack([x, x], 1),
        "unstack": lambda x: tf.unstack(x, axis=2), "tile": lambda x: tf.tile(x, [2, 1, 3]), "pad": lambda x: tf.pad(x, [[1, 2], [0, 0], [3, 0]]),
        "mirror": lambda x: tf.pad(x, [[1, 2], [0, 0], [3, 0]], "REFLECT"), "gather": lambda x: tf.gather(x, [2, 0, 2], axis=1),
        "gather_nd": lambda x: tf.gather_nd(x, [[0, 1], [2, 3], [2, 3]]), "expand": lambda x: x[:, None], "squeeze": lambda x: tf.squeeze(x[:, :1], 1),
        "flip": lambda x: tf.reverse(x, [1]), "roll": lambda x: tf.roll(x, 2, 1), "repeat": lambda x: tf.repeat(x, 3, 1),
        "broadcast": lambda x: tf.broadcast_to(x[:, :1], (6, 7, 5)), "dynamic partition": lambda x: tf.dynamic_partition(x, whole(6, below=2), 2),
        "stitch": lambda x: tf.dynamic_stitch([[0, 2], [1, 3]], [x[:2], x[2:4]]), "scatter": lambda x: tf.scatter_nd([[1], [3], [1]], x[:3], [5, 7, 5]),
        "scatter update": lambda x: tf.tensor_scatter_nd_update(x, [[1], [3]], x[:2]), "scatter add": lambda x: tf.tensor_scatter_nd_add(x, [[1], [1]], x[:2]),
        "mask": lambda x: tf.boolean_mask(x, whole(6, below=2) > 0), "cast": lambda x: tf.cast(tf.cast(x, tf.float64), tf.float32),
        "band": lambda x: tf.linalg.band_part(x, 1, 0), "diagonal": lambda x: tf.linalg.diag_part(x), "diag": lambda x: tf.linalg.diag(x),
        "reverse sequence": lambda x: tf.reverse_sequence(x, whole(6, below=5), 1), "depth": lambda x: tf.nn.depth_to_space(tf.tile(x[:, None], [1, 1, 1, 4]), 2),
        "space": lambda x: tf.nn.space_to_depth(x[None, :, :6], 2), "einsum moved": lambda x: tf.einsum("abc->cab", x), "identity": tf.identity,
        "space to batch": lambda x: tf.space_to_batch(x[:, :6, :, None], [2, 2], [[0, 0], [0, 1]]), "stop": tf.stop_gradient, "set diagonal": lambda x: tf.linalg.set_diag(x, x[:, :5, 0]),
        "zeros": lambda x: x + tf.zeros_like(x) + tf.ones_like(x) + tf.zeros(tf.shape(x)), "linspace": lambda x: x * tf.linspace(0.0, 1.0, 5), "range": lambda x: x * tf.range(0.0, 5.0, 1.0),
        "one_hot": lambda x: x * tf.one_hot(whole(7, below=5), 5), "eye": lambda x: x[:, :5] + tf.eye(5), "integers": lambda x: tf.cast(x, tf.int32) * 3,
        "select": lambda x: tf.where(x > 0, x, 0.0), "extract": lambda x: tf.image.extract_patches(x[:, :, :, None], [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME"),
        "bool": lambda x: tf.cast(x > 0, x.dtype), "logical": lambda x: tf.logical_and(x > 0, x < 1), "uint8": lambda x: tf.cast(x * 20, tf.uint8),
        "saturate": lambda x: tf.saturate_cast(x * 2000, tf.uint8), "searchsorted": lambda x: tf.searchsorted(tf.sort(x[0, 0]), x[0, 0]),
    }  # fmt: skip
    for name, function in several.items():
        yield name, partial(derived, function, x)
        if name not in ("cast",):
            yield (
                f"{name} float64",
                partial(derived, function, numbers(6, 7, 5, dtype="float64"))
                if "float64" in _dtypes(name)
                else partial(derived, function, y),
            )
    yield "meshgrid", partial(derived, lambda a, b: tf.meshgrid(a, b), numbers(4), numbers(5))
    yield "unique", lambda: tf.unique(tf.constant([1.0, 2.0, 1.0]))
    yield "map", partial(derived, lambda x: tf.map_fn(lambda row: row * row, x), x)
    yield "scan", partial(derived, lambda x: tf.scan(lambda a, b: a * 0.5 + b, x), x)


def _dtypes(name: str) -> tuple[str, ...]:
    return () if name in ("linspace", "range", "one_hot", "eye", "select", "zeros") else ("float64",)


def random() -> Iterator[Case]:
    for shape in ((7,), (50, 41)):
        for name in ("uniform", "normal", "truncated_normal", "randint", "gamma", "dropout", "shuffle", "categorical", "beta", "binomial"):
            given = {"randint": (shape, 0, 9), "gamma": (shape, 1.7), "dropout": (tf.ones(shape), 0.3), "shuffle": (numbers(*shape),),
                     "categorical": (numbers(5, 6), 9), "beta": (shape, 1.5, 2.0), "binomial": (shape, tf.constant(9.0), tf.constant(0.3))}.get(name, (shape,))  # fmt: skip
            yield f"{name} {shape}", lambda name=name, given=given: getattr(keras.random, name)(*given, seed=5)
    for name in ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal", "RandomUniform", "RandomNormal", "TruncatedNormal",
                 "VarianceScaling", "Zeros", "Ones", "Identity", "Orthogonal"):  # fmt: skip
        made = getattr(keras.initializers, name)
        for shape in ((30, 30), (50, 7)):
            yield (
                f"{name} {shape}",
                lambda made=made, name=name, shape=shape: made(**({} if name in ("Zeros", "Ones", "Identity") else {"seed": 5}))(shape),
            )


def _new(kind: Any, *given: Any, **named: Any) -> Callable[[], Any]:
    return lambda: kind(*given, **named)


def blocks() -> Iterator[Case]:
    rows, sequence, picture = numbers(13, 24), numbers(5, 9, 12), numbers(4, 10, 10, 3, low=0, high=1)
    tokens = whole(6, 11, below=30)
    for name, make, *values in (
        ("Dense", _new(layers.Dense, 17, "relu"), rows), ("Dense 1000", _new(layers.Dense, 9, "tanh"), numbers(3, 1000)),
        ("BatchNormalization", _new(layers.BatchNormalization), rows), ("BatchNormalization 4d", _new(layers.BatchNormalization), picture),
        ("BatchNormalization bare", _new(layers.BatchNormalization, center=False, scale=False), sequence),
        ("LayerNormalization", _new(layers.LayerNormalization), sequence), ("LayerNormalization 2", _new(layers.LayerNormalization, axis=[1, 2]), sequence),
        ("GroupNormalization", _new(layers.GroupNormalization, 3), sequence), ("UnitNormalization", _new(layers.UnitNormalization), sequence),
        ("RMSNormalization", _new(layers.RMSNormalization), sequence), ("SpectralNormalization", lambda: layers.SpectralNormalization(layers.Dense(5)), rows),
        ("GRU", _new(layers.GRU, 11), sequence), ("GRU sequences", _new(layers.GRU, 11, return_sequences=True, dropout=0.2, recurrent_dropout=0.2), sequence),
        ("GRU before", _new(layers.GRU, 6, reset_after=False), sequence),
        ("LSTM", _new(layers.LSTM, 11), sequence), ("LSTM sequences", _new(layers.LSTM, 40, return_sequences=True), sequence), ("SimpleRNN", _new(layers.SimpleRNN, 11), sequence),
        ("Bidirectional", lambda: layers.Bidirectional(layers.LSTM(7)), sequence), ("ConvLSTM1D", _new(layers.ConvLSTM1D, 4, 3), numbers(2, 4, 6, 3)),
        ("ConvLSTM2D", _new(layers.ConvLSTM2D, 3, 3), numbers(2, 3, 5, 5, 2)), ("TimeDistributed", lambda: layers.TimeDistributed(layers.Dense(5)), sequence),
        ("MultiHeadAttention", _new(layers.MultiHeadAttention, 3, 8, dropout=0.1), sequence, sequence), ("GroupQueryAttention", _new(layers.GroupQueryAttention, 8, 4, 2), sequence, sequence),
        ("causal attention", _new(layers.MultiHeadAttention, 2, 16), numbers(2, 40, 16), numbers(2, 40, 16)),
        ("Attention", lambda: _Listed(layers.Attention()), sequence, sequence), ("AdditiveAttention", lambda: _Listed(layers.AdditiveAttention()), sequence, sequence),
        ("Embedding", _new(layers.Embedding, 30, 8), tokens), ("masked", lambda: keras.Sequential([layers.Embedding(30, 8, mask_zero=True), layers.LSTM(5)]), tokens),
        ("masked GRU", lambda: keras.Sequential([layers.Embedding(30, 8, mask_zero=True), layers.GRU(5), layers.Dense(3, "softmax")]), tokens),
        ("Dropout", _new(layers.Dropout, 0.3, seed=4), rows), ("SpatialDropout", _new(layers.SpatialDropout1D, 0.3, seed=4), sequence),
        ("GaussianNoise", _new(layers.GaussianNoise, 0.3, seed=4), rows), ("GaussianDropout", _new(layers.GaussianDropout, 0.3, seed=4), rows), ("AlphaDropout", _new(layers.AlphaDropout, 0.3, seed=4), rows),
        ("PReLU", _new(layers.PReLU), rows), ("Softmax", _new(layers.Softmax), rows), ("LeakyReLU", _new(layers.LeakyReLU), rows), ("ELU", _new(layers.ELU), rows),
        ("UpSampling2D", _new(layers.UpSampling2D, 2), picture), ("UpSampling bilinear", _new(layers.UpSampling2D, 2, interpolation="bilinear"), picture), ("ZeroPadding", _new(layers.ZeroPadding2D, 2), picture),
        ("Cropping", _new(layers.Cropping2D, 2), picture), ("Permute", _new(layers.Permute, (2, 1)), sequence), ("RepeatVector", _new(layers.RepeatVector, 3), rows), ("Flatten", _new(layers.Flatten), picture),
        ("Rescaling", _new(layers.Rescaling, 1 / 255), picture), ("Normalization", _new(layers.Normalization, mean=0.3, variance=0.7), rows), ("Resizing", _new(layers.Resizing, 7, 13), picture), ("Dot", lambda: _Listed(layers.Dot(2)), sequence, sequence),
        ("Bilinear", lambda: _Listed(layers.Concatenate()), sequence, sequence), ("Average", lambda: _Listed(layers.Average()), sequence, sequence), ("EinsumDense", _new(layers.EinsumDense, "abc,cd->abd", (9, 7), bias_axes="d"), sequence),
        ("ActivityRegularization", _new(layers.ActivityRegularization, 0.1, 0.1), rows), ("regularized", _new(layers.Dense, 5, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.1)), rows), ("constrained", _new(layers.Dense, 5, kernel_constraint="max_norm"), rows),
        ("Discretization", _new(layers.Discretization, [-1.0, 0.0, 1.0]), rows), ("Hashing", _new(layers.Hashing, 5), tokens), ("CategoryEncoding", _new(layers.CategoryEncoding, 30, "multi_hot"), tokens),
        ("GlobalAverage", _new(layers.GlobalAveragePooling1D), sequence), ("Masking", _new(layers.Masking, 0.0), sequence), ("IntegerLookup", _new(layers.IntegerLookup, vocabulary=list(range(30))), tokens),
    ):  # fmt: skip
        yield name, partial(layer, make, *values)
    for name, given in (("RandomFlip", ()), ("RandomTranslation", (0.1, 0.1)), ("RandomRotation", (0.1,)), ("RandomZoom", (0.2,)), ("RandomContrast", (0.2,)), ("RandomBrightness", (0.2,)), ("RandomCrop", (8, 8)),
                        ("RandomShear", (0.2,)), ("RandomSaturation", (0.2,)), ("RandomHue", (0.2,)), ("RandomGrayscale", (0.5,)), ("RandomGaussianBlur", ()), ("GaussianNoise", (0.1,)), ("CenterCrop", (6, 6)), ("RandomSharpness", (0.3,)),
                        ("RandomInvert", ()), ("RandomErasing", ()), ("RandomPosterization", (4,)), ("Solarization", ()), ("Equalization", ()), ("AutoContrast", ()), ("CutMix", ()), ("MixUp", ())):  # fmt: skip
        if hasattr(layers, name) and name not in ("CutMix", "MixUp"):
            seeded = {} if name in ("CenterCrop", "Solarization", "Equalization", "AutoContrast") else {"seed": 4}
            extra = {"value_range": (0, 1)} if name in ("RandomBrightness", "RandomSaturation", "RandomHue", "RandomSharpness", "RandomInvert", "RandomPosterization", "Equalization", "AutoContrast", "RandomErasing") else {}  # fmt: skip
            yield f"augment {name}", partial(layer, _new(getattr(layers, name), *given, **seeded, **extra), picture)


class _Listed:
    """A layer that takes its inputs as one list."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.call, self._call_has_training_arg = inner, inner.call, False

    @property
    def trainable_weights(self) -> Any:
        return self.inner.trainable_weights

    def __call__(self, *values: Any) -> Any:
        return self.inner(list(values))


def losses() -> Iterator[Case]:
    classes = tf.one_hot(whole(13, below=5), 5)
    for name in ("MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "CosineSimilarity", "Huber", "LogCosh", "Hinge", "SquaredHinge", "CategoricalHinge",
                 "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy", "KLDivergence", "Poisson", "Dice", "Tversky"):  # fmt: skip
        loss = getattr(keras.losses, name)()
        yield name, partial(derived, lambda x, loss=loss: loss(classes, x), numbers(13, 5, low=0.02, high=0.98))
        if "rossentropy" in name:
            logits = getattr(keras.losses, name)(from_logits=True, label_smoothing=0.1)
            yield f"{name} logits", partial(derived, lambda x, loss=logits: loss(classes, x), numbers(13, 5))
    for logits in (False, True):
        sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        yield (
            f"sparse {logits}",
            partial(derived, lambda x, sparse=sparse: sparse(whole(13, below=5), x), numbers(13, 5, low=0.02, high=0.98)),
        )
        yield (
            f"sparse softmax {logits}",
            partial(derived, lambda x, sparse=sparse: sparse(whole(37, below=10), tf.nn.softmax(x)), numbers(37, 10)),
        )
        yield (
            f"sparse sequence {logits}",
            partial(derived, lambda x, sparse=sparse: sparse(whole(4, 6, below=9), tf.nn.softmax(x)), numbers(4, 6, 9)),
        )
    yield "CTC", partial(derived, lambda x: keras.losses.CTC()(whole(2, 4, below=4) + 1, x), numbers(2, 9, 6))
    yield "sigmoid loss", partial(derived, lambda x: tf.nn.sigmoid_cross_entropy_with_logits(classes, x), numbers(13, 5))
    yield "softmax loss", partial(derived, lambda x: tf.nn.softmax_cross_entropy_with_logits(classes, x), numbers(13, 5))
    yield "l2_loss", partial(derived, tf.nn.l2_loss, numbers(13, 5))


def optimizers() -> Iterator[Case]:
    plain = ("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Adafactor", "Nadam", "Ftrl", "Lion", "Lamb", "Muon")
    several = [(name, {}) for name in plain if hasattr(keras.optimizers, name)]
    several += [("SGD", {"momentum": 0.9, "nesterov": True}), ("Adam", {"amsgrad": True}), ("RMSprop", {"centered": True, "momentum": 0.5}), ("Adam", {"clipnorm": 0.5}), ("Adam", {"global_clipnorm": 0.5}),
                ("Adam", {"clipvalue": 0.1}), ("Adam", {"use_ema": True, "ema_overwrite_frequency": 2}), ("SGD", {"weight_decay": 0.01}), ("Adam", {"gradient_accumulation_steps": 2})]  # fmt: skip
    for name, given in several:
        yield f"{name} {given}", partial(_optimized, _new(getattr(keras.optimizers, name), **given))
    for name, given in (("ExponentialDecay", (0.1, 3, 0.9)), ("CosineDecay", (0.1, 5)), ("PolynomialDecay", (0.1, 5)), ("InverseTimeDecay", (0.1, 3, 0.5)), ("CosineDecayRestarts", (0.1, 3)), ("PiecewiseConstantDecay", ([2, 4], [0.1, 0.05, 0.01]))):  # fmt: skip
        schedule = getattr(keras.optimizers.schedules, name)(*given)
        yield name, partial(_optimized, lambda schedule=schedule: keras.optimizers.Adam(schedule))


def _optimized(make: Callable[[], Any]) -> Any:
    def new() -> Any:
        optimizer = make()
        variables = [keras.Variable(numbers(19, 7)), keras.Variable(numbers(7)), keras.Variable(numbers(30, 5, seed=6))]
        optimizer.build(variables)
        return optimizer, variables

    optimizer, variables = _MADE.setdefault(make, None) or _MADE.update({make: new()}) or _MADE[make]
    for number in range(3):
        with tf.GradientTape() as tape:
            rows = tf.gather(variables[2].value, whole(9, below=5))
            loss = tf.reduce_sum(
                tf.square(tf.matmul(numbers(3, 19, seed=number), variables[0].value) + variables[1].value)
            ) + tf.reduce_sum(rows * rows)
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]))
    return [tf.identity(variable.value) for variable in (*variables, *optimizer.variables) if "float" in str(variable.dtype)]


def metrics() -> Iterator[Case]:
    labels, scores = whole(23, below=5), tf.nn.softmax(numbers(23, 5))
    for name, given, truth, value in (
        ("SparseCategoricalAccuracy", {}, labels, scores), ("CategoricalAccuracy", {}, tf.one_hot(labels, 5), scores), ("BinaryAccuracy", {}, tf.one_hot(labels, 5), scores), ("SparseTopKCategoricalAccuracy", {"k": 2}, labels, scores),
        ("AUC", {}, tf.one_hot(labels, 5), scores), ("AUC", {"curve": "PR"}, tf.one_hot(labels, 5), scores), ("Precision", {}, tf.one_hot(labels, 5), scores), ("Recall", {}, tf.one_hot(labels, 5), scores), ("F1Score", {}, tf.one_hot(labels, 5), scores), ("MeanSquaredError", {}, tf.one_hot(labels, 5), scores),
        ("RootMeanSquaredError", {}, tf.one_hot(labels, 5), scores), ("MeanAbsoluteError", {}, tf.one_hot(labels, 5), scores), ("R2Score", {}, tf.one_hot(labels, 5), scores), ("CosineSimilarity", {}, tf.one_hot(labels, 5), scores), ("CategoricalCrossentropy", {}, tf.one_hot(labels, 5), scores),
        ("PearsonCorrelation", {}, tf.one_hot(labels, 5), scores), ("MeanIoU", {"num_classes": 5}, labels, tf.argmax(scores, 1)), ("PrecisionAtRecall", {"recall": 0.5}, tf.one_hot(labels, 5), scores),
    ):  # fmt: skip

        def call(name: str = name, given: Any = given, truth: Any = truth, value: Any = value) -> Any:
            key = f"{name} {given}"
            metric = _MADE.setdefault(key, None) or _MADE.update({key: getattr(keras.metrics, name)(**given)}) or _MADE[key]
            metric.update_state(truth, value)
            return tf.convert_to_tensor(metric.result())

        yield f"{name} {given}", call


def images() -> Iterator[Case]:
    picture = numbers(2, 11, 9, 3, low=0, high=1)
    yield "resize area", lambda: tf.image.resize(picture, (7, 14), method="area")
    for method in ("bilinear", "nearest", "bicubic", "lanczos3", "gaussian"):
        yield f"resize {method}", partial(derived, lambda x, method=method: tf.image.resize(x, (7, 14), method=method), picture)
    yield "antialias", partial(derived, lambda x: tf.image.resize(x, (5, 4), antialias=True), picture)
    for name, given in (("adjust_brightness", (0.1,)), ("adjust_contrast", (1.3,)), ("adjust_hue", (0.1,)), ("adjust_saturation", (1.3,)), ("adjust_gamma", (1.2,)), ("per_image_standardization", ()), ("rgb_to_grayscale", ()), ("rgb_to_hsv", ()), ("rgb_to_yuv", ()), ("flip_left_right", ()), ("rot90", ()), ("central_crop", (0.5,)), ("total_variation", ()), ("sobel_edges", ())):  # fmt: skip
        yield name, lambda name=name, given=given: getattr(tf.image, name)(picture, *given)
    bytes_ = tf.cast(picture[0] * 255, tf.uint8)
    yield "png", lambda: tf.image.convert_image_dtype(tf.io.decode_png(tf.io.encode_png(bytes_)), tf.float32)
    yield "jpeg", lambda: tf.cast(tf.io.decode_jpeg(tf.io.encode_jpeg(bytes_)), tf.float32)
    yield "image", lambda: tf.io.decode_image(tf.io.encode_png(bytes_), expand_animations=False)
    yield "ssim", lambda: tf.image.psnr(picture, picture * 0.9, 1.0)
    yield "crop_and_resize", lambda: tf.image.crop_and_resize(picture, [[0.1, 0.2, 0.8, 0.9]], [0], (5, 5))
    yield (
        "transform",
        lambda: tf.raw_ops.ImageProjectiveTransformV3(
            images=picture,
            transforms=[[1.0, 0.1, 0.2, -0.1, 1.0, 0.3, 0.0, 0.0]],
            output_shape=[11, 9],
            interpolation="BILINEAR",
            fill_mode="REFLECT",
            fill_value=0.0,
        ),
    )


def raw() -> Iterator[Case]:
    """Operations that TensorFlow's own functions put into a graph, and those that run/exact.py keeps out of it."""
    for dtype in ("float32", "float64"):
        x, y = numbers(20, 33, low=0.1, high=3.0, dtype=dtype), numbers(20, 33, dtype=dtype)
        for name in ("Rsqrt", "Reciprocal", "Inv", "Sqrt", "Erfc", "Softmax", "Sigmoid", "Tanh"):
            of = "logits" if name == "Softmax" else "x"
            yield f"{name} {dtype}", lambda name=name, of=of, x=x: getattr(tf.raw_ops, name)(**{of: x})
        for name in ("RsqrtGrad", "SqrtGrad", "ReciprocalGrad", "SigmoidGrad", "TanhGrad"):
            yield f"{name} {dtype}", lambda name=name, x=x, y=y: getattr(tf.raw_ops, name)(y=x, dy=y)
    picture, row = numbers(4, 6, 5, 16), numbers(16, low=0.5, high=2.0)
    for training in (True, False):
        given = {"x": picture, "scale": row, "offset": row, "is_training": training, "mean": row[:0] if training else row}
        yield f"FusedBatchNormV3 {training}", lambda given=given: list(tf.raw_ops.FusedBatchNormV3(**given, variance=given["mean"]))[:5]
    for channels, size, count, kernel in ((64, 56, 64, 3), (512, 14, 32, 3), (1024, 7, 8, 1), (300, 9, 16, 5)):
        large, weights = numbers(1, size, size, channels), numbers(kernel, kernel, channels, count)
        yield f"large convolution {channels} {size}", partial(derived, lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), large, weights)
    yield "large product", partial(derived, tf.matmul, numbers(64, 2000), numbers(2000, 64))


def algebra() -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        square = numbers(6, 6, dtype=dtype) + 4 * tf.eye(6, dtype=dtype)
        symmetric = square @ tf.transpose(square)
        for name in ("cholesky", "inv", "det", "qr", "svd", "slogdet", "eigh", "logdet", "trace"):
            yield f"{name} {dtype}", partial(derived, getattr(tf.linalg, name), symmetric)
        yield f"solve {dtype}", partial(derived, tf.linalg.solve, symmetric, square)
        yield f"triangular {dtype}", partial(derived, tf.linalg.triangular_solve, tf.linalg.band_part(symmetric, -1, 0), square)
    yield "fft", lambda: tf.abs(tf.signal.rfft(numbers(4, 64)))
    yield "stft", lambda: tf.abs(tf.signal.stft(numbers(300), 64, 32))
