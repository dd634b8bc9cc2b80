"""The alias of an editable install: visualization_atlas.x is the checkout's module x, one object under two names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

PACKAGES = ("pipeline", "jobs")


class Alias(MetaPathFinder, Loader):
    """Finds visualization_atlas.x by importing x."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        namespace, _, module = name.partition(".")
        if namespace != "visualization_atlas" or module.partition(".")[0] not in PACKAGES:
            return None
        return spec_from_loader(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(spec.name.partition(".")[2])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, which importing it under this name has replaced."""
        module.__spec__ = module.__spec__.loader_state  # type: ignore[union-attr]


def install_alias() -> None:
    """Look here before the path, on which a module would be found a second time."""
    sys.meta_path.insert(0, Alias())
