"""What the search of every page looks through: the layers and all units, as a script, which works from a disk too."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from atlas_viewer.layer import Layer
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.pieces import Page

NAME = "find.js"


class FindPage(Page):
    """The names of all layers and units. A page loads them when its search is first used."""

    order = 90
    top = (NAME,)

    def write(self, outline: Outline, site: Path) -> None:
        """Write the script."""
        layers = [[layer.name, quote(outline.folders[layer.name]), *names(layer)] for layer in outline.atlas]
        (site / NAME).write_text(f"atlasFind({_json(layers)});\n", encoding="utf-8")


def names(layer: Layer) -> tuple[int | list[int], list[str]]:
    """The numbers of a layer's units, their count where they are 0, 1, …; and their names, none if no unit has one."""
    units = layer.units.tolist()
    return len(units) if units == list(range(len(units))) else units, list(layer.labels) if any(layer.labels) else []


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
