"""The environment of a process that trains a record from elsewhere: what the level and the libraries need, and no more.

A password, a token or an address of the user's is not handed on; the home directory, the working directory
and temporary files are folders of the replay's own, which are gone afterwards.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from seedbed.run import process, provenance

# Variables that are handed on as they are, with what needs them.
HANDED_ON = {
    "where programs and libraries lie": ("PATH", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    "the language of messages": ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_NUMERIC", "TZ"),
    "which GPUs are used": ("CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
                            "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),
    "what TensorFlow prints": ("TF_CPP_MIN_LOG_LEVEL",),
    "how Python writes": ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8"),
    "the image": (*provenance.IMAGE_VARIABLES, process.IMAGE_SETS, "SEEDBED_STARTED_BY"),
}  # fmt: skip

# Caches of data sets that were downloaded before, by variable, with where they lie in the home directory.
CACHES = {"KERAS_HOME": ".keras", "SCIKIT_LEARN_DATA": "scikit_learn_data"}

# Variables that the replay sets in a clean process; their values outside don't count.
OWN = frozenset({"HOME", "TMPDIR", "USER", "PYTHONUSERBASE", *CACHES})


def environment(folder: Path, backend: str, named: Iterable[str] = ()) -> dict[str, str]:
    """Make the folders of a clean process below `folder`, and return its environment.

    Args:
        folder: of the replay; gets `home`, `work` (the working directory) and `tmp`.
        backend: its variables that decide bits are handed on: they are part of the key.
        named: further variables, which the config names where `conf/` names them, too.
    """
    places = {name: folder / name for name in ("home", "work", "tmp")}
    for place in places.values():
        place.mkdir(mode=0o700, exist_ok=True)
    names = [name for group in HANDED_ON.values() for name in group]
    names += [*process.deciding(backend), *named]
    found = {name: os.environ[name] for name in names if name in os.environ}
    for name, usual in CACHES.items():
        with suppress(RuntimeError):  # no home
            cache = Path(os.environ.get(name) or Path.home() / usual).absolute()
            if cache.is_dir():
                found[name] = str(cache)
    if site.ENABLE_USER_SITE:
        found["PYTHONUSERBASE"] = site.getuserbase()  # packages that were installed with `pip install --user`
    paths = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if paths:
        found["PYTHONPATH"] = os.pathsep.join(paths)
    if sys.platform == "darwin" and "DYLD_LIBRARY_PATH" in os.environ:
        found["DYLD_LIBRARY_PATH"] = os.environ["DYLD_LIBRARY_PATH"]
    return {**found, "HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "USER": "seedbed"}


def link(folder: Path, places: Iterable[tuple[str, Path]]) -> None:
    """Let relative names of data, and those in the home directory, mean what they mean to the user."""
    for name, target in sorted(dict(places).items()):
        base, rest = (folder / "home", name.removeprefix("~/")) if name.startswith("~/") else (folder / "work", name)
        place = base / rest
        if place.exists():  # inside of another one
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def needed(env: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    """`env` with the variables of a level; None: not to be set."""
    kept = {name: value for name, value in env.items() if wanted.get(name, value) is not None}
    return kept | {name: value for name, value in wanted.items() if value is not None}
