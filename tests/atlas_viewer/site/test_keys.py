"""Keys of what is drawn: what is as it was keeps its key."""

from __future__ import annotations

from pathlib import Path

import h5py
from atlas_in_parts import write_in_parts

from atlas_viewer.atlas import Atlas
from atlas_viewer.site.build import _blocks
from atlas_viewer.site.outline import Outline
from atlas_viewer.validator import check
from atlas_viewer.verify import faults
from pipeline.store.publishing import is_open, pack_atlas


def test_an_atlas_that_is_packed_keeps_its_pages(generated_atlas, tmp_path):
    path = write_in_parts(generated_atlas, tmp_path)
    with h5py.File(path) as file:
        assert is_open(file) and check(file) == [] == [*faults(path)]
    before = keys(path)
    assert {"combinations", "fc8", "mixed.3a"} <= {folder for folder, _ in before}
    pack_atlas(path)
    with h5py.File(path) as file:
        assert not is_open(file)
    assert keys(path) == before


def keys(path: Path) -> dict[tuple[str, str], str]:
    """(folder, name) of each block → its key."""
    with Atlas(path) as atlas:
        return {(block.folder, block.name): block.key for block in _blocks(Outline(atlas, False))}
