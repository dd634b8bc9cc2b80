"""The pages of an atlas as addresses from a page that lies elsewhere, for pages about several atlases."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from atlas_viewer.layer import Layer
from atlas_viewer.site.outline import Outline

SITE = "site"  # the folder of an atlas's pages, beside its file


@dataclass(frozen=True)
class Elsewhere:
    """The pages of one atlas, as far as they exist, seen from the folder `out`."""

    outline: Outline
    out: Path

    @property
    def index(self) -> str:
        """The address of the first page; empty if there is none."""
        return self._address("index.html")

    def layer(self, layer: Layer) -> str:
        """The address of a layer's page; empty if there is none."""
        return self._address(self.outline.folders[layer.name], "index.html")

    def unit(self, layer: Layer, row: int) -> str:
        """The address of the page of the unit in a row; empty if there is none."""
        return self._address(self.outline.folders[layer.name], f"{layer.units[row]}.html")

    def _address(self, *parts: str) -> str:
        path = self.outline.atlas.path.parent.joinpath(SITE, *parts)
        return quote(Path(os.path.relpath(path, self.out)).as_posix()) if path.is_file() else ""
