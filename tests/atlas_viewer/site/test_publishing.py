"""A published folder is complete without a server, shows itself in links, and says what is in it."""

from __future__ import annotations

import re
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from atlas_viewer.errors import AtlasError, FormatError, MissingError
from atlas_viewer.site.build import build
from atlas_viewer.site.publishing import lines, publish


@pytest.fixture(scope="module")
def atlas(generated_atlas, tmp_path_factory):
    """A made-up atlas with its pages, whose dataset is a folder of photos."""
    folder = tmp_path_factory.mktemp("published")
    path = shutil.copyfile(generated_atlas, folder / "atlas.h5")
    with h5py.File(path, "r+") as file:
        file["dataset"].attrs["kind"] = "folder"
    build(path, folder / "site")
    return path


def published(atlas, to, **options):
    return publish(atlas, atlas.parent / "site", to, **{"with_atlas": False, "address": "https://x.org/a"} | options)


def test_the_folder_has_all_pages_and_nothing_hidden_but_what_hosts_read(atlas, tmp_path):
    report = published(atlas, tmp_path / "public")
    site = {path.relative_to(atlas.parent / "site") for path in (atlas.parent / "site").rglob("*") if path.is_file()}
    there = {path.relative_to(tmp_path / "public") for path in (tmp_path / "public").rglob("*") if path.is_file()}
    assert {path for path in site if not path.name.startswith(".")} <= there
    assert {path.name for path in there if path.name.startswith(".")} == {".atlas-site", ".nojekyll"}
    assert report.bytes == sum((tmp_path / "public" / path).stat().st_size for path in there)
    assert 0 < report.first_view < report.bytes
    assert not (tmp_path / "public" / "atlas.h5").exists()


def test_a_link_shows_a_picture_and_a_sentence(atlas, tmp_path):
    published(atlas, tmp_path / "public")
    index = (tmp_path / "public" / "index.html").read_text()
    tags = dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)">', index))
    assert tags["og:image"] == "https://x.org/a/preview.jpg" and tags["og:url"] == "https://x.org/a/"
    assert tags["twitter:card"] == "summary_large_image" and "responds to: 19 units of 4 layers" in tags["description"]
    with Image.open(tmp_path / "public" / "preview.jpg") as picture:
        assert picture.size == (1200, 630) and np.asarray(picture).std() > 10


def test_images_of_a_dataset_come_with_a_note(atlas, generated_atlas, tmp_path):
    report = published(atlas, tmp_path / "public")
    note = (tmp_path / "public" / "NOTICE.txt").read_text()
    assert "images of the dataset" in note and "not covered by the licence" in note
    assert "not covered by the licence" in (tmp_path / "public" / "index.html").read_text()
    assert any(line.startswith("note: The pages show") for line in lines(report))


def test_the_atlas_goes_along_on_request(atlas, tmp_path):
    report = published(atlas, tmp_path / "public", with_atlas=True, address=None)
    assert (tmp_path / "public" / "atlas.h5").read_bytes() == atlas.read_bytes()
    index = (tmp_path / "public" / "index.html").read_text()
    assert '<a href="atlas.h5">atlas.h5</a>' in index and "og:image" not in index
    assert report.sizes["atlas"] == (1, atlas.stat().st_size)
    assert any("address=https://" in line for line in lines(report))


def test_it_is_replaced_as_a_whole_and_nothing_foreign_is(atlas, tmp_path):
    published(atlas, tmp_path / "public")
    (tmp_path / "public" / "old.html").touch()
    published(atlas, tmp_path / "public")
    assert not (tmp_path / "public" / "old.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(AtlasError, match="holds something other than a site"):
        published(atlas, tmp_path / "mine")


def test_what_cannot_be_published_is_refused(atlas, tmp_path):
    with pytest.raises(MissingError, match="has no pages; make them with make site"):
        publish(atlas, tmp_path / "none", tmp_path / "public", with_atlas=False, address=None)
    copy = shutil.copyfile(atlas, tmp_path / "atlas.h5")
    (tmp_path / "parts").mkdir()
    with pytest.raises(FormatError, match="is kept in parts; make pack"):
        publish(copy, atlas.parent / "site", tmp_path / "public", with_atlas=True, address=None)
