"""Keys of what is drawn: what is as it was keeps its key."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
from atlas_in_parts import write_in_parts

from atlas_viewer.atlas import Atlas
from atlas_viewer.site.build import _blocks
from atlas_viewer.site.outline import Outline
from pipeline.store.publishing import is_open, pack_atlas


def test_an_atlas_that_is_packed_keeps_its_pages(generated_atlas, tmp_path):
    whole = Path(shutil.copyfile(generated_atlas, tmp_path / "whole.h5"))
    with h5py.File(whole, "r+") as file:
        for layer in ("conv1", "relu1", "mixed.3a"):  # of one layer it takes less time
            del file[f"layers/{layer}"]
    path = write_in_parts(whole, tmp_path / "out")
    with h5py.File(path) as file:
        assert is_open(file)
    before = keys(path)
    assert {folder for folder, _ in before} == {"fc8", "combinations"}
    pack_atlas(path)
    with h5py.File(path) as file:
        assert not is_open(file)
    assert keys(path) == before


def keys(path: Path) -> dict[tuple[str, str], str]:
    """(folder, name) of each block → its key."""
    with Atlas(path) as atlas:
        return {(block.folder, block.name): block.key for block in _blocks(Outline(atlas, False))}
