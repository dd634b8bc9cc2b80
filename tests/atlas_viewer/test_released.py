"""An atlas of every version of the format that was given away opens, is sound, and reads as it did."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer import format
from atlas_viewer.atlas import Atlas
from atlas_viewer.validator import check
from atlas_viewer.verify import faults

FILES = sorted((Path(__file__).parent / "released").glob("*.h5.xz"))
PIXELS = {2: "2b4a0d86a2d65b52"}  # version → first letters of the SHA-256 of all its pictures


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def released(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("released") / request.param.stem
    path.write_bytes(lzma.decompress(request.param.read_bytes()))
    return path


def test_every_version_that_is_read_has_a_file():
    assert [int(path.name.split("-")[1].split(".")[0]) for path in FILES] == list(PIXELS)
    assert format.VERSION in PIXELS


def test_it_is_sound_and_as_it_was_written(released):
    with h5py.File(released) as file:
        assert list(check(file)) == []
    assert list(faults(released)) == []


def test_all_of_it_is_read(released):
    total = hashlib.sha256()
    with Atlas(released) as atlas:
        assert len([unit for layer in atlas for unit in layer]) == 19
        for layer in atlas:
            for climb in (*layer.ascent.values(), *layer.dgn.values()):
                total.update(climb.pixels[...].tobytes())
                assert np.isfinite(climb.activation).any() and climb.trace[...].shape[-1] == len(climb.trace_step)
            for kind in layer.kinds:
                assert len(layer[int(layer.units[0])].tops(kind).patches)
            assert str(atlas.unit(f"{layer.name}:{layer.units[0]}"))
        assert total.hexdigest().startswith(PIXELS[int(atlas.file.attrs["version"])])
        assert atlas.combinations and atlas.memorisation and atlas.priors and atlas.edges
