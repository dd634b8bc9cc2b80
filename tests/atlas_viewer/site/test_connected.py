"""The units that a unit's page leads to: connected, similar, and of the class; what makes it drawn again."""

from __future__ import annotations

import re
import shutil

import h5py
import numpy as np
import pytest
from pages import Page, broken

from atlas_viewer.seal import seal_all, seal_file
from atlas_viewer.site.build import build


@pytest.fixture(scope="module")
def site(mined_atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("connected") / "site"
    build(mined_atlas, folder)
    return folder


def test_connected_units_have_their_picture_their_strength_and_a_link(site):
    assert broken(site) == []
    text = (site / "fc8" / "0.html").read_text()
    section = text[text.index('id="connected"') : text.index("</section>", text.index('id="connected"'))]
    assert re.findall(r'<a href="([^"]+)"', section)[:2] == ["../mixed.3a/5.html", "../mixed.3a/2.html"]
    assert 'src="../mixed.3a/montage-1.low_frequency.stretched.png"' in section
    assert '<span class="num below">−2.00</span>' in section
    absent = re.search(r'<p class="absent">Not in this atlas: (.*?)</p>', section)[1]
    assert "mixed/3a:4" in absent and "<a" not in absent and "<img" not in absent
    assert "Strength: weight × &lt;mean&gt;" in section
    assert "Outputs to fc8" in Page(site / "mixed.3a" / "2.html").text


def test_without_classes_similar_units_are_those_with_common_images(site):
    said = Page(site / "conv1" / "0.html").text
    assert "Similar units of conv1" in said and "number of common images among the 3 with the largest" in said


def test_a_class_leads_to_the_units_that_respond_to_it_and_back(mined_atlas, tmp_path):
    shutil.copyfile(mined_atlas, tmp_path / "atlas.h5")
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        for name, group in file["layers"].items():
            shape = group["statistics/class_mean"].shape
            group["statistics/class_mean"][...] = 60 * np.random.default_rng(len(name)).random(shape)
        seal_all(file)
    seal_file(tmp_path / "atlas.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlas_viewer.likeness.CLASSES", 4)
        build(tmp_path / "atlas.h5", tmp_path / "site")
    assert broken(tmp_path / "site") == []
    page = Page(tmp_path / "site" / "fc8" / "1.html")
    assert "Units of other layers that respond most to this class" in page.text
    assert any(reference.startswith("../relu1/") for reference in page.refers)
    assert "../fc8/1.html" in Page(tmp_path / "site" / "conv1" / "0.html").refers
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        means = file["layers/conv1/statistics/class_mean"]
        means[...] = means[...] + 1
        seal_all(file)
    seal_file(tmp_path / "atlas.h5")
    assert "fc8" in build(tmp_path / "atlas.h5", tmp_path / "site").rebuilt
