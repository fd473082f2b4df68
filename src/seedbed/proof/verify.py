"""Does a result hold? The same key in fresh processes, each in other surroundings, compared digest by digest.

Also: the same under a change that isn't meant to matter (`--against`), stopped and gone on with (`--resume`), and against digests
that were written down (`golden`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seedbed import Refused
from seedbed.proof import emulation
from seedbed.proof.diagnose import Diagnosis, Side, diagnosed
from seedbed.proof.execution import Execution, execute
from seedbed.proof.perturbing import AS_IT_IS, PARTS, Way, perturbed
from seedbed.run import config as configs
from seedbed.run import digest
from seedbed.run.record import FINISHED, Record

# In the order in which a run comes by them.
OUTPUTS = ("initial_weights", "history", "final_weights", "generators", "optimizer", "predictions")


@dataclass(frozen=True)
class Asked:
    """config: what to train; others: configs that are to give the same bits, by the words that make them; times: executions of
    `config` itself; resume: one more that is stopped half way; audited: the static audit's findings for a config.
    cpus: one more for each, on that CPU, emulated."""

    config: DictConfig
    others: Mapping[str, DictConfig] = field(default_factory=dict)
    times: int = 2
    resume: bool = False
    leave: frozenset[str] = frozenset()
    golden: bool = False
    diagnose: bool = True
    audited: Callable[[DictConfig], Sequence[Any]] = lambda config: ()
    cpus: Sequence[str] = ()


@dataclass
class Verdict:
    """holds: whether all agree. differing: the outputs that don't. record: one that was there before, if it took part."""

    sides: list[Side]
    differing: list[str]
    record: Record | None
    diagnosis: Diagnosis | None = None

    @property
    def holds(self) -> bool:
        return not self.differing

    def as_json(self) -> dict[str, Any]:
        first = self.sides[0].execution
        executions = [
            {"name": side.execution.name, "status": side.execution.status, "seconds": round(side.execution.seconds, 2),
             "digests": side.execution.digests, "error": side.execution.error}
            for side in self.sides
        ]  # fmt: skip
        return {
            "holds": self.holds, "key": first.record.key if first.record else None, "differing": self.differing, "executions": executions,
            "record": str(self.record.path) if self.record else None, "diagnosis": self.diagnosis.as_json() if self.diagnosis else None,
        }  # fmt: skip


def verified(asked: Asked, folder: Path, said: Callable[[str], None]) -> Verdict:
    """Train, compare, and where something differs look for the first point at which it does.

    folder: see `workspace.workspace`. said: gets a line for people before each execution. Raises Refused for what the run refuses.
    """
    for config in (asked.config, *asked.others.values()):
        configs.check(config)
        if config.determinism.level == "off":
            raise Refused("determinism=off promises nothing, and draws other seeds for each run. Accepted: seeded, strict.")
    if strange := asked.leave - set(PARTS):
        raise Refused(f"--leave {' '.join(sorted(strange))} is nothing that is perturbed. Accepted: {', '.join(PARTS)}.")
    for cpu in asked.cpus:
        emulation.check(cpu)
    if asked.times < 1 or (asked.times == 1 and not (asked.others or asked.resume or asked.golden or asked.cpus)):
        raise Refused(f"--times {asked.times} leaves nothing to compare. Accepted: 2 or more; 1 with --golden, --against, --against-cpu "
                      "or --resume.")  # fmt: skip
    sides: list[Side] = []

    def add(config: DictConfig, way: Way, name: str, stop: int | None = None) -> None:
        said(f"Execution {len(sides) + 1}: {name}.")
        sides.append(Side(config, way, execute(config, folder / f"execution {len(sides) + 1}", name, way, stop=stop), stop))

    add(asked.config, AS_IT_IS, "as it is")
    for number in range(1, asked.times):
        way = perturbed(number, asked.leave)
        add(asked.config, way, way.name)
    if all(side.execution.status == "failed" and not side.execution.digests for side in sides):
        raise Refused(f"The run fails before it has trained anything, so there is nothing to verify: {sides[0].execution.error}")
    if asked.resume:
        record = sides[0].execution.record
        epochs = len(record.history()) if record is not None else 0
        if epochs < 2:
            raise Refused(f"--resume needs two epochs or more, to stop between them; training.epochs={asked.config.training.epochs}.")
        add(asked.config, AS_IT_IS, f"stopped after epoch {epochs // 2} and gone on with", epochs // 2)
    for words, config in asked.others.items():
        add(config, AS_IT_IS, words)
    for cpu in asked.cpus:
        add(asked.config, Way(f"on {cpu}, emulated", cpu=cpu), f"on {cpu}, emulated")
    first = sides[0]
    differing: dict[str, None] = {}
    against: Side | None = None
    for side in sides[1:]:
        if found := compared(first.execution, side.execution):
            differing |= dict.fromkeys(found)
            against = against or side
    verdict = Verdict(sides, list(differing), None)
    before = _before(asked.config, first.execution)
    if before is not None and not differing:
        verdict.record = before
        verdict.differing = [name for name in OUTPUTS if (before.digests or {}).get(name) != first.execution.digests.get(name)]
    if against is not None and asked.diagnose:
        verdict.diagnosis = diagnosed(first, against, folder, said, asked.audited)
    return verdict


def compared(a: Execution, b: Execution) -> list[str]:
    """The outputs in which two executions differ; `status` if they ended differently, `data` where the data are others."""
    found = ["status"] if a.status != b.status else []
    if a.record is not None and b.record is not None and a.record.inputs["data"] != b.record.inputs["data"]:
        found.append("data")
    for name in OUTPUTS:
        if a.digests.get(name) != b.digests.get(name):
            found.append(name)
    if not found and a.record is not None and b.record is not None:  # of a run that fails: as far as it came
        found += ["history"] if digest.history(a.record.history()) != digest.history(b.record.history()) else []
    return found


def _before(config: DictConfig, first: Execution) -> Record | None:
    """The finished record of this key that was there already."""
    path = Path(config.runs) / first.record.key if first.record is not None and first.record.key else None
    if path is None or not (path / "record.json").exists():
        return None
    record = Record.read(path)
    return record if record.status == FINISHED else None
