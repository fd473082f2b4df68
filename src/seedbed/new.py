"""The command `new`: a data function or a model function of one's own, its config file and its test, to be filled in.

They work as they are written. Each has a module of its own in the user's package (the one in src/ that isn't seedbed), so no file that
is there already is touched.
"""

from __future__ import annotations

import argparse
import keyword
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from string import Template

from seedbed import Refused, printed, project_root
from seedbed.command_line import command, make
from seedbed.run import record

DATA = {
    "src/$package/data_$name.py": '''\
"""The data set `$name`: `conf/data/$name.yaml` names the function and its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np


def $name(rows: int = 200) -> Any:
    """x float32 (rows, 3), y float32 (rows,): made-up numbers in place of yours.

    Return (x, y), or {"train": (x, y), "test": (x, y)}: arrays, data frames, dicts of them, or a pipeline. `seedbed.run.data` says
    all that is accepted. A parameter `seeds` would be given the seed of each stream, by name.
    """
    generator = np.random.default_rng(0)  # yours: pd.read_csv(path), np.load(path), …
    x = generator.normal(size=(rows, 3)).astype("float32")
    y = 2 * x[:, 0] - x[:, 1] + x[:, 0] * x[:, 2]
    return x, y
''',
    "conf/data/$name.yaml": """\
# The data set `$name`: what is read, what a model of it is judged by, what is held out.
#   make train ARGS="data=$name"
name: $name
source:
  _target_: $package.data_$name.$name
  rows: 200                       # an argument of the function; ??? is one that must be said on the command line
loss: mean_squared_error          # classes (whole numbers): sparse_categorical_crossentropy; one sigmoid: binary_crossentropy
metrics: [mean_absolute_error]    # for classes: [accuracy]
validation_split: 0.1             # shares of all examples; which ones is the stream `split`
test_split: 0.2
epochs: 20
batch_size: 32                    # null: all examples in one batch
""",
    "$tests/test_data_$name.py": '''\
"""The data set `$name`: what its function gives, checked as a run checks it."""

from __future__ import annotations

import numpy as np

from seedbed.testing import data


def test_examples() -> None:
    x, y = data("data=$name").train
    assert x.shape[1:] == (3,)
    assert len(x) == len(y)


def test_the_same_twice() -> None:
    for once, again in zip(data("data=$name").train, data("data=$name").train, strict=True):
        np.testing.assert_array_equal(once, again)
''',
}

MODEL = {
    "src/$package/model_$name.py": '''\
"""The model `$name`: `conf/model/$name.yaml` names the function and its arguments."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from seedbed.run.data import Spec


def $name(spec: Spec, width: int = 32, dropout: float = 0.0) -> Any:
    """A dense layer in place of yours. Not compiled: optimizer, loss and metrics come from the config.

    `spec` tells of the data: the shape of an example (`inputs`; a dict of them where the data are a dict), how many values or classes
    are to be predicted (`outputs`), and whether they are classes.
    """
    inputs = keras.Input(spec.inputs, dtype=spec.dtypes)
    x = layers.Flatten()(inputs)
    x = layers.Dense(width, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(spec.outputs, activation="softmax" if spec.classes else None, dtype="float32")(x))
''',
    "conf/model/$name.yaml": """\
# The model `$name`: the function that builds it, and its arguments.
#   make train ARGS="model=$name$data"
_target_: $package.model_$name.$name
width: 32
dropout: 0.0
""",
    "$tests/test_model_$name.py": '''\
"""The model `$name`, phase by phase: initialisation, forward, loss, gradient, update, resume, save and load, repeat."""

from __future__ import annotations

from seedbed.testing import ModelContract


class Test$title(ModelContract):
    config = "model=$name$data"  # what follows `seedbed train`: name the data that it is for
''',
}
KINDS: dict[str, Mapping[str, str]] = {"data": DATA, "model": MODEL}

# Words that YAML and Hydra take for values, and names that the new module needs for something else.
TAKEN = {"null", "true", "false", "yes", "no", "on", "off", "nan", "inf", "np", "keras", "layers", "spec", "any", "default"}


def new(argv: list[str]) -> int:
    """`seedbed new data NAME`, `seedbed new model NAME`."""
    parser = argparse.ArgumentParser("seedbed new", description="a data or model function of your own, its config file and its test")
    parser.add_argument("kind", choices=list(KINDS), help="what it is to be")
    parser.add_argument("name", metavar="NAME", help="what it is called on the command line: data=NAME, model=NAME")
    parser.add_argument("--package", help="the package in src/ that it goes into, where there is more than one")
    options = parser.parse_args(argv)
    root = project_root()
    kind, name, package = options.kind, checked(options.name), package_of(root, options.package)
    data = f" data={name}" if kind == "model" and (root / "conf" / "data" / f"{name}.yaml").exists() else ""
    title = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    tests = f"tests/{package}" if (root / "tests" / package).is_dir() else "tests"
    values = {"tests": tests, "name": name, "package": package, "title": title, "data": data}
    files = {Template(path).substitute(values): Template(text).substitute(values) for path, text in KINDS[kind].items()}
    write(root, files)
    names, test = list(files), next(path for path in files if path.startswith("tests/"))
    trained = command("train", [f"{kind}={name}", *data.split()])
    printed.lines([
        *zip(("function", "config", "test"), names, strict=True),
        ("next", f"{trained}   then fill in {names[0]}; {make('test', [test])} tests it"),
    ])  # fmt: skip
    return 0


def checked(name: str) -> str:
    """`name`, if it can name a function, a file and a choice on the command line; raises Refused."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name.startswith("_") or name.lower() in TAKEN:
        accepted = (
            f"a name for a Python function: a to z, digits and _; no word of Python (class, def), and none of {', '.join(sorted(TAKEN))}"
        )
        raise Refused(f"{name!r} is not accepted. Accepted: {accepted}.")
    return name


def package_of(root: Path, said: str | None) -> str:
    """The user's package: the one in `root`/src beside seedbed, or `said` where there are several; raises Refused."""
    there = sorted(file.parent.name for file in (root / "src").glob("*/__init__.py") if file.parent.name != "seedbed")
    if said is not None and said not in there:
        raise Refused(f"--package {said}: there is no such package in {root / 'src'}. Accepted: {', '.join(there) or 'none is there'}.")
    if not there:
        raise Refused(f"{root / 'src'} holds no package beside seedbed. Make one, a folder with an empty __init__.py, then the same again.")
    if said is None and len(there) > 1:
        raise Refused(f"{root / 'src'} holds more than one package. Say which: --package {' or --package '.join(there)}.")
    return said or there[0]


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write all of `files` (by path under `root`), or none: raises Refused where one is there already or can't be written.

    A file that holds what would be written is left by a call that was killed: it is no obstacle.
    """
    files = {path: text for path, text in files.items() if not _is_written(root / path, text)}
    if there := [path for path in files if (root / path).exists() or (root / path).is_symlink()]:
        raise Refused(f"{', '.join(there)}: there already, and nothing was written. Say another name, or remove what is there.")
    written: list[Path] = []
    try:
        for path, text in files.items():
            file = root / path
            with record.naming(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                partial = file.with_name(f".{file.name}.new")
                try:
                    partial.write_text(text)
                    file.hardlink_to(partial)  # whole or not at all, and over nothing
                    written.append(file)
                finally:
                    partial.unlink(missing_ok=True)
    except OSError as error:
        for file in written:
            with suppress(OSError):
                file.unlink()
        raise Refused(f"{record.hindrance(error)}. {record.remedy(error)}, then the same command again; nothing was written.") from None


def _is_written(file: Path, text: str) -> bool:
    try:
        return file.is_file() and not file.is_symlink() and file.read_text() == text
    except (OSError, ValueError):
        return False
