"""TensorFlow's C++ libraries print a few lines when they are imported, before anybody can ask them not to.

Seen with TensorFlow 2.21 (TF_CPP_MIN_LOG_LEVEL doesn't reach them); only these lines are dropped, everything else that is
printed in the meantime comes out afterwards.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType

NOISE = re.compile(
    rb"All log messages before absl::InitializeLog|oneDNN custom operations are on|cpu_feature_guard\.cc|^To enable the following instr"
)


# Contexts to import TensorFlow and Keras in, made with the name of the one that is imported, and what to call when one of them has
# been; `seedbed.run.data` has some while a data function runs.
AROUND: list[Callable[[str], AbstractContextManager[None]]] = []
AFTER: list[Callable[[], None]] = []

# Those of the two whose import is under way: each imports the other.
_IMPORTING: set[str] = set()


# What Keras 3.15 imports for a function or two: pyplot, and scikit-learn by way of its wrappers. They are loaded when they are
# used, which saves 0.7 s of every start.
LATER = frozenset(
    {
        "matplotlib.pyplot",
        *(f"keras.{package}" for package in ("src.visualization", "visualization")),
        *(f"keras.{package}" for package in ("wrappers", "_tf_keras.keras.wrappers")),
    }
)
# Where JAX is installed, these import it also on another backend, for a converter of JAX's functions and to mend an old JAX. Both
# can do without.
WITHOUT_JAX = frozenset({"tensorflow.lite.python.util", "keras.src.callbacks.orbax_checkpoint"})


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `tensorflow` and `keras` as usual, and wraps the loaders that were found; has what is in LATER loaded later."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name == "jax" and _asked_by(WITHOUT_JAX):
            raise ModuleNotFoundError("seedbed imports JAX on the JAX backend alone", name="jax")
        if name in LATER and "keras" in sys.modules:
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = importlib.util.LazyLoader(spec.loader)
            return spec
        if name not in ("tensorflow", "keras") or name in sys.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module: ModuleType) -> None:
                _IMPORTING.add(name)
                try:
                    with ExitStack() as stack:
                        for context in AROUND:
                            stack.enter_context(context(name))
                        if name == "tensorflow":
                            stack.enter_context(_without_noise())
                        stack.enter_context(_without_collection())
                        execute(module)
                finally:
                    _IMPORTING.discard(name)
                for call in list(AFTER):
                    call()

            spec.loader.exec_module = quietly  # type: ignore[method-assign]
        return spec


def is_importing(name: str) -> bool:
    """Whether the import of `tensorflow` or `keras` is under way."""
    return name in _IMPORTING


def _asked_by(modules: frozenset[str]) -> bool:
    """Whether the import that is under way stands in one of these modules (and not in what they import)."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and not name.startswith("importlib"):
            return name in modules
    return False


def install() -> None:
    """Drop the noise of the first `import tensorflow` of this process, whoever makes it."""
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python's garbage collector off, and what is there when it goes on again left out of its rounds.

    An import makes half a million objects that stay. To look through them again and again was a quarter of a start.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def _without_noise() -> Iterator[None]:
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not NOISE.search(line)))
