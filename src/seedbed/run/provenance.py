"""What ran: code, lock, packages, machine. Read from the outside, before anything heavy is imported.

`environment` is the part of it that a result's bits may depend on, and goes into the run key; `describe` is for people
and holds more. Nothing of the process environment is read but the variables named here.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from seedbed import project_root
from seedbed.run import process, scratch

# Set by the image; labels of it hold the same.
IMAGE_VARIABLES = ("SEEDBED_IMAGE", "SEEDBED_IMAGE_DIGEST", "SEEDBED_COMMIT", "SEEDBED_LOCK")

# Instruction sets that libraries choose kernels by (oneDNN, Eigen, NumPy, OpenBLAS).
ISA = ("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
       "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "bf16")  # fmt: skip

# What a run is made of; a diff is taken of this alone, so that a forgotten .env never gets into a record.
CODE = ("src", "conf", "requirements", "pyproject.toml")

LARGEST_DIFF = 5_000_000  # bytes; a larger one is cut, and says so


def environment(level: Mapping[str, Any]) -> dict[str, Any]:
    """What a result's bits may depend on besides code, config, seeds and data.

    The number of cores counts only where the level leaves the number of threads to the machine; the kind of CPU doesn't count at
    `portable`, whose promise it is that every CPU from its baseline on has the same bits.
    """
    threads = level["threads"]
    backend = str(level["environment"].get("KERAS_BACKEND"))
    variables = {name: os.environ[name] for name in process.deciding(backend) if name in os.environ}
    gpus = left_by(variables)
    fixed = threads["intra_op"] and threads["inter_op"]
    kind = {"baseline": "x86-64-v3"} if level.get("level") == "portable" else cpu()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}".strip(),
        "packages": packages(backend),
        "cpu": kind | ({} if fixed else {"cores": cores()}),
        "gpu": gpus,
        "variables": variables,
    }


def left_by(variables: dict[str, str]) -> list[dict[str, str]]:
    """The GPUs that a process with these variables sees. The one that chooses them is taken out, unless it can't be told what it means."""
    gpus = gpu()
    if (seen := visible(gpus, variables.get("CUDA_VISIBLE_DEVICES"))) is None:
        return gpus
    variables.pop("CUDA_VISIBLE_DEVICES", None)
    return seen


def describe(level: Mapping[str, Any]) -> dict[str, Any]:
    """All of the provenance: the environment, and commit, lock, image, cores and thread numbers."""
    return {
        **environment(level),
        "cpu": cpu(),
        "cores": cores(),
        "threads": dict(level["threads"]),
        "lock": lock_hash(),
        "git": git(),
        "image": {name.removeprefix("SEEDBED_").lower(): os.environ[name] for name in IMAGE_VARIABLES if name in os.environ},
    }


@cache
def packages(backend: str) -> dict[str, str]:
    """Installed versions of the packages that the lock names, whatever else (test tools, other backends) lies beside them."""
    found = {}
    for name in sorted(_locked_names(backend)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
    return found


def lock_files() -> list[Path]:
    return sorted((project_root() / "requirements").glob("*.txt"))


@cache
def _locked_names(backend: str = "tensorflow") -> set[str]:
    training = [path for path in lock_files() if path.stem in ("cpu", "gpu", backend)]
    return {name for path in training for name in re.findall(r"^([a-z0-9][a-z0-9._-]*)==", path.read_text(), re.MULTILINE)}


@cache
def lock_hash() -> str:
    """sha256 over the lock: each file's name and contents."""
    digest = hashlib.sha256()
    for path in lock_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def cpu() -> dict[str, Any]:
    """The kind of CPU: maker, family, model and stepping (cache sizes go with them), and its instruction sets."""
    first: str
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {"model": platform.processor() or platform.machine(), "isa": []}
    fields = dict(re.findall(r"^([^\t:]+)\s*:\s*(.*)$", first, re.MULTILINE))
    flags = set(str(fields.get("flags") or fields.get("Features") or "").split())
    kind = {name: fields[field] for name, field in (("vendor", "vendor_id"), ("family", "cpu family"), ("number", "model"),
            ("model", "model name"), ("stepping", "stepping"), ("part", "CPU part")) if field in fields}  # fmt: skip
    return {**kind, "isa": [name for name in ISA if name in flags]}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def gpu() -> list[dict[str, str]]:
    """Each GPU's name and driver, from `nvidia-smi`; empty where there is none."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(("name", "driver", "capability"), (field.strip() for field in line.split(",")), strict=False)) for line in lines]


def visible(gpus: list[dict[str, str]], chosen: str | None) -> list[dict[str, str]] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES=`chosen` leaves; None if that can't be told (devices by another name than a number).

    Schedulers give each job another one: what counts is of which kind they are, not which one it is.
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (environment variables: the list ends at the first that isn't there)
    """
    if chosen is None or not gpus:
        return gpus
    found = []
    for name in chosen.split(","):
        if not re.fullmatch(r"\s*-?\d*\s*", name):
            return None
        if not name.strip() or not 0 <= int(name) < len(gpus):
            break
        found.append(gpus[int(name)])
    return found


def git() -> dict[str, Any]:
    """The commit, and whether the project's own files differ from it. The image's commit where there is no checkout."""
    commit = _git("rev-parse", "HEAD").strip()
    if not commit:  # docker/build says `<commit>-dirty` where the tree had more than that
        told = os.environ.get("SEEDBED_COMMIT", "unknown")
        return {"commit": None if told == "unknown" else told.removesuffix("-dirty"), "dirty": told.endswith("-dirty") or None}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--", *CODE).strip())}


def diff() -> str:
    """What the working tree has that the commit hasn't, new files included, as `git apply` takes it; "" if clean.

    Nothing is written into the project: git has an index, and a place for objects, in a temporary folder.
    """
    index, objects = (_git("rev-parse", "--git-path", name).strip() for name in ("index", "objects"))
    if not index or not git()["dirty"]:  # an image has no checkout
        return ""
    with scratch.folder("index") as folder:
        copy = folder / "index"
        source = project_root() / index  # an absolute path stays what it is
        if source.exists():
            shutil.copyfile(source, copy)
        (folder / "objects").mkdir()
        known = [_quoted(str((project_root() / objects).absolute())), os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "")]
        extra = {
            "GIT_INDEX_FILE": str(copy),
            "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(filter(None, known)),
        }
        for path in CODE:  # one by one: git adds nothing at all if one of them isn't there
            _git("add", "--all", "--", path, env=extra)
        text = _git("diff", "--cached", "--binary", "HEAD", "--", *CODE, env=extra)
    return text if len(text) <= LARGEST_DIFF else text[:LARGEST_DIFF] + "\n# cut: the diff is larger than this\n"


def _quoted(path: str) -> str:
    """A folder as git takes it in a list of them: a colon would end it (git, GIT_ALTERNATE_OBJECT_DIRECTORIES)."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _git(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    mine = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", **(env or {})}  # `status` would rewrite the index
    try:
        done = subprocess.run(["git", "-C", str(project_root()), *arguments], capture_output=True, timeout=60, env=mine)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def code(targets: Iterable[str]) -> dict[str, str]:
    """The user's and this project's modules that a run can reach, each with the sha256 of its source.

    targets: dotted names from the config (`_target_`s). Starting from the modules that hold them and from
    `seedbed.run`, imports are followed wherever they stand in the source (functions included). Modules of the standard
    library and of packages in the lock are covered by the environment's versions; another installed package stands with
    the hash of the list of its files.
    """
    return {
        name: hashlib.sha256(path.read_bytes() if listed is None else listed.encode()).hexdigest()
        for name, path, listed in _reached(targets)
    }


def own_files(targets: Iterable[str]) -> list[Path]:
    """The files of the user's own modules that a run can reach, sorted; see `code`."""
    reached = _reached(targets)
    return sorted(path for name, path, listed in reached if listed is None and name.partition(".")[0] != "seedbed" and path.suffix == ".py")


def _reached(targets: Iterable[str]) -> list[tuple[str, Path, str | None]]:
    """(name, file, None, or the list of an installed package's files) of each module that `code` names, by name."""
    found: dict[str, tuple[str, Path, str | None]] = {}
    waiting, followed = ["seedbed.run.training", "seedbed.run.fitting", *targets], set[str]()
    while waiting:
        if (dotted := waiting.pop()) in followed:
            continue
        followed.add(dotted)
        for name, path in _modules(dotted):
            if name in found:
                continue
            if not _is_first_party(path) and (listed := _files_of(name)):
                found[name] = name, path, listed
                continue
            found[name] = name, path, None
            if path.suffix == ".py":
                waiting += _imports(path.read_bytes(), name, is_package=path.name == "__init__.py")
    return sorted(found.values())


def _modules(dotted: str) -> Iterable[tuple[str, Path]]:
    """The modules on the way to `dotted` (packages' __init__ included) that neither Python nor the lock brings, not imported."""
    search: list[str] | None = None
    name = ""
    for part in dotted.split("."):
        name = f"{name}.{part}" if name else part
        if not part or (spec := importlib.machinery.PathFinder.find_spec(name, search)) is None:
            return
        if spec.origin and spec.has_location:
            if not _is_first_party(Path(spec.origin)) and (_is_standard(Path(spec.origin)) or is_locked(name.partition(".")[0])):
                return
            yield name, Path(spec.origin)
            if not _is_first_party(Path(spec.origin)) and _files_of(name):
                return
        if spec.submodule_search_locations is None:
            return
        search = list(spec.submodule_search_locations)


def modules(dotted: str) -> list[tuple[str, Path]]:
    """Return the modules on the way to a dotted name, with their files, that neither Python nor the lock brings; not imported."""
    return list(_modules(dotted))


def is_first_party(path: Path) -> bool:
    """Whether a file is the user's or this project's, and not of an installed package or of Python."""
    return _is_first_party(path)


def is_outside_the_lock(module: str, path: Path) -> bool:
    """Whether a module comes from an installed package that no lock file names: a helper of the user's own."""
    if not _in_packages(path):
        return False
    top = module.partition(".")[0]
    names = [top, *_distributions().get(top, [])]
    return not any(_plain(name) in _all_locked_names() for name in names)


@cache
def _all_locked_names() -> frozenset[str]:
    return frozenset(name for path in lock_files() for name in re.findall(r"^([a-z0-9][a-z0-9._-]*)==", path.read_text(), re.MULTILINE))


def is_own(function: Any) -> bool:
    """Whether a function or class is defined in the user's or this project's code, and not in an installed package."""
    file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)
    return file is not None and _is_first_party(Path(file))


def is_own_module(name: str) -> bool:
    """Whether an imported module is the user's or this project's code."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and _is_first_party(Path(file))


@cache
def _installed() -> tuple[Path, ...]:
    paths = {Path(p).resolve() for p in sysconfig.get_paths().values()} | {Path(p).resolve() for p in (sysconfig.get_path("stdlib"),)}
    base = {Path(sys.base_prefix).resolve() / "lib"}
    return tuple(paths | base)


@cache
def _is_first_party(path: Path) -> bool:
    return not _in_packages(path) and not _is_standard(path)


def _in_packages(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(path.resolve().parts))


@cache
def _is_standard(path: Path) -> bool:
    here = path.resolve().parents
    return not _in_packages(path) and any(root in here for root in _installed() if root != Path(sys.prefix).resolve())


def locked_modules(backend: str) -> frozenset[str]:
    """The top-level modules that the packages of the lock bring."""
    names = _locked_names() | _locked_names(backend)
    return frozenset(top for top, packages in _distributions().items() if any(_plain(name) in names for name in packages))


def is_known(file: str, top: str, locked: frozenset[str]) -> bool:
    """Whether a module is Python's own, or in a package that the lock names. top: its top-level module; locked: `locked_modules`."""
    path = Path(file)
    if not _in_packages(path):
        return _is_standard(path)
    # by its place, too: a module written in C may have a name that tells nothing (SciPy's `_moduleTNC`)
    parts = path.parts
    last = max(number for number, part in enumerate(parts) if part in ("site-packages", "dist-packages"))
    return top in locked or parts[last + 1].partition(".")[0] in locked


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def is_locked(top: str) -> bool:
    """Whether a top-level module comes from a package that the lock names."""
    names = [top] if _plain(top) in _locked_names() else _distributions().get(top, [])
    return any(_plain(name) in _locked_names() for name in names)


def is_helper(top: str) -> bool:
    """Whether a top-level module is an installed helper of the user's, which no lock names. Without a lock nobody can say: none is."""
    return bool(lock_files()) and not is_locked(top)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _files_of(module: str) -> str:
    """The version and the files, each with its hash, of the installed package that a module belongs to; "" if of none.

    This project's own version is left out: git's tags say it, and a tag changes no bit.
    """
    lines = []
    own = _distributions().get("seedbed", ())
    for name in sorted(set(_distributions().get(module.partition(".")[0], []))):
        found = importlib.metadata.distribution(name)
        files = [line for line in (found.read_text("RECORD") or "").splitlines() if ".dist-info/" not in line and ".pyc," not in line]
        lines += [_plain(name) if name in own else f"{_plain(name)} {found.version}", *sorted(files)]
    return "\n".join(lines)


@cache
def _imports(source: bytes, module: str, is_package: bool) -> tuple[str, ...]:
    names = []
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            names += [f"{base}.{alias.name}" for alias in node.names]
    return tuple(names)
