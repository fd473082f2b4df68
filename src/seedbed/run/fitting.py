"""Build, fit, evaluate, digest: what happens between an empty record and a finished one.

Imports Keras, so it is imported only when there is something to train.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import (
    backend,
    building,
    checkpoint,
    collective,
    determinism,
    digest,
    evaluation,
    inputs,
    integrity,
    looking,
    loop,
    portable,
    record,
    recorder,
    strategy,
    variables,
)
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet
from seedbed.run.reached import Modules, Reached, listed
from seedbed.run.record import Record
from seedbed.run.session import Session, Shared
from seedbed.run.state import CannotRestore
from seedbed.run.watching import Watch

# Keras's callbacks that call nothing of the user's.
PLAIN_CALLBACKS = frozenset({"CSVLogger", "EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN"})


KEEPS = "This run keeps state that no checkpoint holds"


def train(
    found: Record, config: DictConfig, seeds: Mapping[str, int], data: DataSet, reload: Callable[[], DataSet],
    said: Callable[[str], None], progress: bool, session: Session, watch: Watch,
) -> None:  # fmt: skip
    """Train into the record `found`: from the beginning, or from its last whole checkpoint.

    reload: makes the data set anew, for pipelines whose state a pass over them has changed.
    Every way to end is written down: status finished, failed or interrupted.
    """
    policy = keras.config.dtype_policy()
    try:
        with streams.global_generators(seeds["python"], seeds["numpy"]):
            _train(found, config, seeds, data, reload, said, progress, session, watch)
    except recorder.Interrupted as stop:
        found.fail(f"stopped by {signal.Signals(stop.args[0]).name}", status=record.INTERRUPTED)
    except recorder.NotFinite as bad:
        found.fail(str(bad))
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        of_the_disk = evaluation.of_the_disk(error)
        if of_the_disk is None or (broken := found.broken_off(of_the_disk, config.training.epochs)) is None:
            found.fail(traceback.format_exc())
            raise
        found.fail(broken, status=record.INTERRUPTED)
    except Refused as error:
        found.fail(str(error))
        raise
    except Exception as error:
        if refused := determinism.cannot_keep(error, config):
            found.fail(str(error))
            raise Refused(refused) from error
        found.fail(traceback.format_exc())
        if isinstance(error, tf.errors.InvalidArgumentError) and (broken := inputs.broken_example(data)):
            raise Refused(broken) from error
        raise
    finally:
        keras.config.set_dtype_policy(policy)


def _train(
    found: Record, config: DictConfig, seeds: Mapping[str, int], data: DataSet, reload: Callable[[], DataSet],
    said: Callable[[str], None], progress: bool, session: Session, watch: Watch,
) -> None:  # fmt: skip
    batch = partial(inputs.first_batch, data.train, config.training.batch_size)
    stopped = (found.path / "checkpoints").exists()
    modules = Modules(found.inputs["code"], partial(building.imported, config)) if stopped else None
    shareable = backend.is_tensorflow() and config.strategy.name == "single"

    def came_compiled(used: dict[str, Any]) -> None:
        found.update(compiled=used)
        said(
            f"The model function returns a compiled model: it is trained with its own optimizer ({used['optimizer']['class']}), "
            "loss and metrics. optimizer.*, training.loss and training.metrics of the config are not used; the record says what is."
        )

    shared = session.model(lambda: building.build(config, seeds, data, came_compiled), batch, shareable)
    model, level = shared.model, str(config.determinism.level)
    if level == "portable":
        portable.check_operations(level, looking.graphs(model, batch()))
    callbacks = [building.callback(name, node, found) for name, node in (config.training.callbacks or {}).items()]
    reached = Reached(model, callbacks, found.inputs["code"], pipeline=not loop.in_memory(data))
    try:
        state = _resumable(found, reached, batch, data, said)
        if state is None:
            found.keep_epochs(0)
            found.update(digests={"initial_weights": digest.arrays(digest.weights(model))}, read=variables.late(found.inputs))
        else:
            found.keep_epochs(state.epochs)
            found.resumed_at = state.epochs
            found.update(resumed=[*found.content.get("resumed", []), state.epochs])
        if any(data_sets.is_ready_made(part) for part in data.parts().values()):
            data = reload()  # the pass that took its fingerprint moved it on
        # a callback may draw by operations whose kernels go on where they were
        plain = all(type(callback).__name__ in PLAIN_CALLBACKS and type(callback).__module__.startswith("keras.") for callback in callbacks)
        with determinism.keeping_kernels(session.kernels and plain):
            backend.seed(seeds["dropout"])  # for models that use the backend's own random operations
        recording = recorder.Recorder(found, config, reached, state, progress, plain and type(model).fit is keras.Model.fit)
        if backend.is_tensorflow() and state is not None and not reached.idle:
            steps = looking.signatures(model, batch())
            recording.same_steps = lambda: looking.signatures(model, batch()) == steps
        first = state.epochs if state else 0
        epochs = range(first, first if state and state.stopped else config.training.epochs)
        begun = time.perf_counter()
        with recorder.stopping(recording), _weights_kept(model, recording, said):
            engine = _fit(shared, config, seeds, data, callbacks, watch.built(model, shared.engine), recording, epochs)
    except CannotRestore as error:  # model, callbacks and generators are spoilt: everything is made anew
        said(f"{error}: training starts from the beginning.")
        shutil.rmtree(found.path / "checkpoints", ignore_errors=True)
        found.resumed_at = None
        found.update(not_resumed=str(error))
        if modules is not None and not modules.is_fresh_again():
            found.fail(f"{error}: this needs a fresh process; the same command starts from the beginning", status=record.INTERRUPTED)
            return None
        with streams.global_generators(seeds["python"], seeds["numpy"]):
            return _train(found, config, seeds, reload(), reload, said, progress, session, watch)
    fitted = time.perf_counter()
    watch.fitted(model, found.history())
    _check_finite(model)
    _save(model, found, said)  # first: what fails from here on loses no weights
    found.update(engine=engine, not_shared=session.left() if session.many or session.apart else None, earlier_runs=session.runs)

    digests = {
        "initial_weights": found.digests["initial_weights"],
        "final_weights": digest.arrays(digest.weights(model)),
        "generators": digest.arrays(digest.generators(model)),
        "optimizer": digest.arrays(checkpoint.optimizer_variables(model)),
        "history": digest.history(found.history()),
    }
    metrics: dict[str, float] = {}
    predictions: Any = []
    if building.can_be_called(model):
        metrics, predictions, failures = evaluation.evaluated(shared, engine, config, data, reload)
        if failures:
            evaluation.note(found, failures, said)
            shared.obstacle = shared.obstacle or "its evaluation failed"
    # a model that only trains (a GAN), or that can't be evaluated
    metrics = metrics or evaluation.of_the_last_epoch(found.history()[-1])
    watch.evaluated(metrics, predictions)
    portable.check_operations(level)  # also what callbacks, pipelines and evaluation did meanwhile
    digests["predictions"] = digest.arrays(data_sets.flat(predictions))
    times = {"fit_seconds": fitted - begun, "after_fit_seconds": time.perf_counter() - fitted}
    found.finish(metrics, digests, timing=times, epochs=len(found.history()), read=variables.late(found.inputs))
    return None


def _fit(
    shared: Shared, config: DictConfig, seeds: Mapping[str, int], data: DataSet, callbacks: list[Any], watching: Sequence[Any],
    recording: recorder.Recorder, epochs: range,
) -> str:  # fmt: skip
    """Fit by the engine that the config names, or by the fastest that can do it; returns its name."""
    training, model = config.training, shared.model
    why_not = "training.engine=fit" if training.engine == "fit" else loop.obstacle(model, config, data, callbacks)
    if training.engine == "loop" and why_not:
        raise Refused(f"training.engine=loop can't train this: {why_not}. Accepted: auto, fit.")
    if not epochs:
        _end_of_fit(model, [recorder.LastEpoch(recording, epochs.stop), *callbacks, *watching, recording.past, recording], recording)
        return "fit" if why_not else "loop"
    if not why_not:
        shared.engine.fit(data, seeds, epochs, training.batch_size, training.shuffle, [*callbacks, *watching], recording)
        return "loop"
    if not data_sets.is_ready_made(data.train):
        strategy.check_batches(config, len(data.train) if hasattr(data.train, "load") else len(data_sets.flat(data.train)[0]))
    feed = inputs.training(data.train, seeds, epochs, training.batch_size, training.shuffle, training.steps_per_epoch, config.data.input)
    model.steps_per_execution = _divisor(feed.steps, model.steps_per_execution)
    weights = dict(training.class_weight or {})
    outputs = data_sets.spec(data).outputs
    if weights and (set(weights) != set(range(outputs)) or not all(isinstance(value, int | float) for value in weights.values())):
        raise Refused(f"training.class_weight={weights} is not accepted. Accepted: a number for each of the classes 0 … {outputs - 1}.")
    resumed = [recorder.Resumed(recording.state)] if recording.state is not None and backend.current() == "torch" else []
    validation = None if data.validation is None else inputs.held_out(data.validation, training.batch_size)
    watching = [*watching, recorder.BeforeFirst(recording)] if any(map(recorder.sees_batches, callbacks)) else watching
    together = []
    if config.strategy.name != "single":
        from seedbed.run.together import Together

        together = [Together(recording)]
    model.fit(
        collective.dealt(feed.x), epochs=epochs.stop, initial_epoch=epochs.start, steps_per_epoch=feed.steps, shuffle=False,
        callbacks=[recorder.LastEpoch(recording, epochs.stop), *callbacks, *watching, *resumed, *together, recording.past, recording],
        class_weight=weights or None, verbose=0, validation_data=validation,
    )  # fmt: skip
    return "fit"


def _end_of_fit(model: Any, callbacks: Sequence[Any], recording: recorder.Recorder) -> None:
    """What Keras's `fit` does after the last epoch, of a run that goes on from there."""
    rows = recording.record.history()
    called = keras.callbacks.CallbackList(callbacks, model=model, epochs=len(rows), verbose=0, add_history=True)
    called.on_train_begin()
    recording.check_traced()  # evaluation traces now what it traced in the first epoch
    if isinstance(model.optimizer, keras.optimizers.Optimizer):
        model.optimizer.finalize_variable_values(model.trainable_weights)
    called.on_train_end(rows[-1])


def _divisor(steps: int, most: int) -> int:
    """The largest divisor of `steps` up to `most`: an execution that reached into the next epoch would take its batches."""
    return max(number for number in range(1, max(most, 1) + 1) if steps % number == 0)


def _resumable(
    found: Record, reached: Reached, batch: Callable[[], Any], data: DataSet, said: Callable[[str], None]
) -> checkpoint.State | None:
    """The checkpoint to go on from, its variables put into the model; None: from the beginning, and why, if it is news.

    Raises CannotRestore if they aren't the model's, or where looking for it has changed the model.
    """
    folder, model = found.path / "checkpoints", reached.model
    why = found.content.get("not_resumable")
    if not folder.exists():
        if why and found.rows():
            _from_the_beginning(found, f"{KEEPS} ({why})", said)
        return None
    state, damaged = checkpoint.read_newest(folder, len(rows := found.history()), lambda epochs: digest.history(rows[:epochs]))
    if damaged:
        more = f" ({len(damaged)} checkpoints can't be used)" if len(damaged) > 1 else ""
        goes_on = f"the run goes on after epoch {state.epochs}" if state else "training starts from the beginning"
        said(f"{damaged[0]}{more}; {goes_on}.")
    if state is None:
        return None
    reached.check(state)
    # raises CannotRestore, too, where it had to be tried out
    if hidden := looking.hidden_state(model, batch()) or inputs.hidden_state(data):
        _from_the_beginning(found, f"{KEEPS} ({hidden})", said)
        shutil.rmtree(folder)
    if changed := reached.changed():
        raise CannotRestore(f"{KEEPS} (what making the train step changes: {listed(changed)})")
    if hidden:
        return None
    checkpoint.put_variables(model, state)
    return state


def _from_the_beginning(found: Record, why: str, said: Callable[[str], None]) -> None:
    said(f"{why}: training starts from the beginning.")
    found.update(not_resumed=why)


def _check_finite(model: Any) -> None:
    """Raise NotFinite if the last updates have made weights NaN, or those that are trained infinite.

    A weight that is not trained may be infinite by right (a mask).
    """
    trained = {id(variable) for variable in model.trainable_variables}
    for variable in model.weights:
        values = np.asarray(variable)
        if values.dtype.kind not in "fcV":
            continue
        values = values.astype("float32") if values.dtype.kind == "V" else values  # bfloat16
        if np.isnan(values).any() or (id(variable) in trained and not np.isfinite(values).all()):
            what = "NaN" if np.isnan(values).any() else "infinite"
            name = getattr(variable, "path", variable.name)
            raise recorder.NotFinite(
                f"The weights {name} are {what} after the last epoch: the run has failed. Try a smaller learning "
                "rate (optimizer.learning_rate=…) or look at the data."
            )


@contextmanager
def _weights_kept(model: Any, recording: recorder.Recorder, said: Callable[[str], None]) -> Iterator[None]:
    """Keep the weights where a callback fails once all epochs have been trained: the run has failed, and its work isn't lost."""
    try:
        yield
    except (CannotRestore, recorder.Interrupted, recorder.NotFinite):
        raise
    except Exception:
        if recording.trained:
            try:
                _save(model, recording.record, said)
                where = f"its weights are in {recording.record.path} until the same command is run again"
            except Exception as other:
                where = f"its weights could not be kept: {other}"
            said(f"The last epoch was over when the run failed: {where}.")
        raise


def _save(model: Any, found: Record, said: Callable[[str], None]) -> None:
    """Save the trained model as Keras does; as arrays where a custom class can't be saved. It is on the disk afterwards."""
    path = found.path / "model.keras"
    partial = path.with_name(f".{path.name}.{os.getpid()}.keras")
    drawn = streams.generator_states()
    try:
        model.save(partial)
        integrity.publish(partial, path)
    except Exception as error:  # whatever a user's get_config raises
        if isinstance(error, OSError):
            error.filename = str(path)
            if found.broken_off(error, 0):
                raise
        buffer = io.BytesIO()
        np.savez(buffer, *[np.asarray(v, dtype="float32" if "bfloat16" in str(v.dtype) else None) for v in model.weights])
        record.write_atomically(found.path / "weights.npz", buffer.getvalue())
        why = " ".join(re.split(r"\n\s*\n", str(error).strip())[0].split())  # Keras adds a page of example code
        said(f"Keras can't save this model as a whole ({type(error).__name__}: {why}); its weights are in weights.npz.")
    finally:
        streams.put_generator_states(drawn)  # evaluation draws what it would have drawn
        with suppress(OSError):
            partial.unlink()
