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

from seedbed.run import config as configs
from seedbed.run import data as data_sets
from seedbed.run import determinism, fingerprint, provenance, record, targets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet
from seedbed.run.record import FINISHED, Record

# Parts of the config that can't change a result: where things are kept and how they are watched.
NOT_IN_KEY = ("runs", "force", "tracking", "checkpoint", "name")

# Values of `data.source` whose names end in one of these say where data lie; the fingerprint says what they are.
LOCATIONS = ("path", "file", "dir", "directory", "folder", "root", "cache")

# Arguments of Keras's callbacks that say where something is written to.
WRITTEN = ("filename", "filepath", "log_dir")


def run(
    config: DictConfig, entropy: int | None = None, said: Callable[[str], None] = lambda line: None,
    started: Callable[[Record], None] = lambda record: None, progress: bool = False,
) -> Record:  # fmt: skip
    """Train what `config` describes, or find its record.

    config: the composed config (see `conf/` and `seedbed.run.config`).
    entropy: the master seed for the level `off`, if it has been drawn already.
    said: gets a line for people when something is worth knowing (waiting, resumed, a damaged checkpoint).
    started: gets the record as soon as it exists, before training.
    progress: show a progress bar on standard error while training.
    Raises Refused for whatever the user can mend; the record's status tells how the run ended.
    """
    configs.check(config)
    level: dict[str, Any] = OmegaConf.to_container(config.determinism, resolve=True)  # type: ignore[assignment]
    determinism.check(level)
    seeds = resolved_seeds(config, entropy)
    level["environment"]["PYTHONHASHSEED"] = str(seeds["hash"])

    call = targets.target(config.data.source, "data.source")
    data = prepared(config, call, seeds, level)
    inputs = key_inputs(config, seeds, level, data)
    key = record.key_of(inputs)

    runs = Path(config.runs).expanduser().absolute()
    with record.locked(runs, key, lambda: said(f"Another process trains {key[:12]}; waiting for it.")):
        path, before = where(runs / key, force=config.force)
        found = Record.read(path) if path.exists() else None
        if found is not None and found.status == FINISHED:
            found.reused = True
            started(found)
            return found

        determinism.apply(level)  # imports TensorFlow: seconds that a finished key needn't wait for
        from seedbed.run import fitting

        resumable = found is not None and found.status in (record.RUNNING, record.INTERRUPTED)
        if found is None or not resumable:
            kept = shown(config, seeds)
            facts = {**provenance.describe(level), **provenance.accelerator_libraries()}
            content = {"key": key, "name": str(kept["name"]), "level": level["level"], "seeds": seeds, "inputs": inputs,
                       "provenance": facts, "metrics": {}, "digests": {}}  # fmt: skip
            found = Record.create(path, content, OmegaConf.to_yaml(kept), provenance.diff())
        else:
            found.update(status=record.RUNNING, error=None)
        found.secrets = configs.from_environment(config)
        started(found)
        reload = partial(prepared, config, call, seeds, level, data)
        fitting.train(found, config, seeds, data, reload, said, progress)
    if before is not None and found.status == FINISHED:
        found.agrees = found.digests == before.digests
    return found


def where(path: Path, force: bool) -> tuple[Path, Record | None]:
    """The folder to train in, and the finished record to compare with: `again/` inside the record if forced."""
    if not force or not path.exists():
        return path, None
    first = Record.read(path)
    if first.status != FINISHED:
        return path, None
    again = path / "again"
    if again.exists() and Record.read(again).status == FINISHED:
        import shutil

        shutil.rmtree(again)
    return again, first


def resolved_seeds(config: DictConfig, entropy: int | None) -> dict[str, int]:
    """The integers that this run uses, from the config or, at level `off`, from entropy."""
    if config.determinism.level == "off":
        return streams.from_entropy(entropy)
    streams.checked(config.seeds.master, "seeds.master")
    return streams.resolve(config.seeds)


def prepared(
    config: DictConfig, call: Callable[..., Any], seeds: Mapping[str, int], level: Mapping[str, Any], known: DataSet | None = None
) -> DataSet:
    """The data set: loaded, governed, split, fingerprinted.

    known: the same data set as it was prepared before. What takes a pass over a ready-made pipeline, which moves the
    pipeline's own state on, is taken from it.
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
            data = replace(data, fingerprint=fingerprint.of(data, config.data.files, config.training.steps_per_epoch))
    return data_sets.split(data, config.data.validation_split, config.data.test_split, seeds["split"])


def key_inputs(config: DictConfig, seeds: Mapping[str, int], level: Mapping[str, Any], data: DataSet) -> dict[str, Any]:
    """All that the result may depend on, and nothing that it can't."""
    plain = configs.without_environment(config, stamped=True)
    kept = {name: value for name, value in plain.items() if name not in (*NOT_IN_KEY, "seeds", "determinism")}
    kept["data"] = {name: value for name, value in kept["data"].items() if name not in ("files", "name", "epochs", "batch_size")}
    kept["data"]["source"] = _without(kept["data"]["source"], LOCATIONS)
    kept["training"].pop("engine")
    # files that a callback of the user's names are left as names: what it writes is there the next time
    callbacks = kept["training"].pop("callbacks") or {}
    for name, node in callbacks.items():
        if isinstance(node, Mapping) and str(node.get("_target_")).startswith("keras.callbacks."):
            callbacks[name] = _without(node, WRITTEN)
    for part in ("model", "optimizer", "training"):
        kept[part] = fingerprint.with_contents(kept[part])
    kept["training"]["callbacks"] = callbacks
    return {
        "code": provenance.code(targets.names(OmegaConf.to_container(config, resolve=True))),
        "config": kept,
        "data": data.fingerprint,
        "determinism": level,
        "environment": provenance.environment(level),
        "seeds": dict(seeds),
    }


def _without(node: Any, names: tuple[str, ...]) -> Any:
    """A config node without the values whose names are, or end in `_` and, one of these."""
    if isinstance(node, Mapping) and str(node.get("_target_")).startswith("hydra.utils.get_"):
        return node  # its `path` is the name of a function
    if isinstance(node, Mapping):
        ending = tuple(f"_{name}" for name in names)
        return {key: _without(value, names) for key, value in node.items() if key not in names and not str(key).endswith(ending)}
    return [_without(item, names) for item in node] if isinstance(node, list) else node


def shown(config: DictConfig, seeds: Mapping[str, int]) -> dict[str, Any]:
    """The config as the record keeps it: the seeds that were used, and nothing of the environment or of a server's address
    (they may hold a password)."""
    plain = configs.without_environment(config)
    return {**plain, "seeds": dict(seeds), "tracking": {**plain["tracking"], "uri": None}}
