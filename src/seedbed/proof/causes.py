"""The usual causes of a difference at a place, and what cures them; docs/causes.md shows a program for each.

Tables, and one function that asks them in the order of their weight: what differs between the two configs, which change of the
surroundings was enough, who drew from the system's entropy, what the input pipeline and the layer are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.proof import clocks
from seedbed.proof.audit import Finding
from seedbed.proof.places import Place
from seedbed.run import determinism


@dataclass(frozen=True)
class Cause:
    what: str
    remedy: str


# Config keys (or their beginnings) that two configs can differ in: why bits follow them.
KEYS = {
    "determinism.threads": ("a sum that is split over another number of threads is rounded otherwise",
                            "fix the number: determinism.threads.intra_op, as strict does"),
    "determinism.op_determinism": ("operations whose results depend on timing, or that have other kernels, without op determinism",
                                   "determinism=strict"),
    "determinism.environment.TF_ENABLE_ONEDNN_OPTS": ("oneDNN's kernels round otherwise than Eigen's", "fix it, as strict does"),
    "determinism.tensor_float_32": ("products with 10-bit mantissas on a GPU", "determinism.tensor_float_32=false"),
    "determinism.level": ("the two levels promise other things", "the same level on both sides"),
    "determinism": ("the two levels promise other things", "the same level on both sides"),
    "training.jit_compile": ("XLA fuses operations, and rounds otherwise", "compare XLA with XLA"),
    "training.mixed_precision": ("16-bit arithmetic", "the same precision on both sides"),
    "training.batch_size": ("other batches, other sums", "the same batch size"),
    "training.shuffle": ("another order of examples", "the same order: training.shuffle, seeds.shuffle"),
    "seeds.hash": ("the order of a set of strings follows the hash seed", "sort before you use the order: sorted(set(words))"),
    "seeds": ("another stream of randomness", "the same seed, if this stream is not meant to matter"),
    "data": ("another data function, or other arguments", "the same data"),
    "model": ("another model", "the same model"),
    "optimizer": ("another optimizer", "the same optimizer"),
}  # fmt: skip

# Surroundings (perturbing.PARTS) that were enough to change the result.
SURROUNDINGS = {
    "listing": ("a directory's listing is used in the order in which the file system gives it", "sorted(os.listdir(…)), sorted(path.glob(…))"),
    "clock": ("the date or the time of day gets into the result", "take it as an argument from the config"),
    "zone": ("times are read or written in the machine's time zone", "name the zone: datetime(…, tzinfo=UTC), pandas utc=True"),
    "locale": ("the locale decides how numbers are read or words are sorted", "leave locale.setlocale out, or name the locale"),
    "environment": ("a library reads a variable of the environment, or hands one on, and no key knows it",
                    "read it in your own code (seedbed then has it in the key), or take the value from the config"),
    "directory": ("the working directory's path gets into the result", "take paths from the config, and use what is in the files, not their place"),
    "temporary": ("the temporary folder's path, or what was left in it, gets into the result", "keep what a run needs in files that the config names"),
    "cores": ("the number of cores is used as a number of workers, threads or parts", "take the number from the config"),
    "memory": ("an address in memory (id(), the order of a set of objects) or memory that nobody has written (np.empty)",
               "sort by a name, and not by id(); np.zeros"),
    "load": ("who is ready first decides: threads, as_completed, imap_unordered, a time budget", "take results in the order of the tasks"),
}  # fmt: skip

# What a layer of Keras's is known for; the beginning of its class's name.
LAYERS = {
    "Random": ("random changes of the inputs in the model", "leave its seed to the stream `augment`"),
    "Dropout": ("a dropout mask from a generator that no stream governs", "keras.layers.Dropout without a generator of your own"),
    "Gaussian": ("noise from a generator that no stream governs", "leave its seed to the stream `dropout`"),
    "BatchNormalization": ("means over the batch: another order of its examples, or another number of threads", "the same order; determinism=strict"),
    "Conv": ("a convolution with another number of threads, another instruction set or another library", "determinism=strict on one kind of machine"),
    "Dense": ("a matrix product with another number of threads, another instruction set or another library", "determinism=strict on one kind of machine"),
    "Embedding": ("a table that is filled in another order", "determinism=strict"),
}  # fmt: skip

# Places that say enough by themselves.
PLACES = {
    "data": ("the data function gives other data each time: a draw without a seed, an order that nothing fixes, a file that has changed",
             "sorted(…), a seed from the config; `seedbed audit` looks for the line"),
    "split": ("examples are held out by something else than the stream `split`", "data.validation_split and data.test_split"),
    "weights": ("an initial value from an unseeded generator, a leaking global layer, or something that was drawn before the model was built",
                "keras.initializers without a generator of your own; build the model inside the model function"),
    "generators": ("a seed generator that is given a seed of its own at each start", "leave `seed` out: the streams `dropout` and `augment` govern it"),
    "batch": ("the input pipeline makes another batch: a generator that it shares with others, an order that timing decides",
              "make each example from (seed, epoch, index): seedbed.run.data.Examples, stateless operations"),
    "start": ("something between two steps changes the weights: a callback, with a draw or a clock of its own",
              "draw in the callback from np.random.default_rng((seed, epoch))"),
    "input": ("code between layers, in the model's own call: a draw, or an operation that timing decides", "give it a layer with a seed generator"),
    "loss": ("the loss function draws, or keeps something between steps", "a loss that is a function of targets and outputs alone"),
    "backward": ("the layer's backward pass: a custom gradient that draws, an operation without a deterministic gradient",
                 "determinism=strict; no draw in a gradient"),
    "gradient": ("the layer's gradient of its weights: a sum over the batch that another number of threads splits otherwise, or an "
                 "operation without a deterministic gradient", "determinism=strict"),
    "gradients": ("a train_step of your own, or gradient noise or clipping, that changes gradients before they are applied",
                  "draw with keras.random and a SeedGenerator that the model holds"),
    "update": ("the optimizer draws, or counts something that is no variable", "keep an optimizer's state in its variables"),
    "state": ("a variable that the step changes by itself: a moving average, a generator", "keep it a function of the batch and of seeded generators"),
    "logs": ("a metric that keeps something between epochs, or draws", "reset_state() that sets all of it back"),
    "metrics": ("the held-out part is read in another way, or a metric draws", "give held-out data as arrays; no randomness at inference"),
    "predictions": ("randomness at inference", "draw only if `training` is true"),
    "trained": ("a callback's on_train_end changes the model when the last epoch is over: weights that it has kept, a draw of its own",
                "set them from what the epochs left; draw from np.random.default_rng(seed)"),
    "epoch": ("something outside of the steps: a callback at the end of the epoch", "draw in the callback from np.random.default_rng((seed, epoch))"),
    "run": ("one execution stops earlier: a budget of time, early stopping on a value that differs", "stop by epochs, not by seconds"),
}  # fmt: skip

PARALLEL = ("ParallelMap", "ParallelInterleave", "MapAndBatch", "ParallelBatch")


RESUMED = Cause("what a checkpoint doesn't hold: state in a library's classes or modules or in another process, a file that a callback wrote",
                "keep it in an attribute, a closure or a module of your own (a checkpoint holds these), or make it a function of the epoch")  # fmt: skip


SHARED = Cause("what earlier runs of the same process have left: a library's own state, a file, a variable of C code",
               "pass it to the model function as an argument, or set it anew there; study.check finds it in each study")  # fmt: skip


EMULATED = ("libraries choose their code by the CPU that they find, sums are cut by the sizes of its caches, and RCPPS and RSQRTPS give "
            "what its maker likes", "determinism=portable, which fixes these and refuses what can't be fixed (docs/portable.md)")  # fmt: skip


def usual(
    place: Place, traces: Sequence[Mapping[str, Any]], draws: Sequence[Mapping[str, Any]], surrounding: str | None,
    differing: Sequence[str], findings: Sequence[Finding], resumed: bool = False, cpu: str = "", shared: bool = False,
) -> list[Cause]:  # fmt: skip
    """Causes of a difference at `place`, the likeliest first.

    traces: of both executions. draws: from the system's entropy, that no stream governs. surrounding: the one of
    `perturbing.PARTS` that was enough. differing: config keys in which the two configs differ. findings: of the static audit.
    resumed: whether one of the two was stopped, and gone on with. cpu: the CPU that was emulated for one of them.
    shared: whether other seeds were trained before one of them, in its process.
    """
    found = [
        *([RESUMED] if resumed else []),
        *([SHARED] if shared else []),
        *([Cause(f"the CPU ({cpu} for one of the two): {EMULATED[0]}", EMULATED[1])] if cpu else []),
        *_configured(differing),
        *([Cause(*SURROUNDINGS[surrounding])] if surrounding else []),
        *_drawn(place, draws),
    ]
    found += _piped(place, traces[0])
    drawn = {f"{Path(str(draw['file'])).name}:{draw['line']}" for draw in draws if draw["source"] not in clocks.SOURCES}
    new = [one for one in findings if f"{Path(one.file).name}:{one.line}" not in drawn]
    found += [Cause(f"{one.file}:{one.line}: {one.what} ({one.code})", one.mend) for one in new]
    layer = str(traces[0].get("layers", {}).get(place.layer, ""))
    if "." in layer and place.kind in ("output", "input", "backward", "gradient", "weights", "state"):
        found.append(Cause(f"the layer's own code ({layer}): a generator without a seed, Python code in the graph, state outside of variables",
                           "draw from keras.random.SeedGenerator() in the layer"))  # fmt: skip
    elif place.kind in ("output", "backward", "gradient"):
        found += [Cause(*words) for beginning, words in LAYERS.items() if layer.startswith(beginning)]
    if place.kind in PLACES:
        found.append(Cause(*PLACES[place.kind]))
    return list(dict.fromkeys(found))


def _configured(differing: Sequence[str]) -> Iterator[Cause]:
    """What is known to decide bits first, in the order of KEYS."""
    keys = {name: next((key for key in KEYS if name == key or name.startswith(f"{key}.")), "") for name in differing}
    order = [*KEYS, ""]
    for name in sorted(differing, key=lambda name: order.index(keys[name])):
        what, remedy = KEYS.get(keys[name], ("the two configs differ in it", "the same value on both sides"))
        yield Cause(f"{name}: {what}", remedy)


PHASES = ("data", "model", "training", "evaluation")


def _drawn(place: Place, draws: Sequence[Mapping[str, Any]]) -> Iterator[Cause]:
    latest = {"data": 0, "split": 0, "weights": 1, "generators": 1, "predictions": 3, "metrics": 3}.get(place.kind, 2)
    # the nearest in time first
    nearest = sorted(draws, key=lambda draw: -PHASES.index(draw["phase"]) if draw["phase"] in PHASES else 0)
    for draw in sorted(nearest, key=lambda draw: draw["source"] in clocks.SOURCES):  # a look at the clock may be for a log alone
        if draw["phase"] in PHASES and PHASES.index(draw["phase"]) <= latest:
            caller = f", called from {draw['user']}" if draw.get("package") and draw.get("user") else ""
            what = "reads another value each time, which may have become a seed" if draw["source"] in clocks.SOURCES else "unseeded"
            yield Cause(f"{draw['file']}:{draw['line']}, in {draw['function']}{caller}: {what} ({draw['source']})",
                        "take the seed as an argument: a data function's parameter `seeds`, or keras.random.SeedGenerator()")  # fmt: skip


def _piped(place: Place, trace: Mapping[str, Any]) -> Iterator[Cause]:
    if place.kind not in ("data", "batch"):
        return
    part = trace.get("data", {}).get(place.part or "train", {})
    operations = set(part.get("operations", ()))
    random = sorted(op for op in operations if op in determinism.STATEFUL_RANDOM or determinism.DRAWS.search(op))
    python = sorted(operations & determinism.PYTHON_INSIDE)
    parallel = any(op.startswith(PARALLEL) for op in operations)
    if parallel and random:
        yield Cause(f"parallel map with random augmentation in the input pipeline ({', '.join(random)})",
                    "tf.random.stateless_… with a seed for each element (Dataset.random, enumerate), or seedbed.run.data.Examples")  # fmt: skip
    if python:
        yield Cause(f"Python code in the input pipeline ({', '.join(python)}) that draws or keeps state",
                    "TensorFlow operations; or a generator made from (seed, index) inside of it")  # fmt: skip
    if any(op.startswith("Shuffle") for op in operations):
        yield Cause(
            "a shuffle in the input pipeline without a seed of its own",
            "Dataset.shuffle(n, seed=…), or return arrays and leave the order to seedbed",
        )
    if part.get("kind") == "py_dataset":
        yield Cause(f"{part.get('class')} draws from something that no stream governs while it makes a batch",
                    "np.random.default_rng((seed, epoch, index)) in __getitem__")  # fmt: skip
