"""What a config may hold: the schema behind `conf/`, and the resolvers that its files use.

Hydra merges `conf/train.yaml` and the groups onto `Config`, so that an unknown key or a wrong type is an error when the
config is composed. Parts that name the user's own code (`model`, `data.source`, `optimizer`, `training.loss`,
`training.metrics`, `training.callbacks`) are free: their keys are the arguments of their `_target_`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import re
import typing
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from seedbed import Refused, project_root
from seedbed.run import config_source, redaction, seeds, yaml_files
from seedbed.run.plain_text import harmless

# What Python makes of bytes in a path that are no UTF-8.
SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile("[\0-\x1f\x7f]")

# Hydra's launchers bring schemas with the names that conf/hydra/launcher/ gives its files; seen with Hydra 1.3.8, which checks the
# files against them and announces that it won't do so for ever. Here, since each process that composes a config imports this.
warnings.filterwarnings("ignore", message=r"(?s).*is validated against ConfigStore schema", category=UserWarning)


# What Keras can compute with, by the names that it has for them, which are those of the packages, too.
BACKENDS = ("tensorflow", "jax", "torch")
STRATEGIES = ("single", "mirrored", "multi_worker")


@dataclass
class Seeds:
    """Every stream of randomness; see `seedbed.run.seeds.STREAMS`. And what draws initial weights: the backend, or NumPy."""

    generator: str = "backend"

    # Any, not int: OmegaConf would turn '7' and True into 7 and 1 without a word; seeds.checked says no to both
    master: Any = MISSING
    hash: Any = MISSING
    python: Any = MISSING
    numpy: Any = MISSING
    split: Any = MISSING
    init: Any = MISSING
    shuffle: Any = MISSING
    dropout: Any = MISSING
    augment: Any = MISSING


@dataclass
class Threads:
    intra_op: int | None = None
    inter_op: int | None = None


@dataclass
class Backend:
    name: str = "tensorflow"


@dataclass
class Strategy:
    name: str = "single"
    replicas: int = 1
    addresses: list[str] = field(default_factory=list)
    index: int = 0


@dataclass
class Determinism:
    level: str = MISSING
    environment: dict[str, str | None] = field(default_factory=dict)
    backends: dict[str, dict[str, str | None]] = field(default_factory=dict)
    threads: Threads = field(default_factory=Threads)
    op_determinism: bool = False
    tensor_float_32: bool = True
    graph_rewrites: bool = True
    exact_operations: bool = False
    cache_sizes: list[int] | None = None


@dataclass
class Data:
    name: str = MISSING
    source: Any = MISSING
    loss: Any = None
    metrics: Any = None
    epochs: int = 20
    batch_size: int | None = 32
    input: str = "auto"
    validation_split: float = 0.0
    test_split: float = 0.0
    files: list[str] = field(default_factory=list)


@dataclass
class Training:
    epochs: int = MISSING
    batch_size: int | None = MISSING
    steps_per_epoch: int | None = None
    shuffle: bool = True
    loss: Any = None
    metrics: Any = None
    callbacks: dict[str, Any] = field(default_factory=dict)
    class_weight: Any = None
    mixed_precision: bool = False
    jit_compile: bool = False
    steps_per_execution: int = 1
    engine: str = "auto"


@dataclass
class Checkpoint:
    every_seconds: float = 60.0
    every_epochs: int | None = None
    keep: int = 2


@dataclass
class Tracking:
    uri: str | None = None
    experiment: str = "seedbed"
    wait_seconds: float = 10.0


@dataclass
class Study:
    n: int = 30
    seeds: list[int] | None = None
    vary: str | None = None
    streams: list[str] = field(default_factory=list)
    metric: str | None = None
    better: str | None = None
    confidence: float = 0.95
    alpha: float = 0.05
    power: float = 0.8
    check: Any = "auto"  # or a number; `check` says no to the rest
    per_job: int | None = None
    track_models: bool = False
    call: str | None = None  # set by `seedbed repeat` for the jobs of a launcher


@dataclass
class Config:
    name: str = "run"
    data: Data = field(default_factory=Data)
    model: Any = MISSING
    optimizer: Any = MISSING
    seeds: Seeds = field(default_factory=Seeds)
    backend: Backend = field(default_factory=Backend)
    strategy: Strategy = field(default_factory=Strategy)
    determinism: Determinism = field(default_factory=Determinism)
    tracking: Tracking = field(default_factory=Tracking)
    training: Training = field(default_factory=Training)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    study: Study = field(default_factory=Study)
    runs: str = MISSING
    force: bool = False


def register() -> None:
    """Make the schema and the resolvers known to Hydra and OmegaConf; harmless to repeat."""
    ConfigStore.instance().store(name="schema", node=Config)
    config_source.install()
    # ${stream:7,init}: the stream's seed under a master seed
    OmegaConf.register_new_resolver("stream", seeds.derive, replace=True)
    # ${absolute:~/x}: the same place whatever the working directory
    OmegaConf.register_new_resolver("absolute", lambda path: str(Path(path).expanduser().absolute()), replace=True)
    # ${project:runs}: a path inside the project, whatever the working directory
    OmegaConf.register_new_resolver("project", lambda path="": str(project_root() / path), replace=True)
    OmegaConf.register_new_resolver("oc.env", _variable, replace=True)


def composed(*overrides: str) -> DictConfig:
    """The config as `seedbed train OVERRIDES` would have it."""
    register()
    with config_source.naming_circles(), initialize_config_dir(str(project_root() / "conf"), version_base="1.3"):
        return compose("train", list(overrides))


def trackers(runs: Path) -> list[str]:
    """Return the addresses of MLflow that this project's choices of `tracking` name (conf/tracking/*.yaml), for records in `runs`."""
    found = []
    for file in sorted((project_root() / "conf" / "tracking").glob("*.yaml")):
        with suppress(OmegaConfBaseException, Refused):  # a variable that is not set here; what was not chosen needn't be readable
            content = yaml_files.load(file)
            node = OmegaConf.create({"runs": str(runs), "tracking": content if isinstance(content, dict) else {}})
            found += [str(node.tracking.uri)] if node.tracking.get("uri") else []
    return found


def without_environment(config: DictConfig, stamped: bool = False) -> dict[str, Any]:
    """The config resolved, but for values that come from the process environment: `${oc.env:NAME}` is left standing.

    stamped: with a hash of the value (scrypt, so that guessing passwords by it is dear), for a key that depends on it.
    """
    real: Any = OmegaConf.to_container(config, resolve=True)
    OmegaConf.register_new_resolver("oc.env", _name_of_variable, replace=True)
    try:
        return _hidden(config, real, stamped)  # type: ignore[no-any-return]
    finally:
        OmegaConf.register_new_resolver("oc.env", _variable, replace=True)


def follows_seeds(config: DictConfig) -> bool:
    """Whether any value outside of `seeds` and `determinism` is an interpolation that may lead to a seed."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return bool(re.search(r"\$\{[^}]*seed", repr({name: value for name, value in plain.items() if name not in ("seeds", "determinism")})))


def _variable(name: str, *default: Any) -> Any:
    """OmegaConf's `${oc.env:NAME,default}`; no message may quote a value that comes from the environment."""
    found = oc.env(name, *default)
    if name in os.environ and found != (default[0] if default else None):
        redaction.know(str(found), f"${{oc.env:{name}}}")
    return found


def _name_of_variable(name: str, *default: Any) -> Any:
    if default and os.environ.get(name, str(default[0])) == str(default[0]):
        return default[0]  # the config says it itself
    return f"${{oc.env:{name}}}"


def _hidden(node: Any, real: Any, stamped: bool) -> Any:
    """`real` with the leaves that change when the environment can't be seen."""
    if isinstance(real, dict | list):
        keys = list(real) if isinstance(real, dict) else range(len(real))
        found = [_hidden(_child(node, key), real[key], stamped) for key in keys]
        return dict(zip(keys, found, strict=True)) if isinstance(real, dict) else found
    if not isinstance(node, str) or "${oc.env:" not in node or not isinstance(real, str):
        return real  # a number is no secret, and a key may need its value
    stamp = hashlib.scrypt(real.encode(), salt=b"seedbed", n=2**14, r=8, p=1, dklen=16).hex()
    return f"{node} {stamp}" if stamped else node


def _child(node: Any, key: Any) -> Any:
    try:
        return node[key]
    except (OmegaConfBaseException, TypeError):  # a number from the environment, say: its name is none
        return None


def unknown(node: Any, schema: type, name: str = "") -> list[str]:
    """Keys of a config that its schema doesn't have, by full name; `+key=value` on the command line lets them in."""
    fields = {field.name: field.type for field in dataclasses.fields(schema)}
    found = [f"{name}{key}" for key in node if key not in fields]
    for key, inner in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(inner) and isinstance(node.get(key), DictConfig):
            found += unknown(node[key], inner, f"{name}{key}.")  # type: ignore[arg-type]
    return found


def _texts(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a config with its dotted name."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _texts(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, str):
        yield name, node


def _refuse_strange_bytes(config: DictConfig) -> None:
    """Refuse paths that a record's config, or the address of MLflow's store, can't hold."""
    found = [f"{name}={harmless(text)}: these bytes are no UTF-8, as a config and MLflow need"
             for name, text in _texts(without_environment(config)) if SURROGATE.search(text)]  # fmt: skip
    if not found and CONTROL.search(str(config.tracking.get("uri") or "")):
        found = [f"runs={harmless(config.runs)}: MLflow's store can't lie in a folder whose name has a line break or the like"]
    if found:
        raise Refused("\n".join(f"{line}. Give the file or folder another name." for line in found))


def _refuse_credentials(config: DictConfig) -> None:
    """Refuse an address with a password in it: a record holds the config, and records are sent and shown."""
    parts = {name: part for name, part in without_environment(config).items() if name != "tracking"}
    found = [f"{name}={redaction.redacted(text)}" for name, text in _texts(parts) if redaction.has_credentials(text)]
    if found:
        raise Refused(
            f"{', '.join(found)}: a config file holds the password of an address, and records are sent and shown. "
            "Put it into a variable, and its name into the config: ${oc.env:NAME}"
        )


def check(config: DictConfig) -> None:
    """Refuse unknown keys, and values that have the right type and make no sense, naming all of them at once."""
    if strange := unknown(config, Config):
        known = [f"training.{field.name}" for field in dataclasses.fields(Training)] + [field.name for field in dataclasses.fields(Config)]
        near = [match for key in strange for match in difflib.get_close_matches(key, known, 1)]
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise Refused(
            f"There is no {', '.join(strange)} in a config.{hint} Arguments of your own go under model, data.source or optimizer."
        )
    _refuse_strange_bytes(config)
    _refuse_credentials(config)
    training, data, checkpoint, study = config.training, config.data, config.checkpoint, config.study
    accepted = {
        f"backend.name={config.backend.name}": (config.backend.name in BACKENDS, ", ".join(BACKENDS)),
        f"strategy.name={config.strategy.name}": (config.strategy.name in STRATEGIES, ", ".join(STRATEGIES)),
        f"strategy.replicas={config.strategy.replicas}": (config.strategy.replicas >= 1, "1 or more"),
        f"seeds.generator={config.seeds.generator}": (config.seeds.generator in ("backend", "numpy"), "backend, numpy"),
        f"training.epochs={training.epochs}": (training.epochs >= 1, "1 or more"),
        f"training.batch_size={training.batch_size}": (training.batch_size is None or training.batch_size >= 1, "1 or more, or null: all examples in one batch"),
        f"training.steps_per_epoch={training.steps_per_epoch}": (training.steps_per_epoch is None or training.steps_per_epoch >= 1, "1 or more, or null"),
        f"training.steps_per_execution={training.steps_per_execution}": (training.steps_per_execution >= 1, "1 or more"),
        f"training.engine={training.engine}": (training.engine in ("auto", "fit", "loop"), "auto, fit, loop"),
        f"data.input={data.input}": (data.input in ("auto", "arrays", "tf_data", "py_dataset"), "auto, arrays, tf_data, py_dataset"),
        f"data.validation_split={data.validation_split}": (0 <= data.validation_split < 1, "0 up to, not including, 1"),
        f"data.test_split={data.test_split}": (0 <= data.test_split < 1, "0 up to, not including, 1"),
        f"data.validation_split + data.test_split={data.validation_split + data.test_split:g}": (data.validation_split + data.test_split < 1, "less than 1: something must be left to train on"),
        f"checkpoint.every_seconds={checkpoint.every_seconds}": (checkpoint.every_seconds >= 0, "0 or more"),
        f"checkpoint.every_epochs={checkpoint.every_epochs}": (checkpoint.every_epochs is None or checkpoint.every_epochs >= 1, "1 or more, or null"),
        f"checkpoint.keep={checkpoint.keep}": (checkpoint.keep >= 1, "1 or more"),
        f"tracking.wait_seconds={config.tracking.wait_seconds}": (config.tracking.wait_seconds >= 0, "0 or more"),
        f"study.n={study.n}": (study.n >= 1, "1 or more"),
        f"study.vary={study.vary}": (study.vary is None or study.vary in seeds.STREAMS, f"null, {', '.join(seeds.STREAMS)}"),
        f"study.streams={list(study.streams)}": (set(study.streams) <= set(seeds.STREAMS), f"some of {', '.join(seeds.STREAMS)}"),
        f"study.better={study.better}": (study.better in (None, "higher", "lower"), "null, higher, lower"),
        f"study.confidence={study.confidence}": (0 < study.confidence < 1, "more than 0 and less than 1, as 0.95"),
        f"study.alpha={study.alpha}": (0 < study.alpha < 1, "more than 0 and less than 1, as 0.05"),
        f"study.power={study.power}": (0 < study.power < 1, "more than 0 and less than 1, as 0.8"),
        f"study.check={study.check}": (study.check == "auto" or (type(study.check) is int and study.check >= 0), "auto, or a number of seeds: 0, 1, …"),
        f"study.per_job={study.per_job}": (study.per_job is None or study.per_job >= 1, "1 or more, or null"),
    }  # fmt: skip
    wrong = [f"{what} is not accepted. Accepted: {words}." for what, (holds, words) in accepted.items() if not holds]
    if wrong:
        raise Refused("\n".join(wrong))
