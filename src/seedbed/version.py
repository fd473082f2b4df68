"""The project's version, which is git's: its tags say it, and no file has to be edited for a release.

Asked for by `seedbed --version` alone. No run reads it, and none of a run's inputs holds it: the key has each file's hash.
"""

from __future__ import annotations

import importlib.metadata
import os
import tomllib
import warnings

from seedbed import project_root


def version() -> str:
    """In a checkout what its tags say now; in an image what it was built from; else what was installed; 0.0.0 where nobody knows."""
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())
    table = project["tool"]["setuptools_scm"]
    if (project_root() / ".git").exists():
        try:
            from setuptools_scm import get_version  # in requirements/build.txt: an environment of make's has it
        except ModuleNotFoundError:
            pass
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # where git itself isn't there: then it is 0.0.0
                return get_version(root=project_root(), **table)
    if told := os.environ.get("SEEDBED_VERSION"):
        return told
    try:
        return importlib.metadata.version(project["project"]["name"])
    except importlib.metadata.PackageNotFoundError:
        return str(table["fallback_version"])
