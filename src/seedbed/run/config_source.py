"""Hydra's source of config files, with files that are checked before they are parsed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult

from seedbed import Refused
from seedbed.run import yaml_files
from seedbed.run.plain_text import harmless


class FileConfigSource(file_config_source.FileConfigSource):
    """Files as Hydra reads them, but for those that are no YAML, or hold more than a config does.

    It has the name of Hydra's own: when Hydra looks for its plugins again it leaves what is there by that name.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path))))  # noqa: PTH118 (Hydra's way)
        if not path.exists():
            return super().load_config(config_path)  # says that there is none
        text = yaml_files.read(path)
        yaml_files.check(text, path)
        found: ConfigResult = yaml_files.explained(lambda: super(FileConfigSource, self).load_config(config_path), text, path)
        return found


def install() -> None:
    """Have Hydra read its files by the class above; harmless to repeat."""
    Plugins.instance()  # registers Hydra's own, which can't be replaced through `register` (seen in Hydra 1.3.8)
    SourcesRegistry.instance().types["file"] = FileConfigSource


@contextmanager
def naming_circles() -> Iterator[None]:
    """Turn defaults lists that lead back to themselves into a Refused that names the files."""
    try:
        yield
    except RecursionError as error:
        trees = [frame.f_locals.get("root") for frame, _ in traceback.walk_tb(error.__traceback__)
                 if frame.f_code.co_name == "_create_defaults_tree_impl"]  # fmt: skip
        names = [str(tree.node.get_config_path()) for tree in trees if tree is not None]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is None:
            raise
        first = names.index(repeated)
        circle = names[first : names.index(repeated, first + 1) + 1]
        raise Refused(
            f"The defaults lists lead back to themselves: {harmless(' → '.join(f'{name}.yaml' for name in circle))}. "
            "Take one of these lines out of its defaults."
        ) from None
