"""What of a record's inputs is here: the code, the config, the packages, the machine; and where its data should be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedbed import Refused
from seedbed.proof import promise, untrusted
from seedbed.proof.checkout import Place
from seedbed.proof.promise import Comparison, Row
from seedbed.run import config as configs
from seedbed.run import determinism, process, provenance, training, variables
from seedbed.run.plain_text import harmless
from seedbed.run.record import Record

MOST_READ = 200  # variables that are looked at: a stamp takes a while


def before(record: Record, stated: Mapping[str, Any], place: Place) -> Comparison:
    """What can be said before anything is run: all but the data here, and less in a worktree, whose code is asked later.

    Raises Refused where the config doesn't fit this project.
    """
    if place.commit is not None:
        threads = {"intra_op": None, "inter_op": None, **(record.inputs["determinism"].get("threads") or {})}
        machine = provenance.environment({"threads": threads, "environment": {}, "level": record.level})
        mine = {part: machine[part] for part in ("platform", "cpu", "gpu") if part in record.inputs["environment"]}
        return promise.compared(record.inputs, {"environment": mine})
    config = _composed(stated, Path())
    level = determinism.of(config)
    seeds = training.resolved_seeds(config, None)
    level["environment"]["PYTHONHASHSEED"] = str(seeds["hash"])
    data = SimpleNamespace(fingerprint="")  # nobody knows before they are loaded
    plain = configs.without_environment(config, stamped=True)
    inputs = training.key_inputs(plain, seeds, level, cast(Any, data), training.code_of(config))
    del inputs["data"]
    around = {**os.environ, **training.environment_of(config)}  # of the process that trains
    deciding = {name: value for name in process.deciding(config.backend.name) if (value := around.get(name)) is not None}
    inputs["environment"] |= {"gpu": provenance.left_by(deciding), "variables": deciding}
    return promise.compared(record.inputs, inputs)


def reads(record: Record) -> Comparison:
    """The variables of the environment that the record says its run has read, beside those of this process."""
    listed = record.content.get("read") or {}
    here = {name: variables.shown(name, variables.present(name)) for name in list(listed)[:MOST_READ]}
    return promise.of_reads(listed, here)


def _composed(stated: Mapping[str, Any], runs: Path) -> DictConfig:
    """The config as this project's `train` would have it; raises Refused where it has other parts."""
    configs.register()
    try:
        composed = OmegaConf.merge(OmegaConf.structured(configs.Config), OmegaConf.create({**stated, "runs": str(runs)}))
        OmegaConf.resolve(OmegaConf.create(OmegaConf.to_container(composed)))  # a variable that isn't set is found now
    except OmegaConfBaseException as error:
        raise Refused(f"The record's config doesn't fit this project: {harmless(str(error).splitlines()[0])}. "
                      "If the project was another one then: --checkout.") from error  # fmt: skip
    assert isinstance(composed, DictConfig)
    configs.check(composed)
    return composed


def facts(record: Record, plain: Mapping[str, Any], place: Place) -> Comparison:
    """What decides no bits by itself, and helps to find out: commit, lock, image, and where data lie."""
    was = record.provenance
    git = was.get("git") or {}
    dirty = " with a diff" if git.get("dirty") else ""
    now = {"commit": place.commit, "dirty": bool(dirty)} if place.commit else provenance.git()
    rows = [Row("commit", f"{_hash(git.get('commit'))}{dirty}", f"{_hash(now['commit'])}{' with a diff' if now['dirty'] else ''}", None)]
    if record.level == "portable":
        machine, this = ((facts.get("cpu") or {}).get("model") for facts in (was, {"cpu": provenance.cpu()}))
        rows.append(Row("machine", harmless(machine), f"{this}: at portable the same bits whatever it is", None))
    if place.commit is None:
        same = was.get("lock") == provenance.lock_hash()
        rows.append(
            Row("lock", _hash(was.get("lock")), "the same" if same else f"{_hash(provenance.lock_hash())} (what counts: packages)", None)
        )
    image = {name.removeprefix("SEEDBED_").lower(): os.environ[name] for name in provenance.IMAGE_VARIABLES if name in os.environ}
    if was.get("image") or image:
        rows.append(Row("image", _image(was.get("image")), _image(image), None))
    for where, value in untrusted.leaves(plain.get("data")):
        if isinstance(value, str) and where.startswith(("source.", "files.")) and "_target_" not in where and _is_path(value):
            there = "is here" if "://" in value or os.path.exists(os.path.expanduser(value)) else "is not here"  # noqa: PTH110, PTH111 (no errors)
            rows.append(Row(f"data.{where}", harmless(value), there, None))
    return Comparison(rows, [])


def _is_path(value: str) -> bool:
    return os.sep in value or value.startswith("~") or os.path.exists(value)  # noqa: PTH110 (no errors)


def _hash(value: Any) -> str:
    return harmless(str(value)[:12]) if value else "none"


def _image(value: Any) -> str:
    found = value if isinstance(value, Mapping) else {}
    return harmless(found.get("image_digest") or found.get("image") or "none", 80)
