"""The phases that put a model aside: a run that is stopped, and what Keras saves."""

from __future__ import annotations

import inspect
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from seedbed.contract import Broken, Skipped, runs
from seedbed.contract.outputs import called, first
from seedbed.contract.subject import Built, Subject, names_used, recurring, same
from seedbed.run import alike, building, looking, provenance, state, training
from seedbed.run.record import INTERRUPTED
from seedbed.run.watching import Watch


def stopped(subject: Subject, folder: Path) -> tuple[Path, list[str]]:
    """Train until a stop after the first epoch, with records in `folder`: the record, and what training has changed by then
    that no checkpoint holds.

    A fresh process goes on from there: that a resumed run is like one that was never stopped is seen by its digests.
    """
    config = runs.shortened(subject.config, subject.steps)
    config.runs = str(folder)
    own = _own(subject)
    before, watch = _modules(own), _Stop()
    record = training.run(config, said=lambda line: print(line, flush=True), watch=watch)
    if record.status not in (INTERRUPTED, "finished"):
        raise Broken(f"Training fails before it can be stopped: {str(record.content.get('error')).strip().splitlines()[-1]}")
    if record.status != INTERRUPTED:
        raise Skipped("Training ends with its first epoch (a callback stops it), so there is nothing to go on with.")
    after = _modules(own)
    changed = watch.changed() + [f"what the module {name} holds" for name in after if after[name] != before.get(name)]
    return record.path, changed


def _own(subject: Subject) -> list[str]:
    """The modules of the user's that the config's runs can reach, and that are imported."""
    reached = training.code_of(subject.config)
    return [name for name in reached if name in sys.modules and provenance.is_own_module(name) and not name.startswith("seedbed.")]


class _Stop(Watch):
    """Stops a run at the end of its first epoch as SIGTERM does, and sees what is changed in the model's Python attributes."""

    def __init__(self) -> None:
        self.begin: dict[str, Any] = {}
        self.end: dict[str, Any] = {}

    def built(self, model: Any, engine: Any) -> Sequence[Any]:
        self.begin = _attributes(model)

        def stop(epoch: int, logs: Mapping[str, Any]) -> None:
            self.end = _attributes(model)
            handler = signal.getsignal(signal.SIGTERM)
            if epoch == 0 and callable(handler):  # a signal itself would come a moment later
                handler(signal.SIGTERM, None)

        return [keras.callbacks.LambdaCallback(on_epoch_end=stop)]

    def changed(self) -> list[str]:
        changed = {name: (self.begin.get(name, "not there"), value) for name, value in self.end.items()}
        return [f"{name} ({before} → {after})" for name, (before, after) in changed.items() if before != after]


def _attributes(model: Any) -> dict[str, str]:
    """Numbers, texts and containers among the attributes of layers; private ones where the user's own code names them."""
    found = {}
    for layer in model._flatten_layers():
        own = names_used(layer)
        for name, value in vars(layer).items():
            plain = isinstance(value, bool | int | float | str | list | dict | set | tuple)
            if plain and name not in looking.TRAINING and (name in own or not name.startswith("_")):
                found[f"{layer.path}.{name}"] = repr(value)[:60]
    return found


def _modules(names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found |= alike.state_of([name])
        except alike.Unseen:
            continue
    return found


def save_and_load(subject: Subject, folder: Path) -> None:
    """A model that was saved and loaded has the same weights, and predicts the same bits."""
    built = subject.built
    if not building.can_be_called(built.model):
        raise Skipped(f"{type(built.model).__name__} has no `call`: there are no predictions to compare.")
    path = folder / "model.keras"
    subject.begin(built)
    try:
        built.model.save(path)
    except Exception as error:  # whatever a user's get_config raises
        raise Broken(_not_kept(built, "can't be saved", error)) from error
    own = {name: thing for module in _own(subject) for name, thing in vars(sys.modules[module]).items() if callable(thing)}
    with keras.saving.custom_object_scope(own):  # whether they are registered or handed to load_model is the user's affair
        try:
            loaded = keras.models.load_model(path, compile=False)
        except Exception as error:
            raise Broken(_not_kept(built, "is saved, and can't be loaded", error)) from error
    for (name, _), ours, theirs in zip(built.weights, built.model.weights, loaded.weights, strict=False):
        if not same(state.array(ours), state.array(theirs)):
            raise Broken(
                f"{name} has other values in the model that was loaded: Keras doesn't save it. Make it with add_weight in the layer's "
                "`build`, and keep layers in attributes, or in lists or dicts of them."
            )
    if subject.limits.random_in_inference:
        return
    once = called(built, subject.inputs())
    for layer in recurring(built.model):
        layer.reset_states()
    again = called(built, subject.inputs(), model=loaded)

    def differs(one: Any, other: Any) -> bool:
        return not subject.alike(one, other)

    if first(once[-1:], again[-1:], differs):
        raise Broken(
            f"{first(once, again, differs)} puts out something else in the model that was loaded, with the same weights: its get_config "
            "lacks an argument of its __init__, or it keeps something that is neither a weight nor an argument."
        )


def _not_kept(built: Built, what: str, error: Exception) -> str:
    guilty = next(_unkept(built.model), built.model)
    said = " ".join(re.split("Exception encountered: |Error encountered during deserialization: ", str(error))[-1].split())
    if type(guilty).__module__.startswith("keras."):
        mend = "Something that it was given (a function, an object) has no config: see keras.saving.register_keras_serializable."
    elif "unexpected keyword argument" in said:
        mend = "Its __init__ must take **kwargs and hand them to super().__init__: Keras gives it name, dtype and trainable."
    else:
        mend = f"Its get_config must say everything that __init__ takes, as numbers, texts and lists of them: {_taken(guilty)}."
    return f"{guilty.path} ({type(guilty).__name__}) {what}. {mend} Keras says: {said[:300]}"


def _unkept(model: Any) -> Iterator[Any]:
    """Layers whose config can't be written down, or doesn't make such a layer again; inner ones first."""
    for layer in reversed(list(model._flatten_layers(include_self=False))):
        try:
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        except Exception:
            yield layer


def _taken(layer: Any) -> str:
    """The names of what a layer's class takes."""
    parameters = inspect.signature(type(layer).__init__).parameters.items()
    names = [name for name, one in parameters if name != "self" and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    return ", ".join(names) or "nothing"
