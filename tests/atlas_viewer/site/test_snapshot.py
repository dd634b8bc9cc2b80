"""A build reads one state of an atlas, with the files that it links to, whatever replaces them meanwhile."""

from __future__ import annotations

import h5py
import pytest

from atlas_viewer.errors import AtlasError
from atlas_viewer.site.snapshot import snapshot


@pytest.fixture
def linked(tmp_path):
    (tmp_path / "parts").mkdir()
    with h5py.File(tmp_path / "parts" / "one.h5", "w") as part:
        part["pixels"] = range(4)
    with h5py.File(tmp_path / "atlas.h5", "w") as file:
        file["layers/conv1"] = h5py.ExternalLink("parts/one.h5", "/")
    return tmp_path / "atlas.h5"


def test_what_was_there_at_the_start_is_read_after_it_was_replaced(linked, tmp_path):
    with snapshot(linked, tmp_path / "aside") as path:
        (linked.parent / "parts" / "one.h5").unlink()
        linked.unlink()
        with h5py.File(path, "r") as file:
            assert file["layers/conv1/pixels"][...].tolist() == [0, 1, 2, 3]
    assert not (tmp_path / "aside").exists()


def test_a_part_that_is_missing_is_named(linked, tmp_path):
    (linked.parent / "parts" / "one.h5").unlink()
    with pytest.raises(AtlasError, match="links to .*one.h5.*, which is not there"), snapshot(linked, tmp_path / "a"):
        pass


def test_what_lies_outside_of_the_folder_of_an_atlas_is_not_linked(tmp_path):
    """Else a hostile one could make files anywhere."""
    home, pages = tmp_path / "a" / "b", tmp_path / "pages"
    home.mkdir(parents=True)
    pages.mkdir()
    (tmp_path / "outside.h5").write_bytes(b"")
    with h5py.File(home / "atlas.h5", "w") as file:
        file["layers/conv1"] = h5py.ExternalLink("parts/../../../outside.h5", "/")
    with snapshot(home / "atlas.h5", pages / "aside") as path:
        assert [each.name for each in pages.rglob("*.h5")] == ["atlas.h5"]
        assert path.is_relative_to(pages)
