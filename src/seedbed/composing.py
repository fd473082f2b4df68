"""A config from the command line, by Hydra: what `seedbed train KEY=VALUE …` and the other commands that train have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from seedbed import Refused, command_line, project_root
from seedbed.run import record, redaction

# Those that say where the config lies; the process of each job of a multirun needs them too.
WHERE = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")


def hydra(job: Callable[[Any], None], argv: list[str], several: str | None = None) -> None:
    """Compose `conf/train.yaml` with the overrides in `argv` and call `job`, as any Hydra program does.

    several: the refusal where a config file asks for a multirun (`hydra.mode: MULTIRUN`); None: `job` is called for each run of it.
    """
    import hydra as library
    from hydra._internal.hydra import Hydra

    from seedbed.run import config, config_source

    config.register()
    folder = project_root() / "conf"
    if not (folder / "train.yaml").is_file():
        raise Refused(f"{folder} holds no train.yaml. Call seedbed from its project, or name the project: SEEDBED_ROOT=DIR.")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, and leave as one message
    flags, overrides = flags_of(argv)
    sys.argv = ["seedbed", *(word for flag in flags for word in flag), *overrides]
    failed: list[Exception] = []

    def quietly(config: Any) -> None:
        try:
            _refuse_unused_sweep()
            _redact_kept()
            job(config)
        except Exception as error:  # Hydra would print a line of its own about it
            failed.append(error)

    def refuse(*given: Any, **named: Any) -> None:
        raise Refused(str(several))

    with ExitStack() as stack:
        stack.enter_context(config_source.naming_circles())
        if several is not None:  # the mode that a file asks for is known inside of Hydra alone (1.3), which then calls this
            stack.callback(setattr, Hydra, "multirun", Hydra.multirun)
            Hydra.multirun = refuse
        stack.enter_context(_redacting_multirun())
        library.main(version_base="1.3", config_path=str(folder), config_name="train")(quietly)()
    if failed:
        raise failed[0]


def _refuse_unused_sweep() -> None:
    """Refuse `hydra.sweeper.params` outside of a multirun: Hydra reads them there alone, and would train without them."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    its = HydraConfig.get()
    params = its.sweeper.get("params") if its.mode != RunMode.MULTIRUN else None
    if params:
        listed = ", ".join(f"{name}={value}" for name, value in params.items())
        raise Refused(
            f"hydra.sweeper.params ({listed}) count in a multirun alone. For all of these runs: seedbed train --multirun …; for one "
            "run without them: hydra.sweeper.params=null."
        )


def _redact_kept() -> None:
    """Take out of the files that Hydra has just written what a config file of the user's said of passwords."""
    from hydra.core.hydra_config import HydraConfig

    its = HydraConfig.get()
    folder = Path(its.runtime.output_dir) / str(its.output_subdir)
    for file in folder.glob("*.yaml") if its.output_subdir else ():
        text = file.read_text()
        if (clean := redaction.redacted(text)) != text:
            record.write_atomically(file, clean, durable=False)


@contextmanager
def _redacting_multirun() -> Iterator[None]:
    """Have Hydra write a multirun's own file, multirun.yaml, without passwords: before the first job, and also where there is none."""
    from omegaconf import OmegaConf

    real = OmegaConf.save

    def save(config: Any, f: Any, resolve: bool = False) -> None:
        if isinstance(f, (str, Path)) and Path(f).name == "multirun.yaml":
            record.write_atomically(Path(f), redaction.redacted(OmegaConf.to_yaml(config, resolve=resolve)), durable=False)
        else:
            real(config, f, resolve)

    OmegaConf.save = staticmethod(save)  # type: ignore[method-assign]
    try:
        yield
    finally:
        OmegaConf.save = staticmethod(real)  # type: ignore[method-assign]


def composed(argv: list[str], verb: str, runs: str = "trains one config") -> tuple[Any, Any] | None:
    """The config that these words compose, and Hydra's own; None if Hydra only had something to show (--help, --cfg).

    runs: what `verb` trains instead of a multirun's jobs.
    """
    from hydra.core.hydra_config import HydraConfig

    flags, _ = flags_of(argv)
    if any(flag[0] in ("-m", "--multirun") for flag in flags):
        raise Refused(f"{verb} {runs}, and takes no --multirun. For other configs: seedbed compare A B.")
    found: list[tuple[Any, Any]] = []
    several = (
        f"{verb} {runs}, and hydra.mode=MULTIRUN, which this config says, asks for a sweep. For one config: hydra.mode=RUN, with the "
        "values of one run; for all of them: seedbed train; for other configs: seedbed compare A B."
    )
    hydra(lambda config: found.append((config, HydraConfig.get())), argv, several)
    if not found:
        return None
    config, its = found[0]
    config.runs = str(Path(config.runs).expanduser().absolute())
    return config, its


# A mapping with keys of the user's own, empty in `conf/`: Hydra would want each new key announced by a `+`.
OPEN = ("training.callbacks.", "training.callbacks={")


def flags_of(argv: list[str]) -> tuple[list[list[str]], list[str]]:
    """The flags in `argv`, each with its value, and the overrides. Hydra wants all overrides in one place."""
    flags, overrides = command_line.split(argv)
    return flags, [f"++{word}" if word.startswith(OPEN) else word for word in overrides]


def quoted(value: str) -> str:
    """A value in Hydra's override grammar: quoted, with quotes and backslashes before them escaped."""
    return "'" + value.replace("\\'", "\\\\'").replace("'", "\\'") + "'"
