"""What draws random numbers, and from where: the tables that several rules share."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from seedbed.proof.rules.names import Source
from seedbed.proof.rules.syntax import FUNCTIONS, Function, argument, is_none, is_open
from seedbed.proof.rules.values import bound_values, definition, origins

# Python's global generator. https://docs.python.org/3/library/random.html
PYTHON = {f"random.{name}" for name in (
    "random", "uniform", "randint", "randrange", "choice", "choices", "shuffle", "sample", "gauss", "normalvariate", "lognormvariate",
    "expovariate", "betavariate", "gammavariate", "paretovariate", "weibullvariate", "vonmisesvariate", "triangular", "getrandbits",
    "randbytes", "binomialvariate")}  # fmt: skip
# What stands in numpy.random and doesn't draw from its global generator.
NUMPY_QUIET = {"default_rng", "seed", "get_state", "set_state", "get_bit_generator", "set_bit_generator", "mtrand", "bit_generator"}
# TensorFlow's stateful operations: each call advances a state that the process shares.
TENSORFLOW = {f"tensorflow.random.{name}" for name in (
    "uniform", "normal", "truncated_normal", "shuffle", "categorical", "gamma", "poisson", "uniform_candidate_sampler")} | {
    "tensorflow.nn.dropout", "tensorflow.image.sample_distorted_bounding_box", "tensorflow.random_uniform", "tensorflow.random_normal",
    "tensorflow.random_shuffle"}  # fmt: skip
GENERATORS = {
    "numpy.random.default_rng", "numpy.random.RandomState", "numpy.random.Generator", "random.Random", "tensorflow.random.Generator",
    "tensorflow.random.Generator.from_seed", "tensorflow.random.Generator.from_state",
    "tensorflow.random.Generator.from_non_deterministic_state", "tensorflow.random.get_global_generator",
}  # fmt: skip
# Calls that seed a global generator, and the names of what they take.
SEED_GLOBALS = {
    "random.seed": "a", "numpy.random.seed": "seed", "tensorflow.random.set_seed": "seed", "keras.utils.set_random_seed": "seed",
    "tensorflow.set_random_seed": "seed", "torch.manual_seed": "seed",
}  # fmt: skip
# Keras's layers that draw; calling one advances the state of its seed generator.
LAYERS = tuple(f"keras.layers.{name}" for name in ("Random", "Dropout", "SpatialDropout", "Gaussian", "AlphaDropout", "MixUp", "CutMix",
                                                   "AugMix", "RandAugment"))  # fmt: skip

SEQUENTIAL = ("keras.Sequential", "keras.models.Sequential")


@dataclass(frozen=True)
class Draw:
    """A place where a function draws from a generator that others share. what: as people call it."""

    node: ast.AST
    what: str


def is_numpy(name: str) -> bool:
    """Whether a dotted name draws from NumPy's global generator."""
    module, _, word = name.rpartition(".")
    return module == "numpy.random" and word.islower() and word not in NUMPY_QUIET


def shared(source: Source, call: ast.Call, function: ast.AST | None = None) -> str:
    """What a call draws from if others draw from it, too: a global generator, or one made outside of `function`; "" if nothing."""
    name = source.resolve(call.func) or ""
    if name in PYTHON or is_numpy(name) or name in TENSORFLOW or name.startswith("tensorflow.image.random_"):
        return name
    if name.startswith("keras.random.") and name != "keras.random.SeedGenerator":
        seed = argument(call, None, "seed")
        return "" if isinstance(seed, ast.Constant) and not is_none(seed) else name
    if is_random_layer(source, call.func):
        return f"the layer `{ast.unparse(call.func)}`"
    if isinstance(call.func, ast.Attribute) and origins(source, call.func.value, chain=False) & GENERATORS:
        holder = call.func.value
        own = isinstance(holder, ast.Name) and all(
            function is not None and function in source.ancestors(one.node) for one in source.reaching(holder)
        )
        made_here = isinstance(holder, ast.Call)
        return "" if own or made_here else f"the generator `{ast.unparse(holder)}`"
    return ""


def is_random_layer(source: Source, node: ast.AST) -> bool:
    """Whether an expression is a Keras layer that draws, or a Sequential that holds one."""
    if not isinstance(node, ast.Name | ast.Attribute):
        return False
    if any(made.startswith(LAYERS) for made in origins(source, node, chain=False)):
        return True
    stacks = [one for one in bound_values(source, node) if isinstance(one, ast.Call) and source.resolve(one.func) in SEQUENTIAL]
    inside = [one for stack in stacks for one in ast.walk(stack) if isinstance(one, ast.Call)]
    return any((source.resolve(one.func) or "").startswith(LAYERS) for one in inside)


def first_draw(source: Source, function: ast.AST | None, seen: frozenset[ast.AST] = frozenset()) -> Draw | None:
    """The first place where a function, or one of this module that it calls, draws from a generator that others share.

    None, too, where the function seeds that generator itself from what it is given.
    """
    if not isinstance(function, FUNCTIONS) or function in seen:
        return None
    body = function.body if isinstance(function.body, list) else [function.body]
    calls = [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    if any(seeds(source, call) for call in calls):
        return None
    for call in calls:
        if what := shared(source, call, function):
            return Draw(call, what)
        # what it calls, and the Python function inside of a tf.py_function
        inner = [call.func, *(call.args[:1] if (source.resolve(call.func) or "").startswith("tensorflow.") else [])]
        for one in inner:
            if found := first_draw(source, definition(source, one), seen | {function}):
                return found
    return None


def seeds(source: Source, call: ast.Call) -> bool:
    """Whether a call seeds a global generator from something that is given (not from the system's entropy)."""
    name = source.resolve(call.func)
    if name not in SEED_GLOBALS:
        return False
    seed = argument(call, 0, SEED_GLOBALS[name])
    return is_open(call) or (seed is not None and not is_none(seed))


def is_seeded(source: Source, node: ast.AST, *names: str) -> bool:
    """Whether one of these calls has seeded a global generator before `node`, in its function or when the module was imported."""
    inside: Function | None = source.function(node)
    at = getattr(node, "lineno", 0)
    return any(
        source.resolve(call.func) in names and seeds(source, call) and call.lineno <= at and source.function(call) in (inside, None)
        for call in source.calls
    )
