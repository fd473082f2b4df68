"""Configs from elsewhere, made by a grammar: positions, tricks, and every function that could be named. Nothing is called."""

from __future__ import annotations

import ast
import copy
import importlib.metadata
import inspect
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import yaml
from conftest import ROOT

from seedbed import Refused
from seedbed.proof import callback_places, conf_targets, config_policy, data_locations, keras_allowlist, naming, untrusted
from seedbed.run import training

LEAST = 5_000  # cases, where every name is tried
MOST_OF_A_PACKAGE = 12  # names of each installed package


@pytest.fixture(scope="module")
def declared() -> conf_targets.Declared:
    return conf_targets.read(ROOT / "conf", [ROOT / "src"])


@pytest.fixture
def plain(config: Any) -> Callable[..., dict[str, Any]]:
    """A config as the record of a run has it."""
    from seedbed.run import config as configs

    return lambda *words: training.shown(configs.without_environment(config(*words)))


def complaints(found: dict[str, Any], declared: conf_targets.Declared, *data: str) -> str:
    """What is said against a config; "" if it is accepted."""
    try:
        config_policy.refuse(found, declared, data_locations.of(ROOT, data))
    except Refused as refused:
        return str(refused)
    return ""


# --- the grammar --------------------------------------------------------------------------------------------------

Config = dict[str, Any]
Put = Callable[[Config, Any], Any]

POSITIONS: dict[str, Put] = {
    "model": lambda config, node: config.update(model=node),
    "data": lambda config, node: config["data"].update(source=node),
    "optimizer": lambda config, node: config.update(optimizer=node),
    "loss": lambda config, node: config["training"].update(loss=node),
    "loss of an output": lambda config, node: config["training"].update(loss={"a": node}),
    "loss of the data": lambda config, node: config["data"].update(loss=node),
    "metric": lambda config, node: config["training"].update(metrics=[node]),
    "metric of an output": lambda config, node: config["training"].update(metrics={"a": [node]}),
    "metric of the data": lambda config, node: config["data"].update(metrics=[node]),
    "callback": lambda config, node: config["training"].update(callbacks={"mine": node}),
    "callback's argument": lambda config, node: config["training"].update(
        callbacks={"mine": {"_target_": "keras.callbacks.LearningRateScheduler", "schedule": node}}),
    "argument of the model": lambda config, node: config["model"].update(activation=node),
    "in a list of the model": lambda config, node: config["model"].update(hidden=[node]),
    "in a mapping of the data": lambda config, node: config["data"]["source"].update(length={"a": [node]}),
    "learning rate": lambda config, node: config["optimizer"].update(learning_rate=node),
    "layer": lambda config, node: config.update(model={"_target_": "keras.Sequential", "layers": [node]}),
    "class weight": lambda config, node: config["training"].update(class_weight=node),
    "strategy": lambda config, node: config["strategy"].update(more=node),
    "backend": lambda config, node: config["backend"].update(more=node),
    "seeds": lambda config, node: config["seeds"].update(init=node),
    "level": lambda config, node: config["determinism"].update(more=node),
    "hydra": lambda config, node: config.update(hydra={"callbacks": {"mine": node}}),
    "a part of its own": lambda config, node: config.update(mine=node),
}  # fmt: skip

COMMAND = {"command": ["sh", "-c", "touch /tmp/marker"], "name": "x"}

TRICKS: dict[str, Callable[[str], Any]] = {
    "plain": lambda name: {"_target_": name},
    "arguments": lambda name: {"_target_": name, **COMMAND},
    "by position": lambda name: {"_target_": name, "_args_": ["touch /tmp/marker"]},
    "partial": lambda name: {"_target_": name, "_partial_": True},
    "not recursive": lambda name: {"_target_": name, "_recursive_": False, "config": {"_target_": "os.abort"}},
    "converted": lambda name: {"_target_": name, "_convert_": "object"},
    "another word for Hydra": lambda name: {"_target_": name, "_mode_": "x"},
    "by get_method": lambda name: {"_target_": "hydra.utils.get_method", "path": name},
    "by get_class": lambda name: {"_target_": "hydra.utils.get_class", "path": name},
    "by get_object": lambda name: {"_target_": "hydra.utils.get_object", "path": name},
    "by instantiate": lambda name: {"_target_": "hydra.utils.instantiate", "config": {"_target_": name}},
    "by call": lambda name: {"_target_": "hydra.utils.call", "config": {"_target_": name}, "_recursive_": False},
    "in Keras's way": lambda name: {"class_name": name.rpartition(".")[2], "module": name.rpartition(".")[0], "config": {}, "registered_name": name},
    "a look-alike": lambda name: {"_target_": name.replace("e", "\u0435").replace("o", "\uff4f")},
    "a wide letter": lambda name: {"_target_": chr(ord(name[0]) + 0xFEE0) + name[1:]},
    "a blank": lambda name: {"_target_": f" {name}"},
    "a line": lambda name: {"_target_": f"{name}\n"},
    "a colon": lambda name: {"_target_": ":".join(name.rsplit(".", 1))},
    "two dots": lambda name: {"_target_": name.replace(".", "..", 1)},
    "an attribute": lambda name: {"_target_": f"{name}.__globals__"},
    "a method": lambda name: {"_target_": f"{name}.__init__"},
    "by another root": lambda name: {"_target_": f"tensorflow.{name}"},
    "a list": lambda name: {"_target_": [name]},
    "a number": lambda name: {"_target_": 1, "name": name},
    "nested in what is accepted": lambda name: {"_target_": "keras.Sequential", "layers": [{"_target_": name}]},
}  # fmt: skip


def of_the_repository() -> Iterator[str]:
    """Every function, class and method of the repository, public and private, and what is reached through its modules' imports."""
    for base in (ROOT / "src", ROOT / "tutorial"):
        for file in sorted(base.rglob("*.py")):
            module = ".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    yield f"{module}.{node.name}"
                if isinstance(node, ast.ClassDef):
                    yield from (f"{module}.{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef))
                if isinstance(node, ast.Import | ast.ImportFrom):
                    for alias in node.names:
                        yield f"{module}.{alias.asname or alias.name}"
                        yield f"{module}.{alias.asname or alias.name}.{'system' if alias.name == 'os' else 'run'}"


def of_the_packages() -> Iterator[str]:
    """Names that the top-level modules of installed packages and of Python bind."""
    for module in [*sorted(importlib.metadata.packages_distributions()), *sorted(sys.stdlib_module_names)]:
        spec = PathFinder.find_spec(module)
        yield f"{module}.main"
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            continue
        names = []
        for node in ast.parse(Path(spec.origin).read_bytes()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.append(node.name)
            elif isinstance(node, ast.ImportFrom):
                names += [alias.asname or alias.name for alias in node.names if alias.name != "*"]
        yield from (f"{module}.{name}" for name in names[:MOST_OF_A_PACKAGE])


KNOWN_EVIL = ("os.system", "os.popen", "os.abort", "builtins.exec", "builtins.eval", "builtins.open", "subprocess.run", "subprocess.Popen",
              "pickle.loads", "shutil.rmtree", "keras.saving.load_model", "keras.utils.get_file", "keras.config.enable_unsafe_deserialization",
              "tensorflow.io.write_file", "numpy.load", "pandas.read_pickle", "joblib.load", "runpy.run_path", "importlib.import_module",
              "seedbed.run.children.run", "seedbed.run.record.write_atomically", "example.data.np.load", "example.tables.pd.read_pickle",
              "example.models.keras.saving.load_model", "example.models._input", "example.pictures.Path.write_text")  # fmt: skip


class Watch:
    """What Python itself reports of imports, calls into the system and files that are written, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)  # stays for the life of the process

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and any(letter in str(arguments[1]) for letter in "wax+")
        started = ("import", "exec", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.", "marshal.")
        if (event.startswith(started) and event not in ("os.listdir", "os.scandir")) or writes:
            self.seen.append(f"{event} {arguments!r}"[:200])


WATCH = Watch()


@pytest.mark.parametrize("every", [30, pytest.param(1, marks=pytest.mark.integration)])
def test_no_config_of_the_grammar_has_anything_called(
    every: int, plain: Callable[..., Config], declared: conf_targets.Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name of thirty here, and all of them in the integration tier; known evil, and each trick in each position, in both."""
    drawn = random.Random(16)
    base = {**plain(), "seeds": {}}
    own = list(dict.fromkeys(of_the_repository()))
    of_keras = (f"keras.layers.{name}" for name in ("Lambda", "Layer"))
    names = [*[*own, *of_the_packages()][::every], *KNOWN_EVIL * (3 if every == 1 else 1), *declared.targets, *of_keras]
    pairs = [(position, trick) for position in POSITIONS for trick in TRICKS]
    cases = [(name, *drawn.choice(pairs)) for name in names]
    cases += [(drawn.choice(own), *pair) for pair in pairs]
    cases += [(name, position, trick) for name in declared.targets for position, trick in drawn.sample(pairs, 10 if every == 1 else 3)]
    cases = [case for case in cases if not fits(case, declared)]
    assert len(cases) >= LEAST / every

    def never(*words: Any, **more: Any) -> None:
        raise AssertionError("Hydra was asked")

    for name in ("instantiate", "call", "get_method", "get_class", "get_object"):
        monkeypatch.setattr(hydra.utils, name, never)
    complaints(base, declared)  # imports what it needs
    accepted = []
    WATCH.seen.clear()
    for name, position, trick in cases:
        found = copy.deepcopy(base)
        POSITIONS[position](found, TRICKS[trick](name))
        WATCH.on = True
        try:
            said = complaints(found, declared)
        finally:
            WATCH.on = False
        if "nothing of it was called" not in said:
            accepted.append((name, position, trick))
    assert not accepted
    assert not WATCH.seen, WATCH.seen[:5]
    assert not {name.rpartition(".")[0] for name in own if name.startswith("example.tutorial.")} & set(sys.modules) - BEFORE


BEFORE = set(sys.modules)


def fits(case: tuple[str, str, str], declared: conf_targets.Declared) -> bool:
    """Whether a case is one that conf/ has itself, or one of Keras's listed classes, which may be called wherever it is accepted."""
    name, position, trick = case
    node, found = TRICKS[trick](name), {"model": {}, "data": {"source": {}}, "optimizer": {}, "training": {}, "strategy": {}, "backend": {},
                                        "seeds": {}, "determinism": {}}  # fmt: skip
    POSITIONS[position](found, node)
    inner = "nested in what is accepted"
    placed = [one for one in conf_targets.nodes(found) if one.content is node or (trick == inner and one.content.get("_target_") == name)]
    uses = [one for one in declared.targets.get(name, ()) if one.position in [place.position for place in placed]]
    listed = keras_allowlist.group_of(name) is not None
    return (trick in ("plain", "partial", inner) and bool(uses)) or (listed and trick in ("plain", "partial", "by another root", inner))


# Values as a config.yaml says them: times, numbers, and what YAML's tags make of them.
SCALARS = {
    "by sixties": "1" + ":1" * 200_000, "by sixties, a fraction": "1" + ":1" * 200_000 + ".5", "by sixties, short": "1:30", "a tag's": f"!!int '{'1:' * 9000}1'",
    "sixteens": "0x" + "f" * 5000, "eights": "0" + "7" * 9000, "twos": "0b" + "1" * 50_000, "large": "1" + "0" * 5000, "large, and read": "9" * 39,
    "a day that isn't": "2026-99-99", "such a day by its tag": "!!timestamp 2026-99-99", "no day": "!!timestamp soon", "before all days":
    "!!timestamp 0000-01-01T00:00:00Z", "after all days": "!!timestamp 9999-12-31T23:59:59-23:59", "a day": "!!timestamp 2026-11-30",
    "no number": "!!int ''", "no fraction": "!!float '-'", "no truth": "!!bool maybe", "not a number": ".nan", "without end": "-.inf", "bytes": "!!binary YQ==",
    "a set": "!!set {a, b}", "pairs": "!!pairs [a: 1]", "nothing": '"\\0"', "a key by sixties": "{1:30: 1}", "a key of sixteens": "{0x" + "f" * 5000 + ": 1}",
    "a long key": "{? " + "k" * 900_000 + " : [" + "1," * 20_000 + "]}", "many": "[" + "{_target_: os.system}," * 24_000 + "]",
    "many names": "[" + "{_target_: keras.layers.Dense}," * 12_000 + "]", "many values": "[" + "1," * 49_000 + "]", "deep": "[" * 60 + "]" * 60,
    "a key that is a file": "{/etc/passwd: 1}", "an alias": "[&a [x, x], *a, *a]",
}  # fmt: skip

# Those that are numbers, texts and names, and may stand in many places.
PLAIN_ONES = (
    "by sixties, short",
    "large, and read",
    "a day that isn't",
    "not a number",
    "without end",
    "a key by sixties",
    "a key that is a file",
)


@pytest.mark.parametrize("kind", SCALARS)
def test_no_value_of_yaml_is_called_or_ends_in_another_error(
    kind: str, plain: Callable[..., Config], declared: conf_targets.Declared, tmp_path: Path
) -> None:
    """Read as a record's config.yaml, in some positions each; what is accepted is a plain value."""
    positions = random.Random(kind).sample(list(POSITIONS), 1 if len(SCALARS[kind]) > 50_000 else 2)
    base = {**plain(), "seeds": {}}
    complaints(base, declared)
    WATCH.seen.clear()
    for position in positions:
        found = copy.deepcopy(base)
        POSITIONS[position](found, "PUT HERE")
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(found).replace("PUT HERE", SCALARS[kind]))
        try:
            read = untrusted.config_of(tmp_path)
        except Refused as refused:
            assert len(str(refused).splitlines()) == 1  # noqa: PT017 (accepted ones go on below)
        else:
            WATCH.on = True
            try:
                said = complaints(read, declared)
            finally:
                WATCH.on = False
            assert "nothing of it was called" in said or kind in PLAIN_ONES
    assert not WATCH.seen, WATCH.seen[:5]


@pytest.mark.parametrize("callbacks", [3_000])
def test_what_is_accepted_as_a_size_is_judged_in_a_line(
    callbacks: int, plain: Callable[..., Config], declared: conf_targets.Declared
) -> None:
    """Each text was compared with each target: the number of comparisons grew with the square of the config."""
    found = plain()
    found["training"]["callbacks"] = {f"c{n}": {"_target_": "keras.callbacks.EarlyStopping", "monitor": "loss"} for n in range(callbacks)}
    calls = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += 1

    assert untrusted.count(found) <= config_policy.MOST_VALUES
    sys.setprofile(counted)
    try:
        list(config_policy._texts(found, declared))
    finally:
        sys.setprofile(None)
    assert calls < 200 * untrusted.count(found)
    found["training"]["callbacks"]["many"] = {"_target_": "keras.callbacks.EarlyStopping", "monitor": ["x"] * 9_000}
    assert "values; 10,000 at most are judged, and nothing of it was called" in complaints(found, declared)


# --- one by one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config["model"].update(command=["sh"]), "takes no such argument"),
        (lambda config: config["model"].update(hidden="x"), "is not what example.models.mlp is declared to take"),
        (lambda config: config["model"].update(dropout=True), "is not what"),
        (lambda config: config["model"].update(_partial_=True), "conf/ does not say this there"),
        (lambda config: config["model"].update(_recursive_=False), "conf/ does not say this there"),
        (lambda config: config["model"].update(_args_=[1]), "conf/ does not say this there"),
        (lambda config: config.update(optimizer={"_target_": "example.data.digits"}), "but not as optimizer"),
        (lambda config: config["training"].update(callbacks={"a": {"_target_": "example.data.digits"}}), "but not as callbacks"),
        (lambda config: config.update(model={"_target_": "keras.layers.Dense", "units": 3}), "is not accepted as model"),
        (lambda config: config["optimizer"].update(momentum=0.9), "keras.optimizers.Adam takes no such argument"),
        (lambda config: config["training"].update(loss="os.system"), "is no name of Keras's losses"),
        (lambda config: config["training"].update(metrics=["mae", "../x"]), "is no name of Keras's losses or metrics"),
        (lambda config: config["training"].update(class_weight={0: "x"}), "is no number"),
        (lambda config: config["strategy"].update(name="mirrored", replicas=100_000), "is no number from 1 to"),
        (lambda config: config["backend"].update(name="os"), "is none of"),
        (lambda config: config["model"].update(activation="/etc/passwd"), "outside of the record and of the data"),
        (lambda config: config["data"].update(files=["/etc/passwd"]), "outside of the record and of the data"),
        (lambda config: config["data"]["source"].update(length={"/etc/passwd": 1}), "data.source.length: the key /etc/passwd is a place outside"),
        (lambda config: config["data"]["source"].update(length=[{"a": {"~/.ssh": 1}}]), "data.source.length.0.a: the key ~/.ssh is"),
        (lambda config: config["data"]["source"].update(path={3: 1}), "data.source.path: the key 3 is a number where a file is named"),
        (lambda config: config["model"].update(hidden={"http://127.0.0.1/x": 1}), "model.hidden: the key http://127.0.0.1/x is an address"),
        (lambda config: config["data"].update(files=[0]), "is a number where a file is named"),
        (lambda config: config["data"].update(files=["http://127.0.0.1/x"]), "is an address"),
        (lambda config: config["data"].update(files=["/proc/self/environ"]), "is no file and no folder"),
        (lambda config: config.update(model={"_target_": "keras.Sequential", "layers": [
            {"_target_": "keras.layers.StringLookup", "vocabulary": "words.txt"}]}), "names a file to read"),
    ],
)  # fmt: skip
def test_what_is_refused_is_said(plain: Callable[..., Config], declared: conf_targets.Declared, change: Any, said: str) -> None:
    found = plain()
    change(found)
    assert said in complaints(found, declared)
    assert "--trust-config" in complaints(found, declared)


@pytest.mark.parametrize(
    "place",
    ["{record}/record.json", "record.json", "RECORD.JSON", "./record.json", "{record}/history.jsonl", "checkpoints/x", "{record}/Checkpoints/1.npz",
     "model.keras", "{record}", ".record.json.1", "again/record.json", "x/../record.json", "{epoch:c}ecord.json", "{record}/{record}/x",
     "record.json/", "{record}//etc/x", "/tmp/x", "~/x", "x\x00", "rec\u043erd.json", 1, ["x"]],
)  # fmt: skip
def test_a_callback_writes_over_nothing(plain: Callable[..., Config], declared: conf_targets.Declared, place: Any) -> None:
    for name, argument in (("CSVLogger", "filename"), ("ModelCheckpoint", "filepath"), ("TensorBoard", "log_dir")):
        found = plain()
        found["training"]["callbacks"] = {"mine": {"_target_": f"keras.callbacks.{name}", argument: place}}
        assert f"callbacks.mine.{argument}" in complaints(found, declared)


@pytest.mark.parametrize("place", ["log.csv", "{record}/best-{epoch:02d}-{val_loss:.2f}.keras", "logs/run 1", "{record}/tensorboard/a"])
def test_a_callback_writes_beside(place: str) -> None:
    assert callback_places.complaint(place, relative=True) is None


EXPERIMENTS = sorted(
    str(file.relative_to(ROOT / "conf" / "experiment").with_suffix("")) for file in (ROOT / "conf" / "experiment").rglob("*.yaml")
)


@pytest.mark.parametrize("words", [*([f"experiment={name}"] for name in EXPERIMENTS), ["+training.class_weight={0: 1.0, 1: 2.5}"],
    ["backend=jax"], ["strategy=mirrored"], ["determinism=portable"], ["data=keras", "data.source.dataset=imdb", "model=gru"],
    ["data.files=[words.txt]"], ["optimizer={_target_: keras.optimizers.Lion, learning_rate: 0.1, clipnorm: 1.0}"],
])  # fmt: skip
def test_every_job_of_this_project_is_accepted(
    plain: Callable[..., Config], declared: conf_targets.Declared, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("a\n")
    words = [word.replace("optimizer={", "+optimizer={") for word in words] + ["~optimizer"] * any("optimizer={" in word for word in words)
    assert complaints(plain(*words), declared, "words.txt") == ""


def test_names_of_a_copy_s_own(tmp_path: Path, plain: Callable[..., Config]) -> None:
    """Functions, classes with bases, a class method, a function by reference, what a package hands on, an installed package's."""
    (tmp_path / "src" / "mine").mkdir(parents=True)
    (tmp_path / "src" / "mine" / "__init__.py").write_text("from .nets import net\nimport os\n")
    (tmp_path / "src" / "mine" / "nets.py").write_text(
        "import keras\nfrom dataclasses import dataclass\ndef net(spec, units: int = 3, **more): pass\ndef halved(epoch): pass\n"
        "class Watch(keras.callbacks.EarlyStopping):\n    def __init__(self, file: str = '', **more): pass\n"
        "class Net:\n    @classmethod\n    def small(cls, units: int | None = None): pass\n    def large(self): pass\ndef _hidden(): pass\n"
    )
    conf = tmp_path / "conf" / "model"
    conf.mkdir(parents=True)
    for number, text in enumerate((
        "_target_: mine.net\nunits: 1\nextra: 2", "_target_: mine.nets.Net.small", "_target_: mine.nets.Net.large", "_target_: mine.nets._hidden",
        "_target_: mine.os.system", "_target_: sklearn.datasets.load_iris\nas_frame: true",
    )):  # fmt: skip
        (conf / f"{number}.yaml").write_text(text)
    (conf / "more.yaml").write_text(
        "# @package _global_\ntraining:\n  callbacks:\n    watch: {_target_: mine.nets.Watch}\n    rate:\n"
        "      _target_: keras.callbacks.LearningRateScheduler\n      schedule: {_target_: hydra.utils.get_method, path: mine.nets.halved}\n"
    )
    declared = conf_targets.read(tmp_path / "conf", [tmp_path / "src"])

    def said(model: Any = None, callback: Any = None) -> str:
        found = plain()
        found["data"]["source"] = {}
        found["optimizer"] = found["determinism"] = {}
        found["model"] = model or {}
        found["training"]["callbacks"] = {"a": callback} if callback else {}
        return complaints(found, declared)

    watch, rate = {"_target_": "mine.nets.Watch"}, {"_target_": "keras.callbacks.LearningRateScheduler"}
    for model in ({"_target_": "mine.net", "units": 5}, {"_target_": "mine.net", "extra": 5}, {"_target_": "mine.nets.Net.small", "units": 2},
                  {"_target_": "sklearn.datasets.load_iris", "as_frame": False}):  # fmt: skip
        assert said(model) == ""
    assert said(callback={**watch, "file": "{record}/mine.txt", "patience": 3}) == ""
    assert said(callback={**rate, "schedule": {"_target_": "hydra.utils.get_method", "path": "mine.nets.halved"}}) == ""
    for model in ({"_target_": "mine.net", "other": 5}, {"_target_": "mine.nets.Net.large"}, {"_target_": "mine.nets._hidden"},
                  {"_target_": "mine.os.system"}, {"_target_": "mine.nets.net"}, {"_target_": "mine.nets.Net"},
                  {"_target_": "sklearn.datasets.load_iris", "return_X_y": True}, {"_target_": "mine.nets.halved"}):  # fmt: skip
        assert said(model), model
    for callback in ({**watch, "file": "{record}/record.json"}, {**watch, "file": "/etc/x"}, {**watch, "file": "{record}/../x"},
                     {**rate, "schedule": {"_target_": "hydra.utils.get_method", "path": "mine.nets.net"}},
                     {"_target_": "mine.nets.halved"}):  # fmt: skip
        assert said(callback=callback), callback


# --- Keras's classes ----------------------------------------------------------------------------------------------


def test_the_list_of_keras_s_classes_is_of_public_classes() -> None:
    import keras
    import tensorflow

    for module, group in keras_allowlist.ALLOWED.items():
        for name in group.names:
            there = keras
            for part in module.split(".")[1:]:
                there = getattr(there, part)
            found = getattr(there, name)
            assert inspect.isclass(found), f"{module}.{name}"
            theirs = tensorflow
            for part in [*module.split("."), name]:
                theirs = getattr(theirs, part)
            other = f"tensorflow.{module}.{name}" in keras_allowlist.ANOTHER_IN_TENSORFLOW
            assert (theirs is found) is not other, f"{module}.{name}"
            takes = config_policy._parameters(f"{module}.{name}", True, None)  # type: ignore[arg-type]
            signature = inspect.signature(found.__init__).parameters.values()
            named = {one.name for one in signature if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)} - {"self"}
            assert named <= set(takes), f"{module}.{name}: {named - set(takes)}"


def test_every_callback_of_keras_is_judged() -> None:
    import keras

    known = {*keras_allowlist.ALLOWED["keras.callbacks"].names, "Callback", "History", "ProgbarLogger"}
    known |= {name.rpartition(".")[2] for name in keras_allowlist.REFUSED if name.startswith("keras.callbacks.")}
    assert {name for name, value in vars(keras.callbacks).items() if inspect.isclass(value)} <= known


# --- where data lie -----------------------------------------------------------------------------------------------


def test_data_are_read_where_they_are_declared(plain: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for name in ("data/a.csv", "elsewhere/a.csv", "b.csv"):
        (tmp_path / name).write_text("x,y\n1,2\n")
    (tmp_path / "data" / "out.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
    declared = conf_targets.read(conf, [ROOT / "src"])

    def said(path: Any, *data: str) -> str:
        found = plain("data=csv", "data.source.path=x", "data.source.target=y")
        found["data"]["source"]["path"] = path
        try:
            config_policy.refuse(found, declared, data_locations.of(tmp_path, data))
        except Refused as refused:
            return str(refused)
        return ""

    assert said("data/a.csv") == said(str(tmp_path / "data" / "a.csv")) == ""
    for path in (
        "elsewhere/a.csv",
        "b.csv",
        "data/out.csv",
        "data/../b.csv",
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "http://x/a.csv",
        3,
        "data/none.csv",
    ):
        assert said(path), path
    assert said("elsewhere/a.csv", "elsewhere") == said("b.csv", "b.csv") == said("http://x/a.csv", "http://x/a.csv") == ""
    (conf / "local").mkdir()
    (conf / "local" / "default.yaml").write_text("# @package _global_\ndata: {source: {path: b.csv}}\n")
    declared = conf_targets.read(conf, [ROOT / "src"])
    assert said("b.csv") == ""
    assert dict(data_locations.links({"data": {"source": {"path": "b.csv", "other": "../x"}}})) == {"b.csv": tmp_path / "b.csv"}


@pytest.mark.parametrize(
    ("annotation", "value", "admitted"),
    [("int", 1, True), ("int", "1", False), ("int", True, False), ("float | None", 1, True), ("float | None", "x", False), ("str", None, False),
     ("Sequence[int]", [1], True), ("Sequence[int]", "x", False), ("tuple[int, int]", [1, 2], True), ("Any", object, True), ("Thing | int", "x", True),
     ("'int | None'", "x", False), ("str", {"_target_": "x"}, True)],
)  # fmt: skip
def test_annotations(annotation: str, value: Any, admitted: bool) -> None:
    assert naming.admits(ast.parse(annotation, mode="eval").body, value) is admitted
