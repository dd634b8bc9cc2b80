"""atlas.h5: bytes of the file changed, and whole attributes and arrays replaced."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import FormatError, MissingError
from atlas_viewer.validator import check
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated

_MADE_UP = Path(__file__).parents[2] / "atlas_viewer" / "conftest.py"


class AtlasFiles(Kind):
    """Atlas files, read as the pages read them, and checked."""

    expected = (FormatError, MissingError)
    may_crash = True
    costly = 15.0

    def make_seeds(self) -> list[bytes]:
        spec = importlib.util.spec_from_file_location("made_up_atlas", _MADE_UP)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        path = self.folder / "seed.h5"
        module._write_atlas(path, mined=True, generated=True)
        return [path.read_bytes()]

    def case(self, random: random.Random) -> bytes:
        return mutated(self.seeds[0], self.seeds, random)

    def read(self, case: bytes) -> None:
        path = self.folder / "atlas.h5"
        path.write_bytes(case)
        with Atlas(path) as atlas:
            read_all(atlas)
            check(atlas.file)


def read_all(atlas: Atlas) -> None:
    """Read the tables of an atlas, and one unit of each layer."""
    _ = atlas.model, atlas.settings, atlas.packages, atlas.mean, atlas.labels, atlas.table, atlas.edges
    _ = atlas.dataset, atlas.priors, atlas.runs, atlas.combinations, atlas.memorisation
    for layer in atlas:
        for unit in layer:
            for style in layer.styles:
                unit.pictures(style)
            for kind in layer.kinds:
                unit.tops(kind)
            for name in layer.runs:
                unit.run(name)
            break
