"""The page of a sweep: a row a regularizer, a column a strength; and what other pages make of its settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from pages import CHROMIUM, Page, broken, browser, read
from PIL import Image
from swept_atlas import ROWS, add_number, add_sweep

from atlas_viewer.site.build import build
from atlas_viewer.site.pages.sweep import PICTURES, UNITS


@pytest.fixture(scope="module")
def site(write_atlas, tmp_path_factory) -> Path:
    """The site of an atlas with styles and a sweep of 70 draws in fc8."""
    folder = tmp_path_factory.mktemp("swept")
    write_atlas(folder / "a.h5")
    add_sweep(folder / "a.h5", "fc8", draws=70)
    build(folder / "a.h5", folder / "site")
    return folder / "site"


def text(path: Path) -> str:
    return " ".join(Page(path).text.split())


def captions(page: Page) -> int:
    return sum(tag == "figcaption" for tag, _ in page.tags)


def test_every_link_resolves_and_the_index_leads_there(site):
    assert broken(site) == []
    assert "fc8/sweep.html" in Page(site / "index.html").refers
    assert "sweep.html" in Page(site / "fc8" / "index.html").refers
    assert "sweep.html" in Page(site / "fc8" / "3.html").refers


def test_rows_columns_and_units_make_the_figure(site):
    page = Page(site / "fc8" / "sweep.html")
    columns = sum(count + 1 for count in ROWS.values())
    drawn = min(PICTURES // 6, 70)
    assert captions(page) == 6 * (columns + drawn)
    assert {"decay", "blur", "norm", "contribution"} <= page.ids
    for said in (
        "L2 decay",
        "Gaussian blur",
        "Clipping small norms",
        "0.2, every 4",
        "score of squeeze",
        "no gradient",
    ):
        assert said in page.text


def test_draws_are_in_the_judges_order_over_pages_of_a_size_that_browsers_like(site):
    step = PICTURES // 6
    first, last = Page(site / "fc8" / "sweep.html"), Page(site / "fc8" / "sweep-3.html")
    order = [found["id"] for page in ("", "-2", "-3") for tag, found in Page(site / "fc8" / f"sweep{page}.html").tags
             if tag == "article"]  # fmt: skip
    assert order == [f"random_{n:03d}" for n in reversed(range(70))]
    assert captions(last) == 6 * (70 - 2 * step)
    assert not (site / "fc8" / "sweep-4.html").exists()
    assert (site / "fc8" / "sweep.html").stat().st_size < 1.5e6
    assert all(found["loading"] == "lazy" for found in first.images)


def test_each_setting_has_its_words_to_read_and_to_copy(site):
    page = Page(site / "fc8" / "sweep.html")
    copied = [found["data-copy"] for tag, found in page.tags if tag == "button" and "data-copy" in found]
    for name in ("none", "decay_3", "contribution_2", "random_069"):
        assert sum(f".name=like_{name} " in words for words in copied) == 1
        assert f".name=like_{name} " in page.text


def test_ordinary_pages_leave_the_settings_out_and_say_so(site):
    unit = (site / "fc8" / "3.html").read_text(encoding="utf-8")
    assert 'id="sparse"' in unit and 'id="random_001"' not in unit
    assert "The 80 settings of the sweep are on its own page." in text(site / "fc8" / "3.html")
    assert "random_" not in (site / "fc8" / "index.html").read_text(encoding="utf-8")
    said = text(site / "index.html")
    assert "Sweep of fc8: 80 settings" in said and "They are not shown on the plate of fc8." in said
    assert not list((site / "fc8").glob("*.random_*"))
    assert "sweep" not in text(site / "conv1" / "1.html")


def test_labels_are_escaped(site):
    page = (site / "fc8" / "sweep.html").read_text(encoding="utf-8")
    assert "<i>Tinca</i>" not in page and "</title><script>" not in page and "空 sky" in page


def test_the_judges_best_of_a_row_is_marked(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5")
    add_sweep(tmp_path / "a.h5", "fc8", draws=1)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["layers/fc8/scores/squeeze/blur_2/target_probability"][...] = 0.875
    build(tmp_path / "a.h5", tmp_path / "site")
    page = (tmp_path / "site" / "fc8" / "sweep.html").read_text(encoding="utf-8")
    blur = page[page.index('id="blur"') : page.index('id="norm"')]
    assert '<span class="num top">88\N{NARROW NO-BREAK SPACE}%</span>' in blur and blur.count("num top") == 1


def test_where_there_is_nothing_else_the_best_setting_stands_in(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5")
    add_sweep(tmp_path / "a.h5", "fc8")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for style in ("sparse", "low_frequency"):
            del file["layers/fc8/ascent"][style]
        del file["layers/fc8/scores/squeeze/sparse"]
    build(tmp_path / "a.h5", tmp_path / "site")
    assert broken(tmp_path / "site") == []
    unit = (tmp_path / "site" / "fc8" / "3.html").read_text(encoding="utf-8")
    assert 'id="random_003"' in unit and 'id="random_002"' not in unit
    said = text(tmp_path / "site" / "fc8" / "index.html")
    assert (
        "This is the setting with the highest score from squeeze, out of 14; the page of the sweep shows them all."
        in said
    )


def test_of_many_units_some_are_shown_and_the_page_says_so(write_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas_viewer.site.pages.sweep.UNITS", 4)
    assert UNITS == 8
    write_atlas(tmp_path / "a.h5")
    add_sweep(tmp_path / "a.h5", "fc8", draws=1)
    build(tmp_path / "a.h5", tmp_path / "site")
    page = Page(tmp_path / "site" / "fc8" / "sweep.html")
    assert "2 units of the sweep are left out here" in page.text
    links = {found["href"] for tag, found in page.tags if tag == "a" and found.get("class") == "name"}
    assert links == {"0.html", "2.html", "3.html", "5.html"}


def test_without_a_judge_the_page_ranks_nothing(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5")
    add_sweep(tmp_path / "a.h5", "mixed.3a", judged=False)
    build(tmp_path / "a.h5", tmp_path / "site")
    page = Page(tmp_path / "site" / "mixed.3a" / "sweep.html")
    assert "in the order of their draws" in page.text and "score" not in page.text
    order = [found["id"] for tag, found in page.tags if tag == "article"]
    assert order == [f"random_{n:03d}" for n in range(4)]


def test_several_processes_make_the_same_pages(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5")
    add_sweep(tmp_path / "a.h5", "fc8", draws=40)
    build(tmp_path / "a.h5", tmp_path / "one")
    build(tmp_path / "a.h5", tmp_path / "two", workers=2)
    assert read(tmp_path / "one") == read(tmp_path / "two")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at hand")
def test_a_browser_shows_the_figure(site, tmp_path):
    shot = tmp_path / "shot.png"
    command = [*browser(tmp_path), f"--screenshot={shot}", "--window-size=1200,1600"]
    subprocess.run([*command, (site / "fc8" / "sweep.html").as_uri()], check=True, capture_output=True, timeout=90)
    shown = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 500


def test_a_symbol_has_its_subscript_and_an_axis_that_nothing_raises_is_left_out(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path)
    add_sweep(path, "fc8", draws=1)
    with h5py.File(path, "r+") as file:
        row = ("tv", "Total variation", "λ", "weight", "Smooths the picture.", "total variation", "0.0", "", "")
        add_number(file, "ascent", row, {})
    build(path, tmp_path / "site")
    page = (tmp_path / "site" / "fc8" / "sweep.html").read_text(encoding="utf-8")
    assert "θ<sub>decay</sub><br>share removed in each update" in page and "total variation" not in page
    with h5py.File(path, "r+") as file:
        file["layers/fc8/ascent/random_000"].attrs["tv"] = 0.5
        file["layers/fc8/ascent/norm_1"].attrs["tv"] = 0.5
        file["layers/fc8/ascent/norm_1"].attrs["sweep"] = "total variation"
    build(path, tmp_path / "site")
    page = (tmp_path / "site" / "fc8" / "sweep.html").read_text(encoding="utf-8")
    assert 'id="total=20variation"' in page and "λ<br>weight" in page
    assert '<dt>total variation</dt><dd class="num">0.5</dd>' in page
