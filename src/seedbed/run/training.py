"""`run(config) -> Record`: the one function behind every command.

From top to bottom: check the level, resolve the seeds, load the data, name the run by its key, look for its record, and
only if there is none import TensorFlow and train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import (
    accelerator,
    backend,
    determinism,
    fingerprint,
    one_tracked_run,
    origin,
    portable,
    provenance,
    record,
    reuse,
    strategy,
    targets,
    team,
    variables,
)
from seedbed.run import config as configs
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet
from seedbed.run.record import FINISHED, Record
from seedbed.run.session import Session
from seedbed.run.watching import Watch

# Parts of the config that can't change a result: where things are kept and how they are watched.
NOT_IN_KEY = ("runs", "force", "tracking", "checkpoint", "name", "study")

# Values of `data.source` whose names end in one of these say where data lie; the fingerprint says what they are.
LOCATIONS = ("path", "file", "dir", "directory", "folder", "root", "cache")

# Parts of `strategy` that say where it is trained.
MACHINES = ("addresses", "index")

# Modules that train in processes of their own, by strategy: no import of this module leads to them. A test compares what training
# processes have really imported with the modules that the key names.
STARTED_BY = {"multi_worker": ("seedbed.run.worker",)}

# Arguments of Keras's callbacks that say where something is written to.
WRITTEN = ("filename", "filepath", "log_dir")


def run(
    config: DictConfig, entropy: int | None = None, said: Callable[[str], None] = lambda line: None,
    started: Callable[[Record], None] = lambda record: None, progress: bool = False, session: Session | None = None,
    watch: Watch | None = None,
) -> Record:  # fmt: skip
    """Train what `config` describes, or find its record.

    config: the composed config (see `conf/` and `seedbed.run.config`).
    entropy: the master seed for the level `off`, if it has been drawn already.
    said: gets a line for people when something is worth knowing (waiting, resumed, a damaged checkpoint).
    started: gets the record as soon as it exists, before training.
    progress: show a progress bar on standard error while training.
    session: what this run may share with others of its process that differ from it in seeds alone.
    watch: is shown what happens.
    Raises Refused for whatever the user can mend; the record's status tells how the run ended.
    """
    session, found = session or Session(), None
    try:
        with variables.watched(session.read), one_tracked_run.of_mlflow(bool(config.tracking.uri)):
            found = _run(config, entropy, said, started, progress, session, watch or Watch())
        return found
    except Refused:
        raise
    except Exception as error:  # of the data function, say; fitting has its own
        if refused := determinism.cannot_keep(error, config):
            raise Refused(refused) from error
        raise
    finally:
        session.end(found is not None and found.status == FINISHED)


def _run(
    config: DictConfig, entropy: int | None, said: Callable[[str], None], started: Callable[[Record], None], progress: bool,
    session: Session, watch: Watch,
) -> Record:  # fmt: skip
    session.once("checked", lambda: _check(config))
    level = determinism.of(config)
    determinism.check(level)
    seeds = resolved_seeds(config, entropy)
    level["environment"]["PYTHONHASHSEED"] = str(seeds["hash"])

    code = partial(session.once, "code", lambda: code_of(config))
    # a module may draw when it is imported: a layer at its top, say
    with data_sets.at_level(lambda: determinism.apply(level)), streams.global_generators(seeds["python"], seeds["numpy"]):
        undrawn = streams.state_hash()
        call = targets.target(config.data.source, "data.source")
        session.imported(streams.state_hash() != undrawn)
    if session.many:  # what the level sets, and what Keras sets when it is imported, is no change by the run
        determinism.apply(level)
        from seedbed.run import fitting
    locked = partial(session.once, "locked", lambda: provenance.locked_modules(config.backend.name))
    session.begin(code, locked, own=(str(Path(config.runs).absolute()),))
    watch.begun()

    def load(seeds: Mapping[str, int]) -> DataSet:
        return loaded(config, call, seeds, level, seen=watch.batch)

    whole = session.data(load, seeds, targets.takes(call, "seeds"))
    watch.loaded(whole)
    data = cut(config, whole, seeds)
    watch.split(data)
    # what the config says besides seeds is the same for all runs of a session, unless it says something of the seeds
    plain = partial(session.once, follows=session.once("follows", lambda: configs.follows_seeds(config)))
    stamped = plain("stamped", lambda: configs.without_environment(config, stamped=True))
    inputs = key_inputs(stamped, seeds, level, data, code())

    def waiting(key: str) -> None:
        said(f"Another process trains {key[:12]}; waiting for it.")

    with team.folder(config) as runs, variables.settled(runs, inputs, waiting) as (key, inputs):
        path, found, before = reuse.where(runs / key, runs, config.force, said)
        if found is not None and found.status == FINISHED:
            found.reused = True
            started(found)
            return found

        determinism.apply(level)  # imports TensorFlow: seconds that a finished key needn't wait for
        from seedbed.run import fitting

        session.once("remark", lambda: said(line) if (line := _remark(level)) else None)
        session.once("origin", lambda: said(line) if (line := _unmarked()) else None)
        session.before_training(lambda: targets.names(OmegaConf.to_container(config, resolve=True)))
        resumable = found is not None and found.status in (record.RUNNING, record.INTERRUPTED)
        if found is None or not resumable:
            kept = plain("kept", lambda: shown(configs.without_environment(config)))
            text = plain("text", lambda: OmegaConf.to_yaml(kept))
            facts = session.once("provenance", lambda: {**provenance.describe(level), **_libraries(level)})
            diff = session.once("diff", provenance.diff)
            content = {"key": key, "name": str(kept["name"]), "level": level["level"], "seeds": seeds, "study": _study(inputs),
                       "inputs": inputs, "provenance": facts, "metrics": {}, "digests": {}, "read": variables.late(inputs)}  # fmt: skip
            found = Record.create(path, content, text + _yaml_of(seeds, config), diff, fingerprint.rows(whole))
        else:
            found.update(status=record.RUNNING, error=None)
        if config.strategy.index == 0:
            started(found)
        if config.strategy.name == "multi_worker":
            team.train(found, config, said, progress)
        else:
            reload = partial(prepared, config, call, seeds, level, data)
            fitting.train(found, config, seeds, data, reload, said, progress, session, watch)
    if before is not None and found.status == FINISHED:
        found.agrees = found.all_digests() == before.all_digests()
    return found


def _check(config: DictConfig) -> None:
    configs.check(config)
    strategy.check(config)
    portable.check_config(config)
    if (said := determinism.of(config)["environment"].get("KERAS_BACKEND")) != config.backend.name:
        raise Refused(f"determinism.environment.KERAS_BACKEND={said} is not accepted: what a backend needs goes with its name. Accepted: "
                      f"{', '.join(f'backend={name}' for name in configs.BACKENDS)}.")  # fmt: skip


def _yaml_of(seeds: Mapping[str, int], config: DictConfig) -> str:
    """What the record's config says of seeds: the integers that were used, and what drew the initial weights."""
    return OmegaConf.to_yaml({"seeds": {**seeds, "generator": str(config.seeds.generator)}})


def _libraries(level: Mapping[str, Any]) -> dict[str, Any]:
    """What TensorFlow has of a GPU's libraries; of other backends the packages' versions are known."""
    return accelerator.libraries() if backend.of(level) == "tensorflow" else {}


def _remark(level: Mapping[str, Any]) -> str | None:
    """Why no GPU is used, where one could be."""
    return accelerator.remark() if backend.of(level) == "tensorflow" else None


def _unmarked() -> str | None:
    why = origin.hindrance()
    return why and f"For `replay` this will be a record from elsewhere: {why}"


def resolved_seeds(config: DictConfig, entropy: int | None) -> dict[str, int]:
    """The integers that this run uses, from the config or, at level `off`, from entropy."""
    if config.determinism.level == "off":
        return streams.from_entropy(entropy)
    streams.checked(config.seeds.master, "seeds.master")
    return streams.resolve(config.seeds)


def environment_of(config: DictConfig, entropy: int | None = None) -> dict[str, str | None]:
    """The variables that a process needs for this run (None: unset)."""
    environment: dict[str, str | None] = determinism.of(config)["environment"]
    return environment | {"PYTHONHASHSEED": str(resolved_seeds(config, entropy)["hash"])}


def prepared(
    config: DictConfig, call: Callable[..., Any], seeds: Mapping[str, int], level: Mapping[str, Any], known: DataSet | None = None
) -> DataSet:
    """The data set: loaded, governed, fingerprinted, split. known: see `loaded`."""
    return cut(config, loaded(config, call, seeds, level, known), seeds)


def cut(config: DictConfig, data: DataSet, seeds: Mapping[str, int]) -> DataSet:
    """`data` with the parts that the config wants held out."""
    parts = data_sets.split(data, config.data.validation_split, config.data.test_split, seeds["split"])
    return data_sets.seeded(parts, seeds["augment"])


def loaded(
    config: DictConfig, call: Callable[..., Any], seeds: Mapping[str, int], level: Mapping[str, Any], known: DataSet | None = None,
    seen: Callable[[str, Any], None] = lambda part, batch: None,
) -> DataSet:  # fmt: skip
    """The whole data set, governed and fingerprinted.

    known: the same data set as it was loaded before. What takes a pass over a ready-made pipeline, which moves the
    pipeline's own state on, is taken from it. seen: gets the name of the part and each batch of such a pass.
    """
    from dataclasses import replace

    data = data_sets.load(lambda: targets.called(call, "data.source", seeds=dict(seeds)), seeds, lambda: determinism.apply(level))
    if any(data_sets.is_ready_made(part) for part in data.parts().values()):
        from seedbed.run import inputs

        data = inputs.govern(data, seeds, config.training.shuffle)
    if known is not None:
        data = replace(data, fingerprint=known.fingerprint, outputs=known.outputs)
    else:
        with streams.global_generators(seeds["python"], seeds["numpy"]):  # a ready-made pipeline may draw from them
            data = data_sets.count_classes(data, config.training.steps_per_epoch)
            data = replace(data, fingerprint=fingerprint.of(data, config.data.files, config.training.steps_per_epoch, seen))
    return data


def key_inputs(
    plain: Mapping[str, Any], seeds: Mapping[str, int], level: Mapping[str, Any], data: DataSet, code: Mapping[str, str]
) -> dict[str, Any]:
    """All that the result may depend on, and nothing that it can't.

    plain: `config.without_environment(…, stamped=True)`. code: `provenance.code` of the config's targets.
    """
    read = {name: value for name, value in variables.named(code).items() if name not in level["environment"]}
    return {
        "code": dict(code),
        "config": kept_of(plain),
        "data": data.fingerprint,
        "determinism": level,
        "environment": provenance.environment(level) | ({"read": read} if read else {}),
        "seeds": dict(seeds),
    }


def kept_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config a result may depend on."""
    kept = {name: value for name, value in plain.items() if name not in (*NOT_IN_KEY, "seeds", "determinism")}
    kept["data"] = {name: value for name, value in kept["data"].items() if name not in ("files", "name", "epochs", "batch_size")}
    kept["seeds"] = {"generator": plain["seeds"]["generator"]}
    kept["data"]["source"] = _without(kept["data"]["source"], LOCATIONS)
    kept["strategy"] = {name: value for name, value in kept["strategy"].items() if name not in MACHINES}
    kept["training"] = {name: value for name, value in kept["training"].items() if name != "engine"}
    # files that a callback of the user's names are left as names: what it writes is there the next time
    callbacks = dict(kept["training"].pop("callbacks") or {})
    for name, node in callbacks.items():
        if isinstance(node, Mapping) and str(node.get("_target_")).startswith("keras.callbacks."):
            callbacks[name] = _without(node, WRITTEN)
    for part in ("model", "optimizer", "training"):
        kept[part] = fingerprint.with_contents(kept[part])
    kept["training"]["callbacks"] = callbacks
    return kept


def code_of(config: DictConfig) -> dict[str, str]:
    """The modules that a config's runs can reach, each with the hash of its source."""
    started = STARTED_BY.get(config.strategy.name, ())
    return provenance.code([*started, *targets.names(OmegaConf.to_container(config, resolve=True))])


def study_of(config: DictConfig, code: Mapping[str, str] | None = None) -> str:
    """The hash that all runs have in common that differ from `config` in seeds alone, whatever machine they are trained on.

    code: `code_of` the config, where it is known.
    """
    plain = configs.without_environment(config, stamped=True)
    code = code_of(config) if code is None else code
    return _study({"code": code, "config": kept_of(plain), "determinism": determinism.of(config)})


def _study(inputs: Mapping[str, Any]) -> str:
    level = dict(inputs["determinism"])
    level["environment"] = {name: value for name, value in level["environment"].items() if name != "PYTHONHASHSEED"}
    return record.key_of({"code": inputs["code"], "config": inputs["config"], "determinism": level})


def _without(node: Any, names: tuple[str, ...]) -> Any:
    """A config node without the values whose names are, or end in `_` and, one of these."""
    if isinstance(node, Mapping) and str(node.get("_target_")).startswith("hydra.utils.get_"):
        return node  # its `path` is the name of a function
    if isinstance(node, Mapping):
        ending = tuple(f"_{name}" for name in names)
        return {key: _without(value, names) for key, value in node.items() if key not in names and not str(key).endswith(ending)}
    return [_without(item, names) for item in node] if isinstance(node, list) else node


def shown(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The config as the record keeps it, without the seeds (those that were used are added): nothing of the environment or of
    a server's address, which may hold a password, and nothing of the study that it may be part of."""
    kept = {name: value for name, value in plain.items() if name not in ("seeds", "study")}
    strategy = {name: value for name, value in plain["strategy"].items() if name not in MACHINES}
    return {**kept, "strategy": strategy, "tracking": {**plain["tracking"], "uri": None}}
