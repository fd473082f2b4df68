"""What all runs of one process have in common besides modules' own variables: surroundings, and settings of libraries.

A run that changes one of these would not leave, for the next one, what a fresh process has. `look` reads all of them; what
differs between two looks is named by `changed`.
"""

from __future__ import annotations

import contextvars
import decimal
import gc
import hashlib
import importlib
import locale
import os
import signal
import socket
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.run import provenance

# What is no code of the user's, though the lock does not name it.
TOOLS = frozenset({"__main__", "__mp_main__", "seedbed", "setuptools", "pkg_resources", "pip", "_distutils_hack", "_virtualenv"})

# Modules that TensorFlow makes of functions that it turns into graphs.
GENERATED = "__autograph_generated_file"

# Variables of the environment that libraries set when they are imported (scikit-learn, h5py, TensorFlow), the same each time.
OF_LIBRARIES = frozenset({"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "HDF5_PLUGIN_PATH", "ENABLE_RUNTIME_UPTIME_TELEMETRY"})

# What every process has. Each is read anew; values are compared by `repr`.
SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "the working directory": os.getcwd,
    "the umask": lambda: _umask(),
    "the locale": lambda: locale.setlocale(locale.LC_ALL),
    "the time zone": lambda: time.tzname,
    "sys.path": lambda: list(sys.path),
    "sys.meta_path": lambda: [id(finder) for finder in sys.meta_path],
    "sys.stdout and sys.stderr": lambda: (id(sys.stdout), id(sys.stderr)),
    "the tracing function": lambda: (id(sys.gettrace()), id(sys.getprofile())),
    "the recursion limit": sys.getrecursionlimit,
    "warnings.filters": lambda: warnings.filters,
    "signal handlers": lambda: [id(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    "threads": lambda: sorted(thread.name for thread in threading.enumerate() if not thread.daemon),
    "context variables": lambda: {var.name: _stamp(value) for var, value in contextvars.copy_context().items()},
    "the garbage collector's settings": lambda: (gc.isenabled(), gc.get_threshold()),
    "the socket timeout": socket.getdefaulttimeout,
    "decimal's context": decimal.getcontext,
    "the processors that may be used": lambda: sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (),
    "NumPy's error handling": lambda: (np.geterr(), id(np.geterrcall())),
    "NumPy's print options": np.get_printoptions,
}

# What libraries can be told for the rest of the process, where they have been imported.
SETTINGS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "keras": {
        "Keras's floatx": lambda keras: keras.config.floatx(),
        "Keras's epsilon": lambda keras: keras.config.epsilon(),
        "Keras's image data format": lambda keras: keras.config.image_data_format(),
        "Keras's dtype policy": lambda keras: keras.config.dtype_policy().name,
        "Keras's custom objects": lambda keras: {name: id(kind) for name, kind in keras.saving.get_custom_objects().items()},
    },
    "tensorflow": {
        "TensorFlow's eager functions": lambda tf: tf.config.functions_run_eagerly(),
        "TensorFlow's soft placement": lambda tf: tf.config.get_soft_device_placement(),
        "TensorFlow's TF32": lambda tf: tf.config.experimental.tensor_float_32_execution_enabled(),
        "TensorFlow's compiler": lambda tf: tf.config.optimizer.get_jit(),
        "TensorFlow's graph rewrites": lambda tf: tf.config.optimizer.get_experimental_options(),
    },
    "pandas": {"pandas' options": lambda pandas: _stamp(repr(importlib.import_module("pandas._config.config")._global_config))},
    "sklearn": {"scikit-learn's settings": lambda sklearn: sklearn.get_config()},
    "torch": {
        "PyTorch's default type": lambda torch: torch.get_default_dtype(),
        "PyTorch's gradients": lambda torch: torch.is_grad_enabled(),
    },
}

# Modules whose functions and classes are held against what they were, in case that a run puts others in their place; and packages
# in whose modules the classes, too, are.
PATCHED = frozenset({
    "builtins", "keras", "keras.activations", "keras.backend", "keras.initializers", "keras.layers", "keras.losses", "keras.metrics",
    "keras.models", "keras.ops", "keras.optimizers", "keras.random", "math", "numpy", "numpy.random", "os", "random", "sys",
    "tensorflow", "tensorflow._api.v2.math", "tensorflow._api.v2.nn", "tensorflow._api.v2.random", "time",
})  # fmt: skip
PATCHED_PACKAGES = ("keras.src.",)
OF_PYTHON = frozenset({"__annotations__", "__warningregistry__", "__doc__", "__builtins__", "__slotnames__"})


def look() -> dict[str, str]:
    """Read all of it: what it is called, and its value or a hash of that."""
    found = {name: repr(read()) for name, read in SURROUNDINGS.items()}
    found |= {f"the environment variable {name}": _stamp(value) for name, value in os.environ.items() if name not in OF_LIBRARIES}
    found |= _open_files()
    for library, settings in SETTINGS.items():
        if (module := sys.modules.get(library)) is not None:
            found |= {name: repr(read(module)) for name, read in settings.items()}
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Name what two looks differ in. A library that was not there before is not compared."""
    late = {name for library, settings in SETTINGS.items() for name in settings if name not in before or name not in now}
    return sorted(name for name in {**before, **now} if name not in late and before.get(name) != now.get(name))


def _stamp(value: Any) -> str:
    """What stands for a value that may be secret or long."""
    return hashlib.sha256(repr(value).encode(errors="replace")).hexdigest()


def _umask() -> int:
    try:  # to ask by `os.umask` is to set it, for all threads
        return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask")).split()[1], 8)
    except (OSError, StopIteration):
        before = os.umask(0o077)
        os.umask(before)
        return before


def _open_files() -> dict[str, str]:
    """The plain files that this process has open to read, and where in them it is; nothing where that can't be seen."""
    found: dict[str, str] = {}
    try:
        own = {os.readlink(f"/proc/self/fd/{handle}") for handle in (0, 1, 2)}  # noqa: PTH115
        handles = os.listdir("/proc/self/fd")  # noqa: PTH208 (names, without a Path for each)
    except OSError:
        return {}
    for handle in handles:
        try:
            path = os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
            if path in own or not path.startswith("/") or path.startswith(("/dev/", "/proc/", "/memfd:")) or "/.locks/" in path:
                continue
            told = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines() if ":" in line)
            if int(told["flags"], 8) & os.O_ACCMODE != os.O_WRONLY:  # nobody reads from a log, and a shell may have opened it
                found[f"the open file {path}"] = told["pos"].strip()
        except (OSError, KeyError, ValueError):
            continue  # closed meanwhile: the one that listed the folder, for one
    return found


class Watched:
    """The imported modules whose variables are compared: all that a run brings and that neither Python nor the lock nor seedbed has.

    names: those that the run's source reaches. before: modules that were there before any code of the user's. locked: see
    `provenance.locked_modules`.
    """

    def __init__(self, names: Iterable[str], before: Container[str], locked: frozenset[str]) -> None:
        self.tops, self.before, self.locked = {name.partition(".")[0] for name in names}, before, locked
        self.judged: dict[str, bool] = {}

    def names(self) -> list[str]:
        """Those that are imported now."""
        for name in set(sys.modules) - set(self.judged):
            self.judged[name] = self._is_watched(name, getattr(sys.modules.get(name), "__file__", None))
        return [name for name, watched in self.judged.items() if watched]

    def _is_watched(self, name: str, file: Any) -> bool:
        top = name.partition(".")[0]
        if top in TOOLS or not file or name.startswith(GENERATED):
            return False
        return (name not in self.before or top in self.tops) and not provenance.is_known(str(file), top, self.locked)


class Functions:
    """The functions and classes of libraries as they are now, to see whether a run has put others in their place."""

    def __init__(self) -> None:
        self.places = dict(_places())
        self.marks = {name: _mark(held) for name, held in self.places.items()}
        self.held = {name: dict(held) for name, held in self.places.items()}

    def changed(self) -> list[str]:
        """The dotted names that stand for something else than they did."""
        found = []
        for name, held in self.places.items():
            if _mark(held) != self.marks[name]:
                before = self.held[name]
                names = [key for key in {**before, **held} if before.get(key) is not held.get(key) and key not in OF_PYTHON]
                found += [f"{name}.{key}" for key in names if _is_patch(before, held, key)]
                self.marks[name], self.held[name] = _mark(held), dict(held)
        return found


def _is_patch(before: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    """Whether a name that stands for something else is more than a library's own variable: a function, a class, a new name."""
    if key not in before:
        return not isinstance(now[key], types.ModuleType)  # a submodule that was imported
    return any(callable(held.get(key)) or hasattr(held.get(key), "__get__") for held in (before, now))


def _places() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, module in list(sys.modules.items()):
        package = name.startswith(PATCHED_PACKAGES)
        if not isinstance(module, types.ModuleType) or not (package or name in PATCHED):
            continue
        yield name, vars(module)
        for kind in list(vars(module).values()) if package else ():
            if isinstance(kind, type) and kind.__module__ == name:
                yield f"{name}.{kind.__qualname__}", vars(kind)


def _mark(held: Mapping[str, Any]) -> int:
    return hash(tuple(map(id, held.values())))
