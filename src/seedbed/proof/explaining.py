"""One sentence: which input difference can explain the first output that differs; or that none can."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seedbed.proof.inputs import Inputs
from seedbed.proof.outputs import Outputs, is_same
from seedbed.proof.rows import Data
from seedbed.proof.side import Side
from seedbed.proof.trees import Code
from seedbed.run.claims import at

# The stages of a run's outputs, in order. An input reaches a stage if it can change it while all stages before are the same.
STAGES = {
    "W": "the initial weights",
    "H": "the history",
    "L": "the number of epochs",
    "E": "what training leaves (final weights, generators, optimizer)",
    "P": "what comes after training (predictions, metrics)",
}

# What each input reaches: a capital letter for what it usually changes, a small one for what it can change in a rare case. The first
# pattern that fits counts. Where it is in doubt an input reaches a stage: 'none can' must be true.
REACHES = (
    # seeds
    ("seeds.master", "", "no stream follows it by itself: each stands here with its own integer"),
    ("seeds.init", "WHEP", "initial weights, and constants that the model function draws"),
    ("seeds.hash", "whep", "the order of sets, also where a model is built from one"),
    ("seeds.python", "wHEP", "drawn from while the model is fitted; by a module that draws while it is imported, before that"),
    ("seeds.numpy", "wHEP", "as seeds.python"),
    ("seeds.split", "HEP", "which examples are held out"),
    ("seeds.shuffle", "HE", "the order of the examples in training"),
    ("seeds.dropout", "HEp", "set when the weights have been drawn; at prediction only in layers that drop there, too"),
    ("seeds.augment", "HEp", "as seeds.dropout"),
    ("seeds.generator", "WHEP", "what draws the initial weights"),
    # config
    ("backend*", "WHEP", "what draws, and what computes"),
    ("strategy*", "HEP", "how each batch is dealt out"),
    ("data.loss", "", "what training.loss is taken from, and nothing else"),
    ("data.metrics", "", "what training.metrics is taken from, and nothing else"),
    ("data.source*", "wHEP", "also shapes and classes, which the model function is told"),
    ("data.input", "HEP", "how batches are made"),
    ("data.validation_split", "HEP", "which examples are left to train on"),
    ("data.test_split", "HEP", "which examples are left to train on"),
    ("model*", "WHEP", "the model"),
    ("optimizer*", "HE", "the steps; made when the weights have been drawn, or drawn without it"),
    ("training.epochs", "L", "how long; no epoch is another one for it"),
    ("training.batch_size", "wHEP", "the batches; a model may be built by its first one"),
    ("training.mixed_precision", "wHEP", "the precision of every layer"),
    ("training.callbacks*", "HLE", "whatever a callback does; when training ends"),
    ("training.jit_compile", "HEP", "the compiler of the steps"),
    ("training.steps_per_execution", "HEP", "how the steps are compiled"),
    ("training.*", "HEP", "the steps"),
    # the rest
    ("code", "WHLEP", "anything"),
    ("data", "wHEP", "the examples; shapes and classes, which the model function is told"),
    ("determinism*", "wHLEP", "which kernels run, with how many threads"),
    ("packages", "WHLEP", "anything"),
    ("environment*", "wHLEP", "which kernels run"),
    ("*", "WHLEP", "not known here, so anything"),
)

WEAK = {"off": "promises nothing", "seeded": "doesn't promise the same bits"}
MOST_NAMED = 3


@dataclass(frozen=True)
class Verdict:
    """stage: the first output that differs (a letter of STAGES; None if none does). can: inputs that can explain it, likely ones first.
    cannot: inputs that differ and can't. undetermined: whether an output differs that no input can explain."""

    said: str
    stage: str | None
    can: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    undetermined: bool = False

    def as_json(self) -> dict[str, Any]:
        stage = STAGES[self.stage] if self.stage else None
        return {"said": self.said, "first": stage, "can": self.can, "cannot": self.cannot, "not_deterministic": self.undetermined}


def verdict(a: Side, b: Side, inputs: Inputs, code: Code, data: Data, outputs: Outputs) -> Verdict:
    differing, stage, weak = _differing(inputs, code, data), first_stage(outputs), _weak(a, b)
    names = tuple(name for name, _ in differing)
    if stage is None or (stage == "L" and not (a.finished and b.finished)):
        return Verdict(_nothing(a, b, names, outputs), None, (), names)
    idle = _idle(a, b)
    usual = [name for name, pattern in differing if pattern not in idle and stage in _reach(pattern)]
    rare = [name for name, pattern in differing if pattern not in idle and stage.lower() in _reach(pattern)]
    can = (*usual, *rare)
    cannot = tuple(name for name in names if name not in can)
    if can:
        remark = f" Besides, level {weak} {WEAK[weak]}." if weak else ""
        return Verdict(f"{_first(stage, outputs)} {_listed(usual or rare)} can explain it.{remark}", stage, can, cannot)
    why = f"{_listed(cannot, 'and')} {'differs' if len(cannot) == 1 else 'differ'} and can't explain that" if cannot else "no input differs"
    if weak:
        return Verdict(f"{_first(stage, outputs)} {why}; level {weak} {WEAK[weak]}, determinism=strict does.", stage, (), cannot)
    said = f"{_first(stage, outputs)} {why}, so one of the two runs was not deterministic."
    return Verdict(said, stage, (), cannot, undetermined=True)


def first_stage(outputs: Outputs) -> str | None:
    """The first output that differs; None if none does that both have."""
    parting = outputs.parting
    if "initial_weights" in outputs.differ:
        return "W"
    if parting and parting.metrics:
        return "H"
    if parting:
        return "L"
    if "history" in outputs.differ:
        return "H"
    if {"final_weights", "generators", "optimizer"} & set(outputs.differ):
        return "E"
    ended_alike = outputs.status[0] == outputs.status[1]
    metrics = [metric for metric in outputs.metrics if ended_alike or None not in (metric.a, metric.b)]
    if "predictions" in outputs.differ or not all(is_same(metric) for metric in metrics):
        return "P"
    return "E" if outputs.differ and outputs.differ != ("run",) else None


def _first(stage: str, outputs: Outputs) -> str:
    said = STAGES[stage]
    if stage == "H" and outputs.parting:
        said = f"{outputs.parting.metrics[0].name} of epoch {outputs.parting.epoch + 1}"
    if stage == "E":
        said = next(name for name in outputs.differ if name != "run").replace("_", " ")
    return f"The first output that differs is {said}:"


def _nothing(a: Side, b: Side, differing: Sequence[str], outputs: Outputs) -> str:
    """The sentence where no output differs that both have."""
    if a.finished and b.finished:
        if not differing:
            return "Nothing differs: the same inputs gave the same bits."
        return f"No output differs: {_listed(differing, 'and')} made no difference to the bits."
    verb = "differs" if len(differing) == 1 else "differ"
    words = f"{_listed(differing, 'and')} {verb}" if differing else "no input differs"
    return f"A is {a.status}, B is {b.status}; as far as both went ({min(outputs.epochs)} epochs) no output differs, and {words}."


def _differing(inputs: Inputs, code: Code, data: Data) -> list[tuple[str, str]]:
    """(what it is called, its name in REACHES) of each input that differs, the likeliest cause first."""
    found: list[tuple[str, str]] = []
    own = [name for name in code.modules if name.partition(".")[0] != "seedbed"]
    seeds = {change.name: f"seeds.{change.name}" for change in inputs.seeds}
    if "init" in seeds:
        found.append((seeds.pop("init"), "seeds.init"))
    found += [(change.name, change.name) for change in sorted(inputs.config, key=lambda change: not change.name.startswith("model"))]
    if own:
        found.append((f"the code of {', '.join(own[:MOST_NAMED])}{' …' if len(own) > MOST_NAMED else ''}", "code"))
    if not data.same:
        found.append(("the data", "data"))
    found += [(f"seeds.{name}", f"seeds.{name}") for name in sorted(seeds, key=_likelihood) if name != "master"]
    if code.modules and not own:
        found.append(("seedbed's own code", "code"))
    found += [(f"determinism.{change.name}", f"determinism.{change.name}") for change in inputs.determinism]
    if inputs.packages:
        versions = ", ".join(change.name for change in inputs.packages[:MOST_NAMED])
        found.append((f"the versions of packages ({versions}{' …' if len(inputs.packages) > MOST_NAMED else ''})", "packages"))
    if inputs.environment:
        kinds = dict.fromkeys(change.name.partition(".")[0] for change in inputs.environment)
        found.append((f"the environment ({', '.join(kinds)})", "environment"))
    if "master" in seeds:
        found.append(("seeds.master", "seeds.master"))
    return found


def _likelihood(stream: str) -> int:
    order = ("shuffle", "dropout", "augment", "split", "numpy", "python", "hash")
    return order.index(stream) if stream in order else len(order)


def _reach(name: str) -> str:
    return next(reach for pattern, reach, _ in REACHES if fnmatch.fnmatchcase(name, pattern))


def _idle(a: Side, b: Side) -> set[str]:
    """Streams that govern nothing in either run."""
    found = set()
    kinds = {str(side.rows.parts["train"]["kind"]) if side.rows and "train" in side.rows.parts else "" for side in (a, b)}
    shuffled = {at(side.inputs, "config.training.shuffle") for side in (a, b)}
    if shuffled == {False} and kinds <= {"arrays", "examples"}:  # a ready-made pipeline draws its order from the stream by itself
        found.add("seeds.shuffle")
    splits = [at(side.inputs, f"config.data.{name}") for side in (a, b) for name in ("validation_split", "test_split")]
    if all(value == 0 for value in splits):
        found.add("seeds.split")
    return found


def _weak(a: Side, b: Side) -> str | None:
    return next((level for level in WEAK if level in (a.level, b.level)), None)


def _listed(names: Sequence[str], word: str = "or") -> str:
    shown = [*names[:MOST_NAMED], *([f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {word} {shown[-1]}"
