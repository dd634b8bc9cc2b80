"""What pages show of a dataset: best images, back-projections, range, statistics; and layers without ascent."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pages import CHROMIUM, Page, broken, browser, has_text, is_lazy, is_local, read
from PIL import Image

from atlas_viewer.atlas import Atlas
from atlas_viewer.site.build import build
from atlas_viewer.site.panels import styles
from atlas_viewer.site.panels.images import _original


@pytest.fixture(scope="module")
def site(mined_atlas, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mined") / "site"
    build(mined_atlas, out)
    return out


def text(path: Path) -> str:
    return re.sub(r"[ \n]+", " ", Page(path).text)


def test_every_reference_leads_to_a_file_and_nothing_is_remote(site):
    assert broken(site) == []
    for name, data in read(site).items():
        if Path(name).suffix in (".html", ".css", ".js"):
            assert is_local(data.decode()), name


def test_pictures_are_lazy_and_pages_keep_their_budgets(site):
    assert (site / "index.html").stat().st_size <= 1_000_000
    for path in site.rglob("*.html"):
        assert path.stat().st_size <= 1_500_000
        assert all(is_lazy(image, path) and has_text(image) for image in Page(path).images)


def test_a_unit_page_shows_its_best_images_with_numbers_and_labels(site):
    said = text(site / "conv1" / "1.html")
    assert "What excites it in odd <photos>" in said
    assert "The 3 images with the largest activation, out of 16" in said
    for part in ("40.00", "37.47", "34.93", "空 sky", "class 2", "n14/<i>14.jpg", "18 to 28, 44 to 64"):
        assert part in said
    assert "Nie et al. 2018" in said and "deconvnet" in said and "guided backprop" in said


def test_an_image_that_was_not_read_yet_has_no_place_in_its_original(mined_atlas):
    with Atlas(mined_atlas) as atlas:
        hits = atlas.unit("conv1:1").top.hits
    assert "18 to 28, 44 to 64" in map(_original, hits)
    assert _original(replace(hits[0], original=(np.nan,) * 4)) == "–"


def test_what_lies_outside_the_image_is_left_out_and_said(site):
    page = Page(site / "conv1" / "1.html")
    clips = [found["style"] for tag, found in page.tags if tag == "span" and found.get("class") == "in"]
    assert "clip-path:inset(40% 0 0 20%)" in clips and "clip-path:inset(0 0 60% 0)" in clips
    assert "Hatched: outside the image, or outside the receptive field." in page.text
    assert "Hatched" not in Page(site / "fc8" / "1.html").text


def test_every_form_of_every_rule_is_on_the_page_without_a_script(site):
    page = Page(site / "conv1" / "1.html")
    assert sum("var(--form,0)" in image["style"] for image in page.images) == 9
    forms = [found for tag, found in page.tags if tag == "input" and found["name"] == "form"]
    assert [("checked" in found, found["id"]) for found in forms] == [
        (True, "form-raw"),
        (False, "form-norm"),
        (False, "form-blurred"),
    ]
    labels = {found["for"] for tag, found in page.tags if tag == "label" and found.get("for")}
    assert {found["id"] for found in forms} <= labels


def test_what_is_said_of_the_rules_follows_from_the_network_and_from_what_they_give(site, write_atlas, tmp_path):
    said = "Here all of them are equal, because no ReLU"
    normalized = "For deconvnet, local response normalization is back-propagated with its true derivative."
    page = text(site / "conv1" / "1.html")
    assert said in page and normalized not in page
    write_atlas(tmp_path / "a.h5", mined=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["layers/conv1/tops/largest/guided_scale"][1, 0] = 0.5
        file["network/layers/kind"][1] = "norm"
    build(tmp_path / "a.h5", tmp_path / "site")
    page = text(tmp_path / "site" / "conv1" / "1.html")
    assert said not in page and normalized in page


def test_a_back_projection_that_is_not_there_says_why(site):
    assert "not computed: out of <memory>" in text(site / "conv1" / "0.html")


def test_the_range_is_in_order_and_its_images_are_not_drawn_twice(site):
    said = text(site / "conv1" / "1.html")
    assert re.search("From most to least .* most ?50\N{NARROW NO-BREAK SPACE}% ?least", said)
    patches = [image for image in Page(site / "conv1" / "1.html").images if re.match("n.*, activation", image["alt"])]
    assert len({image["style"] for image in patches}) == 5  # 15 to 13; 8 and 0 of the range


def test_a_best_patch_is_outlined_in_its_whole_image(site, mined_atlas):
    with Atlas(mined_atlas) as atlas:
        tops = atlas["conv1"].tops("largest")
        windows, (high, wide) = tops.window[1].tolist(), tops.input_size
    page = (site / "conv1" / "1.html").read_text(encoding="utf-8")
    found = [
        [float(side.rstrip("%")) / 100 for side in sides.split()]
        for sides in re.findall('<i style="inset:([^"]*)"', page)
    ]
    expected = [(top / high, 1 - right / wide, 1 - bottom / high, left / wide) for top, left, bottom, right in windows]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    said = text(site / "conv1" / "1.html")
    assert "whole image" in said and "which is outlined in the whole image below" in said
    whole = (site / "fc8" / "1.html").read_text(encoding="utf-8")  # its patches are whole images
    assert "inset:" not in whole and "whole image below" not in whole


def test_styles_of_a_class_stand_side_by_side_where_each_has_several_pictures(site, mined_atlas, tmp_path, monkeypatch):
    assert 'id="styles"' not in (site / "fc8" / "1.html").read_text(encoding="utf-8")
    monkeypatch.setattr(styles, "FEWEST", 2)
    build(mined_atlas, tmp_path / "site", workers=1)
    page = (tmp_path / "site" / "fc8" / "1.html").read_text(encoding="utf-8")
    blocks = page.split('<div class="blocks">')[1].split("</section>")[0].split("<figure>")[1:]
    assert [re.findall(r'href="#(\w+)"', block) for block in blocks] == [["low_frequency"], ["sparse"]]
    assert [block.count('<span class="tile') for block in blocks] == [3, 2]
    assert 'id="styles"' not in (tmp_path / "site" / "conv1" / "1.html").read_text(encoding="utf-8")  # no classes


def test_a_picture_is_compared_with_the_best_image(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5", mined=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["layers/conv1/ascent/sparse/activation"][1] = 72, 39.9
    build(tmp_path / "a.h5", tmp_path / "site")
    page = (tmp_path / "site" / "conv1" / "1.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert '<p class="ratio">1.8 × the best image</p>' in page
    assert '<p class="ratio below">1.00 × the best image</p>' in page


def test_the_page_says_that_positions_are_counted_in_a_sample(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5", mined=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["layers/conv1/statistics"].attrs["position_sample"] = 2
        file["layers/fc8/statistics"].attrs["position_sample"] = 10**6  # of one position: all images
    build(tmp_path / "a.h5", tmp_path / "site")
    assert "Active positions in a sample of 2 images25.0" in text(tmp_path / "site" / "conv1" / "1.html")
    assert "in a sample of" not in text(tmp_path / "site" / "fc8" / "1.html")


def test_statistics_stand_on_the_page(site):
    said = text(site / "conv1" / "1.html")
    assert "best image 40.00" in said and "Most selective classes" in said
    assert "Active positions25.0\N{NARROW NO-BREAK SPACE}%" in said
    assert re.search(r"Nearest unit ?conv1:0, redundant, correlation 0.990", said)
    assert "0.html" in Page(site / "conv1" / "1.html").refers


def test_a_dead_unit_says_so_and_has_no_images(site):
    said = text(site / "conv1" / "4.html")
    assert "Never varies: it has the same value at every position of every image." in said
    assert "What excites it" not in said and not list((site / "conv1").glob("4.images*"))


def test_a_units_page_begins_with_what_limits_its_pictures(site, damaged, tmp_path):
    def weaker(file):
        statistics = file["layers/conv1/statistics"]
        statistics["image_max"][:2] = -0.5, 400
        statistics["dead"][0] = True

    damaged(weaker, mined=True).close()
    build(tmp_path / "atlas.h5", tmp_path / "site")
    dead, below, fine = (text(tmp_path / "site" / "conv1" / f"{unit}.html") for unit in (0, 1, 2))
    assert "Dead: no image activates it. Its largest activation in any is −0.500; a picture reaches 59.52." in dead
    assert "What comes nearest to exciting it in odd <photos>" in dead and "What excites it" not in dead
    assert re.search(
        "None of its pictures excites it as much as the best image does; the best reaches 0.[0-9]+\\s×", below
    )
    assert "What excites it in odd <photos>" in below
    assert "None of its" not in fine and "Dead" not in fine


def test_a_layer_page_has_the_best_images_beside_the_styles(site):
    page = Page(site / "conv1" / "index.html")
    views = [found["id"] for tag, found in page.tags if tag == "input" and found.get("name") == "style"]
    assert views == ["style-0", "style-1", "style-images"]
    gaps = [found for tag, found in page.tags if tag == "span" and found.get("class") == "gap by by-images"]
    assert len(gaps) == 1  # the dead unit
    assert "url(montage-1.images.photo.webp)" in (site / "conv1" / "index.html").read_text(encoding="utf-8")
    assert "≈ 1" in page.text
    said = (site / "conv1" / "units.js").read_text().removeprefix("atlasUnits(").removesuffix(");\n")
    units = json.loads(said)  # what the page orders and filters by
    assert units["marks"]["dead"] == [4] and 0 in units["marks"]["redundant"]
    assert units["numbers"]["most"][0] == 40 and units["numbers"]["picture"][0] > 0
    assert units["views"][2]["values"][4] == 0 and units["views"][2]["values"][0] == "40.00"  # the dead one has none


def test_images_that_a_run_has_not_read_yet_are_left_out(damaged, tmp_path):
    def unread(file):
        for name, value in {"placement": np.nan, "size": -1}.items():
            file[f"dataset/images/{name}"][...] = value
        file["dataset/images/pixels"][...] = 0

    damaged(unread, mined=True).close()
    build(tmp_path / "atlas.h5", tmp_path / "site")
    said = text(tmp_path / "site" / "conv1" / "0.html")
    assert "What excites it in odd <photos>" in said and "not read yet" in said and "40.00" in said


def test_a_layer_without_ascent_has_its_pages(site):
    assert {path.stem for path in (site / "relu1").glob("*.html")} == {"index", "0", "1", "2", "4"}
    page = Page(site / "relu1" / "index.html")
    assert not [found for tag, found in page.tags if tag == "input" and found.get("name") == "style"]
    assert sum(found.get("class") == "gap" for tag, found in page.tags if tag == "span") == 1
    assert "relu1/0.html" in Page(site / "index.html").refers


def test_the_first_page_describes_the_dataset_and_what_was_skipped(site):
    said = text(site / "index.html")
    assert "the images that excite it most, beside pictures found by gradient ascent" in said
    assert "the network evaluated 16 images of odd <photos>" in said
    assert "2 images skipped, and why" in said and "the file ends early" in said and "<b>.png" in said
    assert "f" * 64 in said and "Not evaluated yet3 images" in said
    assert "No photograph was used to make the synthetic pictures." in said


def test_drawings_are_not_called_photographs(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5", mined=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["dataset"].attrs["kind"] = "doodles"
    build(tmp_path / "a.h5", tmp_path / "site")
    assert "The other images are drawings that a program made" in text(tmp_path / "site" / "index.html")
    assert "The 3 drawings with the largest activation" in text(tmp_path / "site" / "conv1" / "1.html")


def test_pointers_show_gaps_with_the_keys(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5", mined=True, pixels="pointers")
    build(tmp_path / "a.h5", tmp_path / "site")
    assert broken(tmp_path / "site") == []
    said = text(tmp_path / "site" / "relu1" / "1.html")
    assert "pixels are not stored" in said and "n15/<i>15.jpg" in said and "deconvnet" in said
    assert "not in the atlas file: only keys, hashes and windows" in text(tmp_path / "site" / "index.html")


def test_only_layers_whose_images_changed_are_drawn_again(write_atlas, tmp_path):
    atlas, out = tmp_path / "a.h5", tmp_path / "site"
    write_atlas(atlas, mined=True)
    build(atlas, out)
    with h5py.File(atlas, "r+") as file:
        file["layers/conv1/tops/largest/image"][0, 0] = 5
    assert build(atlas, out).rebuilt == ("conv1",)
    write_atlas(atlas, mined=True, shift=3)
    assert build(atlas, out).rebuilt == ("conv1", "relu1", "mixed/3a", "fc8")
    build(atlas, tmp_path / "full", workers=2)
    assert read(out) == read(tmp_path / "full")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at hand")
def test_a_browser_shows_images_back_projections_and_the_histogram(site, tmp_path):
    shot = tmp_path / "shot.png"
    command = [*browser(tmp_path), f"--screenshot={shot}", "--window-size=1000,2000"]
    subprocess.run([*command, (site / "fc8" / "1.html").as_uri()], check=True, capture_output=True, timeout=90)
    shown = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 500
