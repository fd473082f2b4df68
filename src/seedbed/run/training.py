"""`run(config) -> Record`: the one function behind every command.

From top to bottom: check the level, resolve the seeds, load the data, name the run by its key, look for its record, and
only if there is none import TensorFlow and train.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import data as data_sets
from seedbed.run import determinism, fingerprint, provenance, record
from seedbed.run import seeds as streams
from seedbed.run.record import FINISHED, Record

# Parts of the config that can't change a result: where things are kept and how they are watched.
NOT_IN_KEY = ("runs", "force", "tracking", "checkpoint", "name")

# Values of `data.source` under these keys say where data lie; the fingerprint says what they are.
LOCATIONS = ("path", "file", "dir", "directory", "folder", "root", "cache")


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

    call = target(config.data.source, "data.source")
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
            content = {"key": key, "name": str(config.name), "level": level["level"], "seeds": seeds, "inputs": inputs,
                       "provenance": provenance.describe(level), "metrics": {}, "digests": {}}  # fmt: skip
            found = Record.create(path, content, OmegaConf.to_yaml(shown(config, seeds)), provenance.diff())
        else:
            found.update(status=record.RUNNING, error=None)
        started(found)
        reload = partial(prepared, config, call, seeds, level, data.fingerprint)
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


def target(node: Any, name: str) -> Callable[..., Any]:
    """The function that a config node names by `_target_`, with the node's other keys as its arguments, not yet called.

    Raises Refused if it can't be imported or doesn't take these arguments.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise Refused(f"{name} names no function: a _target_ is needed, for example {name}._target_=example.data.digits.")
    if missing := sorted(OmegaConf.missing_keys(node)):
        raise Refused(f"Values are missing: say {' '.join(f'{key}=…' for key in missing)}.")
    try:
        function = instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:
        cause = _root(error)
        own = isinstance(cause, ModuleNotFoundError) and str(node["_target_"]).startswith(str(cause.name))
        if cause is error or own or _raised_in(cause, ("hydra.", "importlib")):
            raise Refused(
                f"{name}: {node['_target_']!r} can't be imported ({str(cause).splitlines()[0]}). "
                "Accepted: the dotted name of a function or class in src/, on PYTHONPATH, or of an installed package."
            ) from error
    except HydraException as error:
        raise Refused(f"{name}: {error}") from error
    else:
        return function  # type: ignore[no-any-return]
    # An error in the user's own module: he needs the line where it happened. Raised out here, without the context that
    # Hydra gave it: that would be a circle.
    cause.__context__ = None
    raise cause


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _raised_in(error: BaseException, modules: tuple[str, ...]) -> bool:
    """Whether an exception was raised by one of these modules' own lines."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and f"{frame.tb_frame.f_globals.get('__name__')}.".startswith(modules)


def called(function: Callable[..., Any], name: str, **offered: Any) -> Any:
    """Call a `target`, passing those of `offered` that it has parameters for; Refused if the arguments don't fit."""
    inner, given = (function.func, function.keywords) if isinstance(function, partial) else (function, {})
    try:
        signature = inspect.signature(inner)
    except (TypeError, ValueError):
        return function()
    extra = {key: value for key, value in offered.items() if key in signature.parameters and key not in given}
    try:
        signature.bind(**given, **extra)
    except TypeError as error:
        takes = ", ".join(key for key in signature.parameters if key not in offered)
        raise Refused(f"{name}: {getattr(inner, '__qualname__', inner)}: {error}. It takes: {takes or 'nothing'}.") from None
    _check_types(inner, given, name)
    try:
        return function(**extra)
    except (TypeError, ValueError) as error:
        if provenance.is_own(inner):
            raise  # the user's own code: he needs the line where it happened
        words = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise Refused(f"{name}: {getattr(inner, '__qualname__', inner)}({words}): {str(error).strip()}") from error


def _check_types(function: Any, given: Mapping[str, Any], name: str) -> None:
    """Refuse an argument that the function's annotation doesn't admit, where it has one that can be checked."""
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except (NameError, TypeError, AttributeError):
        return
    for key, value in given.items():
        if key not in hints:
            continue
        try:
            checker = TypeAdapter(hints[key], config=ConfigDict(arbitrary_types_allowed=True))
        except (PydanticUserError, PydanticSchemaGenerationError):
            continue
        try:
            checker.validate_python(value)
        except ValidationError as error:
            raise Refused(
                f"{name}.{key}={value!r} is not accepted: {error.errors()[0]['msg']} ({inspect.formatannotation(hints[key])})."
            ) from None


def prepared(
    config: DictConfig, call: Callable[..., Any], seeds: Mapping[str, int], level: Mapping[str, Any], known: str | None = None
) -> data_sets.DataSet:
    """The data set: loaded, governed, split, fingerprinted.

    known: its fingerprint, if it was taken before; it may take a pass over the data, which moves a pipeline's state on.
    """
    from dataclasses import replace

    data = data_sets.load(lambda: called(call, "data.source", seeds=dict(seeds)), seeds, lambda: determinism.apply(level))
    if any(data_sets.is_ready_made(part) for part in data.parts().values()):
        from seedbed.run import inputs

        data = inputs.govern(data, seeds, config.training.shuffle)
    if known is not None:
        data = replace(data, fingerprint=known)
    else:
        with streams.global_generators(seeds["python"], seeds["numpy"]):  # a ready-made pipeline may draw from them
            found = fingerprint.of(data, config.data.files, config.training.steps_per_epoch)
        data = replace(data, fingerprint=found)
    return data_sets.split(data, config.data.validation_split, config.data.test_split, seeds["split"])


def key_inputs(config: DictConfig, seeds: Mapping[str, int], level: Mapping[str, Any], data: data_sets.DataSet) -> dict[str, Any]:
    """All that the result may depend on, and nothing that it can't."""
    plain = configs.without_environment(config, stamped=True)
    kept = {name: value for name, value in plain.items() if name not in (*NOT_IN_KEY, "seeds", "determinism")}
    kept["data"] = {name: value for name, value in kept["data"].items() if name not in ("files", "name", "epochs", "batch_size")}
    kept["training"].pop("engine")
    kept["data"]["source"] = _without_locations(kept["data"]["source"])
    return {
        "code": provenance.code(targets(OmegaConf.to_container(config, resolve=True))),
        "config": kept,
        "data": data.fingerprint,
        "determinism": level,
        "environment": provenance.environment(level),
        "seeds": dict(seeds),
    }


def _without_locations(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_locations(value) for key, value in node.items() if key.rpartition("_")[2] not in LOCATIONS}
    return [_without_locations(item) for item in node] if isinstance(node, list) else node


def targets(node: Any) -> Iterator[str]:
    """Every dotted name that a config hands to `instantiate`, wherever it stands."""
    if isinstance(node, Mapping):
        named = node.get("_target_")
        if isinstance(named, str):
            yield named
            if named.startswith("hydra.utils.get_") and isinstance(node.get("path"), str):
                yield node["path"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for item in node:
            yield from targets(item)


def shown(config: DictConfig, seeds: Mapping[str, int]) -> dict[str, Any]:
    """The config as the record keeps it: the seeds that were used, and nothing of the environment or of a server's address
    (they may hold a password)."""
    plain = configs.without_environment(config)
    return {**plain, "seeds": dict(seeds), "tracking": {**plain["tracking"], "uri": None}}
