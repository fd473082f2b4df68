"""Small programs as people write them, each of which leaves something behind for the next run of its process.

Each is a module with a data function, a model function and perhaps a callback; all but the first lines is what a user wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = """
import keras, numpy as np

def data():
    x = np.arange(16, dtype="float32").reshape(8, 2) / 16
    return x, x[:, 0]

def small(spec, units=3, more=()):
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(units), *more, keras.layers.Dense(1)])

def model(spec):
    return small(spec)

def nudge(model, amount):
    model.layers[-1].bias.assign_add([amount])

class Each(keras.callbacks.Callback):
    pass
"""


@dataclass(frozen=True)
class Program:
    """source: what follows FIRST. says: a part of what the study says was left. words: overrides. helper: the source of a module
    `helping` that the program imports, which lies elsewhere (as an installed package does). before: lines above FIRST."""

    source: str
    says: str
    words: tuple[str, ...] = ()
    helper: str = ""
    before: str = ""


def _callback(body: str, before: str = "") -> str:
    lines = "\n        ".join(body.strip().splitlines())
    return f"{before}\nclass Each(keras.callbacks.Callback):\n    def on_epoch_end(self, epoch, logs=None):\n        {lines}\n"


def _built(body: str, before: str = "") -> str:
    """A model function whose number of units depends on what earlier calls left."""
    lines = "\n    ".join(body.strip().splitlines())
    return f"{before}\ndef model(spec):\n    {lines}\n    return small(spec, units)\n"


LAYER = """
class Scale(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.{name} = {value}
    def call(self, x):
        return x * {used}

def model(spec):
    return small(spec, more=[Scale()])
"""

PROGRAMS: dict[str, Program] = {
    # --- attributes of the model and of what belongs to it
    "average of the weights on the model": Program(
        _callback(
            "new = self.model.get_weights()\n"
            "old = getattr(self.model, 'averaged', None)\n"
            "self.model.averaged = new if old is None else [0.9 * a + 0.1 * b for a, b in zip(old, new)]\n"
            "self.model.set_weights(self.model.averaged)"
        ),
        "attribute 'averaged' of Sequential",
    ),
    "private attribute of the model": Program(
        _callback("self.model._seen = getattr(self.model, '_seen', 0) + 1\nnudge(self.model, 0.1 * self.model._seen)"), "'_seen'"
    ),
    "counter of a layer": Program(
        LAYER.format(name="calls", value="1.0", used="self.calls") + _callback("self.model.layers[1].calls += 1\nnudge(self.model, self.model.layers[1].calls)"),
        "attribute 'calls' of Scale",
    ),
    "private mask of a layer, in place": Program(
        LAYER.format(name="_mask", value="np.ones(3, 'float32')", used="keras.ops.convert_to_tensor(self._mask)")
        + _callback("mask = self.model.layers[1]._mask\nmask[epoch % 3] *= 0.5\nnudge(self.model, float(mask.sum()))"),
        "'_mask'",
    ),
    "counter while the graph is made": Program(
        LAYER.format(name="traced", value="0", used="float(self.step())").replace("    def call", "    def step(self):\n        self.traced += 1\n        return self.traced\n    def call"),
        "'traced'",
    ),
    "attribute of Keras's own layer": Program(_callback("layer = self.model.layers[0]\nlayer.seen = getattr(layer, 'seen', 0) + 1\nnudge(self.model, layer.seen)"), "'seen' of Dense"),
    "attribute of the optimizer": Program(
        _callback("o = self.model.optimizer\no.warm = getattr(o, 'warm', 0) + 1\nnudge(self.model, o.warm)"), "'warm' of Adam"
    ),
    "counter of an optimizer of one's own": Program(
        """
class Warming(keras.optimizers.SGD):
    def __init__(self):
        super().__init__(0.01)
        self._rounds = 0
"""
        + _callback("self.model.optimizer._rounds += 1\nnudge(self.model, self.model.optimizer._rounds)"),
        "'_rounds' of Warming",
        ("~optimizer", "+optimizer={_target_: leaving.Warming}"),
    ),
    "attribute of a loss": Program(
        """
class Focal(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self.alpha = 1.0
    def call(self, y, p):
        return self.alpha * keras.ops.mean((y - p) ** 2, axis=-1)
"""
        + _callback("self.model.loss.alpha *= 0.5\nnudge(self.model, self.model.loss.alpha)"),
        "'alpha' of Focal",
        ("training.loss={_target_: leaving.Focal}",),
    ),
    "list of a metric": Program(
        """
class Seen(keras.metrics.MeanAbsoluteError):
    def __init__(self):
        super().__init__(name="seen")
        self.values = []
    def result(self):
        self.values.append(1)
        return super().result() * float(len(self.values))
""",
        "'values' of Seen",
        ("training.metrics=[{_target_: leaving.Seen}]",),
    ),
    "list and dictionary of a layer": Program(
        LAYER.format(name="history", value="{'seen': []}", used="2.0")
        + _callback("seen = self.model.layers[1].history['seen']\nseen.append(epoch)\nnudge(self.model, len(seen))"),
        "'history' of Scale",
    ),
    "closure in a layer": Program(
        """
def decaying():
    state = [1.0]
    def scale(x):
        return x * state[0]
    def step():
        state[0] *= 0.5
        return state[0]
    scale.step = step
    return scale

def model(spec):
    return small(spec, more=[keras.layers.Lambda(decaying(), output_shape=lambda shape: shape)])
"""
        + _callback("nudge(self.model, self.model.layers[1].function.step())"),
        "'function' of Lambda",
    ),
    # --- what modules hold
    "array of the module, in place": Program(_callback("TABLE[0] += 1\nnudge(self.model, TABLE[0])", "TABLE = np.zeros(3)"), "leaving.TABLE"),
    "global variable": Program(
        _callback("global COUNT\nCOUNT += 1\nnudge(self.model, COUNT)", "COUNT = 0"), "leaving.COUNT"
    ),
    "dunder variable": Program(_built("__calls__.append(1)\nunits = len(__calls__)", "__calls__ = []"), "leaving.__calls__"),
    "class attribute of a callback": Program(
        "\nclass Each(keras.callbacks.Callback):\n    seen = []\n    def on_epoch_end(self, epoch, logs=None):\n"
        "        self.seen.append(1)\n        nudge(self.model, len(self.seen))\n",
        "leaving.Each",
    ),
    "default argument": Program(
        "\ndef model(spec, seen=[]):\n    seen.append(1)\n    return small(spec, len(seen))\n", "leaving.model"
    ),
    "attribute of a function": Program(_built("model.calls = getattr(model, 'calls', 0) + 1\nunits = model.calls"), "leaving.model"),
    "closure of a module's function": Program(
        _built("units = counted()", "def counting():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n        return n\n    return count\ncounted = counting()"),
        "leaving.count",
    ),
    "installed helper": Program(_built("units = helping.next_number()", "import helping"), "helping.N", (), "N = 0\ndef next_number():\n    global N\n    N += 1\n    return N\n"),
    "cache of a method": Program(
        _built("units = Kept.number()", "import functools\nclass Kept:\n    n = 0\n    @functools.cache\n    def number():\n        Kept.n += 1\n        return Kept.n\n"),
        "leaving.Kept",
    ),
    "generator that is used up": Program(_built("units = next(NUMBERS)", "NUMBERS = iter(range(1, 99))"), "can't be seen"),
    "number in C": Program(_built("N.value += 1\nunits = N.value", "import ctypes\nN = ctypes.c_int(0)"), "leaving.N"),
    "weak reference": Program(
        _built("units = 1 + len(ALIVE)\nmade = small(spec)\nKEPT.append(made)\nALIVE.add(made)", "import weakref\nALIVE, KEPT = weakref.WeakSet(), []"), "leaving."
    ),
    "thread-local": Program(_built("HERE.n = getattr(HERE, 'n', 0) + 1\nunits = HERE.n", "import threading\nHERE = threading.local()"), "leaving.HERE"),
    "context variable": Program(_built("N.set(N.get() + 1)\nunits = N.get()", "import contextvars\nN = contextvars.ContextVar('n', default=0)"), "context variables"),
    # --- what the process holds
    "environment variable": Program(_built("units = int(os.environ.get('UNITS_SO_FAR', '1'))\nos.environ['UNITS_SO_FAR'] = str(units + 1)", "import os"), "environment variable UNITS_SO_FAR"),
    "working directory": Program(
        _built("units = len(os.getcwd().split('deeper'))\nos.makedirs('deeper', exist_ok=True)\nos.chdir('deeper')", "import os"), "working directory"
    ),
    "umask": Program(_built("before = os.umask(0o077)\nunits = 2 if before == 0o077 else 4", "import os"), "umask"),
    "locale": Program(_built("units = 2 if locale.setlocale(locale.LC_ALL) == 'C.UTF-8' else 4\nlocale.setlocale(locale.LC_ALL, 'C.UTF-8' if units == 4 else 'C')", "import locale"), "locale"),
    "sys.path": Program(_built("sys.path.append('/nowhere')\nunits = sys.path.count('/nowhere')", "import sys"), "sys.path"),
    "open file": Program(
        _built("units = int(NUMBERS.readline())", "import tempfile\nNUMBERS = tempfile.TemporaryFile('w+')\nNUMBERS.write('2\\n3\\n4\\n5\\n')\n_ = NUMBERS.seek(0)"),
        "leaving.NUMBERS",
    ),
    "NumPy's error handling": Program(_built("units = 2 if np.geterr()['under'] == 'warn' else 4\n_ = np.seterr(under='warn')"), "NumPy's error handling"),
    "warnings": Program(_built("units = len(warnings.filters) % 7 + 1\nwarnings.filterwarnings('ignore', message=str(units))", "import warnings"), "warnings.filters"),
    "Keras's float type": Program(_built("units = 2 if keras.config.epsilon() != 1e-7 else 4\nkeras.config.set_epsilon(1e-6)"), "Keras's epsilon"),
    "Keras's custom objects": Program(
        _built("found = keras.saving.get_custom_objects()\nunits = len(found) + 1\nfound[f'mine{units}'] = small"), "Keras's custom objects"
    ),
    "function of a library, replaced": Program(
        _built("before = keras.layers.Dense.build\nDEPTH = getattr(before, 'depth', 0) + 1\ndef wrapped(self, shape):\n    return before(self, shape)\nwrapped.depth = DEPTH\nkeras.layers.Dense.build = wrapped\nunits = DEPTH"),
        "Dense.build",
    ),
    "thread that goes on": Program(
        _built(
            "threading.Thread(target=HOLD.wait, args=(300,), name='counting').start()\n"
            "units = sum(t.name == 'counting' for t in threading.enumerate())",
            "import threading\nHOLD = threading.Event()",
        ),
        "",
    ),
}  # fmt: skip
