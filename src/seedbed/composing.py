"""A config from the command line, by Hydra: what `seedbed train KEY=VALUE …` and the other commands that train have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seedbed import Refused, project_root
from seedbed.run import record, redaction

# Hydra's flags that take a value in the next word.
TAKE_A_VALUE = {
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
    "--experimental-rerun",
}
# Those that say where the config lies; the process of each job of a multirun needs them too.
WHERE = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")


def hydra(job: Callable[[Any], None], argv: list[str]) -> None:
    """Compose `conf/train.yaml` with the overrides in `argv` and call `job`, as any Hydra program does."""
    import hydra as library

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
            _redact_kept()
            job(config)
        except Exception as error:  # Hydra would print a line of its own about it
            failed.append(error)

    with config_source.naming_circles():
        library.main(version_base="1.3", config_path=str(folder), config_name="train")(quietly)()
    if failed:
        raise failed[0]


def _redact_kept() -> None:
    """Take out of the files that Hydra has just written what a config file of the user's said of passwords."""
    from hydra.core.hydra_config import HydraConfig

    its = HydraConfig.get()
    folder = Path(its.runtime.output_dir) / str(its.output_subdir)
    for file in folder.glob("*.yaml") if its.output_subdir else ():
        text = file.read_text()
        if (clean := redaction.redacted(text)) != text:
            record.write_atomically(file, clean, durable=False)


def composed(argv: list[str], verb: str, runs: str = "trains one config") -> tuple[Any, Any] | None:
    """The config that these words compose, and Hydra's own; None if Hydra only had something to show (--help, --cfg).

    runs: what `verb` trains instead of a multirun's jobs.
    """
    from hydra.core.hydra_config import HydraConfig

    flags, _ = flags_of(argv)
    if any(flag[0] in ("-m", "--multirun") for flag in flags):
        raise Refused(f"{verb} {runs}, and takes no --multirun. For other configs: seedbed compare A B.")
    found: list[tuple[Any, Any]] = []
    hydra(lambda config: found.append((config, HydraConfig.get())), argv)
    if not found:
        return None
    config, its = found[0]
    config.runs = str(Path(config.runs).expanduser().absolute())
    return config, its


# A mapping with keys of the user's own, empty in `conf/`: Hydra would want each new key announced by a `+`.
OPEN = ("training.callbacks.", "training.callbacks={")


def flags_of(argv: list[str]) -> tuple[list[list[str]], list[str]]:
    """The flags in `argv`, each with its value, and the overrides. Hydra wants all overrides in one place."""
    flags: list[list[str]] = []
    overrides: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            overrides.append(f"++{word}" if word.startswith(OPEN) else word)
        else:
            flags.append([word, *([next(words, "")] if word in TAKE_A_VALUE else [])])
    return flags, overrides


def quoted(value: str) -> str:
    """A value in Hydra's override grammar: quoted, with quotes and backslashes before them escaped."""
    return "'" + value.replace("\\'", "\\\\'").replace("'", "\\'") + "'"
