"""The executions that a proof compares, as a list: each with its name and what of it is not as in the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from omegaconf import DictConfig

from seedbed import Refused
from seedbed.proof import emulation
from seedbed.proof.perturbing import AS_IT_IS, PARTS, Way, impossible, perturbed
from seedbed.run import config as configs

# What an execution can change beside the first one, in the order in which differences are looked into.
NOTHING, SURROUNDINGS, RESUME, STUDY, CONFIG, CPU = "nothing", "surroundings", "resume", "study", "config", "cpu"

# The place in a study, of the execution that is one of a study's runs: the third one meets a model that has been traced.
PLACE = 3


@dataclass(frozen=True)
class Planned:
    """One execution to come. changes: what of it is not as in the first. way: its surroundings. stopped: whether it is stopped
    half way, and another process goes on."""

    name: str
    changes: str
    config: DictConfig
    way: Way = AS_IT_IS
    stopped: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a user asks for. others: configs that are to give the same bits, by the words that make them. times: executions of the
    config itself, all but the first perturbed; None: two. resume: one more, stopped half way. leave: parts that are not
    perturbed. cpus: one more for each, on that CPU, emulated. alone: whether one execution is something to compare (a golden).
    study: one more, as the third run of a study."""

    others: Mapping[str, DictConfig] = field(default_factory=dict)
    times: int | None = None
    resume: bool = False
    leave: frozenset[str] = frozenset()
    cpus: Sequence[str] = ()
    alone: bool = False
    study: bool = False

    @property
    def of_itself(self) -> int:
        """How often the config itself is trained, undisturbed or perturbed."""
        return 2 if self.times is None else self.times

    @property
    def adds(self) -> bool:
        """Whether anything is compared beside the executions of the config itself."""
        return bool(self.others or self.resume or self.study or self.cpus or self.alone)


def check(config: DictConfig, wanted: Wanted) -> None:
    """Raise Refused for what can't be proved."""
    for one in (config, *wanted.others.values()):
        configs.check(one)
        if one.determinism.level == "off":
            raise Refused("determinism=off promises nothing, and draws other seeds for each run. Accepted: seeded, strict.")
    if strange := wanted.leave - set(PARTS):
        raise Refused(f"--leave {' '.join(sorted(strange))} is nothing that is perturbed. Accepted: {', '.join(PARTS)}.")
    for cpu in wanted.cpus:
        emulation.check(cpu)
    if wanted.times is not None and (wanted.times < 1 or (wanted.times == 1 and not wanted.adds)):
        raise Refused(f"--times {wanted.times} leaves nothing to compare. Accepted: 2 or more; 1 with --golden, --against, --against-cpu, "
                      "--resume or --study.")  # fmt: skip
    if wanted.resume and config.training.epochs < 2:
        raise Refused(f"--resume needs two epochs or more, to stop between them; training.epochs={config.training.epochs}.")


def executions(config: DictConfig, wanted: Wanted) -> list[Planned]:
    """All executions, the first one as it is; whatever is asked for is added to the perturbed ones, and replaces none."""
    ways = [perturbed(number, wanted.leave | set(impossible(config))) for number in range(1, wanted.of_itself)]
    third = Way(f"as run {PLACE} of a study", after=PLACE - 1)
    return [
        Planned("as it is", NOTHING, config),
        *(Planned(way.name, SURROUNDINGS, config, way) for way in ways),
        *([Planned("stopped half way and resumed", RESUME, config, stopped=True)] if wanted.resume else []),
        *([Planned(third.name, STUDY, config, third)] if wanted.study else []),
        *(Planned(words, CONFIG, other) for words, other in wanted.others.items()),
        *(Planned(f"on {cpu}, emulated", CPU, config, Way(f"on {cpu}, emulated", cpu=cpu)) for cpu in wanted.cpus),
    ]


def chance(executions: int, share: float = 0.5) -> float:
    """Return the chance that executions see a fault with two outcomes.

    Args:
        executions: how many are compared, independent of one another.
        share: the probability of one of the two outcomes.

    Returns:
        The probability that not all of them have the same outcome: 1 - share^n - (1 - share)^n.
    """
    return float(1 - share**executions - (1 - share) ** executions)
