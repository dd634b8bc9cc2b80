"""Pages of learned priors: what was found and how, what it is held against; and only what changed is drawn."""

from __future__ import annotations

import html
import json
import os
import re
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import h5py
import numpy as np
import pytest
from generated_atlas import ACTIVATIONS, PAIRS
from pages import Landmarks, Page, broken, has_text, is_lazy, read
from swept_atlas import add_number, add_run_sweep

from atlas_viewer.atlas import Atlas
from atlas_viewer.site import captions, outline
from atlas_viewer.site.build import build
from atlas_viewer.site.pages import random_classes


@pytest.fixture(scope="module")
def site(generated_atlas, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "site"
    build(generated_atlas, out)
    return out


@pytest.fixture
def atlas(generated_atlas):
    with Atlas(generated_atlas) as opened:
        yield opened


def plain(text: str) -> str:
    """The text with single spaces, whatever they were."""
    return " ".join(text.split())


def said(path) -> str:
    return plain(Page(path).text)


def test_pages_are_whole_light_and_local(site):
    assert broken(site) == []
    for path in site.rglob("*.html"):
        page = Page(path)
        assert path.stat().st_size <= 1_500_000
        assert all(is_lazy(image, path) and has_text(image) for image in page.images)
        assert not any("onload" in found for _, found in page.tags)
        assert not any(tag == "a" and re.match(r"https?:|//", found.get("href", "")) for tag, found in page.tags)


def test_every_page_is_reached_from_the_first(site):
    seen, waiting = set(), [site / "index.html"]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            links = [found["href"] for tag, found in Page(path).tags if tag == "a"]
            waiting += [(path.parent / unquote(urlsplit(link).path)).resolve() for link in links if urlsplit(link).path]
    assert seen == set(site.rglob("*.html"))


def test_a_rerun_gives_the_same_bytes_with_any_number_of_workers(site, generated_atlas, tmp_path):
    build(generated_atlas, tmp_path / "two", workers=2)
    assert read(tmp_path / "two") == read(site)


def test_a_unit_page_shows_each_run_with_last_and_best_iterate(site, atlas):
    page, layer = Page(site / "fc8" / "1.html"), atlas["fc8"]
    words = said(site / "fc8" / "1.html")
    for name in layer.runs:
        run = layer.run(name)
        for sample in range(run.samples):
            assert captions.number(float(run.activation[1, sample])) in words
            assert captions.number(float(run.best_activation[1, sample])) in words
            assert captions.number(float(run.code_norm[1, sample])) in words
    assert {"iterate-last", "iterate-best"} <= page.ids
    shown = [image for image in page.images if "var(--iterate,0)" in image["style"]]
    assert sum("sample 0" in image["alt"] for image in shown) >= len(layer.runs)
    assert "Maximized: value of <it>, before its ReLU, at row 3, column 3." in words
    assert "squeeze: Schäferhund & Söhne; target class: 87.5 %, rank 1" in words
    assert "iterations 20 published 200" in words and "step_start 8 published" not in words
    assert "../priors/toy.html" in page.refers


def test_the_first_picture_of_a_unit_stands_beside_the_style_and_the_images(site):
    page = Page(site / "fc8" / "1.html")
    assert [found["class"] for tag, found in page.tags if found.get("class", "").startswith("lead")] == [
        "lead paired three"
    ]


def test_a_run_picture_that_is_not_there_says_why(site):
    assert "its computation failed: the <code> overflowed" in said(site / "fc8" / "5.html")


def test_a_class_page_holds_pictures_against_the_nearest_images(site, atlas):
    words, test = said(site / "fc8" / "0.html"), atlas.memorisation["toy"]
    assert "4 images of odd <photos> compared" in words
    for sample in range(2):
        for space in range(3):
            distance, typical = test.distance[0, sample, space], test.typical[0, space]
            assert f"{captions.number(distance)}{captions.number(distance / typical)} × typical" in words
    keys = {found.get("title") for _, found in Page(site / "fc8" / "0.html").tags}
    assert {atlas.dataset.key[row] for row in test.nearest[0].ravel()} <= keys
    assert "No image of this class was compared." in said(site / "fc8" / "1.html")
    assert "Memorisation test" not in said(site / "fc8" / "4.html")


def test_a_montage_begins_with_the_run_where_units_see_the_whole_image(site):
    def first(folder: str) -> list[str]:
        inputs = [found for tag, found in Page(site / folder / "index.html").tags if tag == "input"]
        return [found["id"] for found in inputs if found.get("name") == "style" and "checked" in found]

    assert (first("fc8"), first("mixed.3a")) == (["style-dgn-0"], ["style-0"])


def test_the_leading_run_has_no_variant_and_reaches_most_layers(atlas):
    assert [run.name for run in outline.runs(atlas["fc8"])] == ["toy", "toy <conv>", "toy-unbounded"]
    assert outline.leading(atlas["fc8"]).path == "dgn/toy"
    assert outline.leading(atlas["conv1"]).path == "ascent/low_frequency"
    assert outline.leading(atlas["relu1"]) is None


def test_random_classes_are_drawn_at_random_and_their_first_pictures_are_shown(site, atlas, monkeypatch):
    layer = atlas["fc8"]
    drawn = random_classes.drawn(layer, 7)
    assert sorted(drawn) == list(range(6)) and drawn == random_classes.drawn(layer, 7)
    orders = {tuple(random_classes.drawn(layer, seed)) for seed in range(20)}
    assert len(orders) > 15
    page = Page(site / "fc8" / "random.html")
    shown = [found["href"] for tag, found in page.tags if tag == "a" and re.fullmatch(r"\d\.html", found["href"])]
    assert shown == [f"{row}.html" for row in drawn]
    assert "drawn at random with the seed 7" in said(site / "fc8" / "random.html")
    assert "The right class is in the top-5 of squeeze for 6 of these 6 pictures, and top-1 for 6." in page.text
    monkeypatch.setattr(random_classes, "CLASSES", 4)
    assert random_classes.drawn(layer, 7) == drawn[:4]
    assert random_classes.random_link(layer).name == "4 random classes"


def test_all_of_every_page_stands_in_a_landmark(site):
    pages = sorted(site.rglob("*.html"))
    assert len({path.name for path in pages}) > 10
    assert {path: outside for path in pages if (outside := Landmarks(path).outside)} == {}


def test_a_pair_stands_between_its_units_with_both_activations(site, atlas):
    page, words = Page(site / "combinations" / "fc8.html"), said(site / "combinations" / "fc8.html")
    for first, second in ACTIVATIONS.values():
        pair = f"{captions.number(first)} · {captions.number(second)}"
        assert words.count(pair) == len(PAIRS)
    cells = [plain(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page.path.read_text())]
    assert cells == ["pairs", "0.5", "3", "100.0 %", "0.800", "pairs-unbalanced", "none", "3", "0.0 %", "0.100"]
    assert words.index("balance γ = 0.5") < words.index("no balance")
    links = [found["href"] for tag, found in page.tags if tag == "a" and found["href"].startswith("../fc8/")]
    units = [unit for pair in PAIRS for unit in pair]
    assert [link for link in links if not link.endswith("index.html")] == [f"../fc8/{unit}.html" for unit in units]
    assert [found["class"] for tag, found in page.tags if tag == "b" and "class" in found] == ["uneven"] * len(PAIRS)


def test_pairs_take_several_pages_when_they_are_many(generated_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas_viewer.site.pages.combinations.PICTURES", 4)
    build(generated_atlas, tmp_path / "site")
    pages = {path.name for path in (tmp_path / "site" / "combinations").glob("*.html")}
    assert pages == {"fc8.html", "fc8-2.html", "fc8-3.html"}
    assert broken(tmp_path / "site") == []


def test_sets_without_a_common_combination_have_no_empty_columns(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)
    others = ((0, 5), (1, 2), (3, 4))
    change(path, lambda file: file["combinations/pairs-unbalanced/member_unit"].__setitem__(..., others))
    build(path, tmp_path / "site")
    page = (tmp_path / "site" / "combinations" / "fc8.html").read_text()
    heads = [re.findall(r">([^<>]+)</span>", head) for head in re.findall(r'<div class="row heads">(.*?)</div>', page)]
    assert heads == [["alone", "pairs, balance γ = 0.5", "alone"], ["alone", "pairs-unbalanced, no balance", "alone"]]
    assert len(re.findall(r'<div class="set"', page)) == len(PAIRS) + len(others)


def best_ratios(layer, run) -> list[float]:
    best, most = np.nanmax(layer.run(run).activation, axis=1), layer.statistics.most
    return (best[most > 0] / most[most > 0]).tolist()


def test_runs_are_compared_by_what_they_reach(site, atlas):
    hidden = [atlas["conv1"], atlas["mixed/3a"]]
    best = np.concatenate([np.nanmax(layer.run("toy").activation, axis=1) for layer in hidden])
    share = (best >= np.concatenate([layer.statistics.most for layer in hidden])).mean()
    ratios = [ratio for layer in hidden for ratio in best_ratios(layer, "toy")]
    own = np.median(best_ratios(atlas["fc8"], "toy"))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", (site / "runs.html").read_text())
    cells = [" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in cells]
    at = cells.index("toybounded yes")
    expected = ["toy", "conv1", "75.0 %", "100.0 %", plain(f"{captions.percent(share)} of {len(best)}")]
    expected += [captions.number(float(np.median(ratios))), captions.number(float(own))]
    assert cells[at + 1 : at + 8] == expected
    assert cells[cells.index("low_frequency") + 1 :][:4] == ["–", "–", "–", "–"]  # no prior, and no judge saw it
    assert "iterations 20" in said(site / "runs.html")
    boards = [found for tag, found in Page(site / "runs.html").tags if found.get("class") == "boards"]
    assert len(boards) == 1  # hidden layers have one run each


def test_a_prior_has_a_page_with_its_card_escaped(site):
    names = {path.name for path in (site / "priors").glob("*.html")}
    assert names == {"toy.html", "toy=20=3Cconv=3E.html"}
    page, words = Page(site / "priors" / "toy.html"), said(site / "priors" / "toy.html")
    assert "It was <b>never</b> trained (https://example.org)." in words
    tags = [tag for tag, _ in page.tags]
    assert {"em", "table", "ul", "code"} <= set(tags) and tags.count("b") == 1  # that of the place in the bar
    assert "toy in 3 layers, toy-unbounded in 1 layer" in words
    assert "Never vary" in words and "7 entries" in words


def test_a_long_fact_of_a_prior_is_folded_under_a_few_words(write_atlas, tmp_path):
    path, page = tmp_path / "a.h5", tmp_path / "site" / "priors" / "toy.html"
    write_atlas(path, mined=True, generated=True)
    record = f"count: 49500, images: {'f' * 64}, recipe: {{{'x' * 200}}}"
    change(path, lambda file: file["priors/toy"].attrs.__setitem__("trained_on", record))
    build(path, tmp_path / "site")
    assert re.findall("<summary>(.*?)</summary>", page.read_text()) == ["49\N{NARROW NO-BREAK SPACE}500 images"]


SLOW = pytest.mark.slow  # of each kind of evidence one change is tried at once, the others in the long run


def change(path, what):
    with h5py.File(path, "r+") as file:
        what(file)


@pytest.mark.parametrize(
    ("what", "layers"),
    [
        (lambda file: file["memorisation/toy/distance"].__setitem__((0, 0, 0), 1.0), ("fc8",)),
        pytest.param(lambda file: file["memorisation/toy/nearest"].__setitem__((0, 0, 0), 9), ("fc8",), marks=SLOW),
        (lambda file: file["combinations/pairs/member_activation"].__setitem__((0, 0, 0), 1.0), ()),
        pytest.param(lambda file: file["combinations/pairs"].attrs.__setitem__("balance", 0.75), (), marks=SLOW),
        (lambda file: file["layers/conv1/statistics/nearest"].__setitem__(0, 999), ("conv1",)),  # a unit, no image
        pytest.param(lambda file: file["priors/toy"].attrs.__setitem__("licence", "other"), (), marks=SLOW),
        (lambda file: file.__delitem__("priors/toy"), ("conv1", "mixed/3a", "fc8")),
        pytest.param(lambda file: file.__delitem__("combinations"), ("fc8",), marks=SLOW),
        (lambda file: file["layers/fc8/scores/squeeze/toy"].attrs.__setitem__("top1_rate", 0.25), ("fc8",)),
    ],
)
def test_only_what_changed_is_drawn_and_the_result_is_that_of_a_full_build(write_atlas, tmp_path, what, layers):
    path, out = tmp_path / "a.h5", tmp_path / "site"
    write_atlas(path, mined=True, generated=True)
    build(path, out)
    assert build(path, out).rebuilt == ()
    change(path, what)
    assert build(path, out).rebuilt == layers
    build(path, tmp_path / "full")
    assert read(out) == read(tmp_path / "full")


def test_pairs_that_did_not_change_are_taken_over(write_atlas, tmp_path):
    path, pairs = tmp_path / "a.h5", tmp_path / "site" / "combinations" / "fc8.html"
    write_atlas(path, mined=True, generated=True)
    build(path, tmp_path / "site")
    before = pairs.stat().st_ino
    change(path, lambda file: file["layers/conv1/dgn/toy/code_norm"].__setitem__((0, 0), 1.0))
    assert build(path, tmp_path / "site").rebuilt == ("conv1",)
    assert pairs.stat().st_ino == before or not hasattr(os, "link")


def test_an_atlas_of_runs_alone_has_its_pages(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)

    def alone(file):
        for layer in file["layers"].values():
            for name in {"ascent", "tops", "statistics"} & set(layer):
                del layer[name]
        del file["layers/fc8/scores/squeeze/sparse"], file["dataset"], file["memorisation"]

    change(path, alone)
    build(path, tmp_path / "site")
    assert broken(tmp_path / "site") == []
    words = said(tmp_path / "site" / "index.html")
    assert "through a learned prior" in words and "styles" not in words.split("Plate I")[0]


def test_of_many_runs_a_unit_page_shows_the_last_ones_by_one_picture(generated_atlas, atlas, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas_viewer.site.panels.runs.PANELS", 1)
    build(generated_atlas, tmp_path / "site")
    assert broken(tmp_path / "site") == []
    page = Page(tmp_path / "site" / "fc8" / "5.html")
    further = said(page.path).split("Further runs")[1]
    for name in ("toy <conv>", "toy-unbounded"):  # the one sample of its last unit is not there
        assert name in further
    assert further.count("none") == 2
    page = Page(tmp_path / "site" / "fc8" / "1.html")
    further = said(page.path).split("Further runs")[1]
    for name in ("toy <conv>", "toy-unbounded"):
        assert captions.number(float(atlas["fc8"].run(name).activation[1, 0])) in further
    assert sum(", run toy" in image["alt"] for image in page.images if image["alt"].startswith("fc8:1, run")) == 2


def test_a_prior_without_a_card_says_what_is_known_and_folds_what_is_long(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)

    def bare(file):
        file["priors/toy/card"][()] = ""
        file["priors/toy"].attrs["trained_on"] = "drawings, " * 40

    change(path, bare)
    build(path, tmp_path / "site")
    page = Page(tmp_path / "site" / "priors" / "toy.html")
    assert "Its card" not in page.text and "Its card" in Page(page.path.with_name("toy=20=3Cconv=3E.html")).text
    assert [tag for tag, _ in page.tags].count("details") == 1


def copied(file, *names: str) -> None:
    """Runs of the class layer that are copies of its first one, under these names."""
    for name in names:
        file.copy("layers/fc8/dgn/toy", f"layers/fc8/dgn/{name}")
        file[f"layers/fc8/dgn/{name}"].attrs["run"] = name


def test_nearest_images_stand_beside_pictures_of_a_run_without_a_panel(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)

    def many(file):
        copied(file, "toy-a", "toy-b", "toy-z")
        file.copy("memorisation/toy", "memorisation/toy-z")
        file["memorisation/toy-z"].attrs["run"] = "toy-z"

    change(path, many)
    build(path, tmp_path / "site")
    assert broken(tmp_path / "site") == []
    page = Page(tmp_path / "site" / "fc8" / "0.html")
    tested = [image["alt"] for image in page.images if ", run toy-z, sample" in image["alt"]]
    assert len(tested) == 3  # two samples beside their nearest images, and the best one among the further runs


def test_the_run_that_was_asked_for_first_leads(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)

    def order(file):
        for layer in file["layers"].values():
            for run in layer.get("dgn", {}).values():
                run.attrs["place"] = ("toy-unbounded", "toy <conv>", "toy").index(run.attrs["run"])

    with Atlas(path) as atlas:
        assert outline.leading(atlas["fc8"]).name == "toy"
    change(path, order)
    with Atlas(path) as atlas:
        assert [run.name for run in outline.runs(atlas["fc8"])] == ["toy <conv>", "toy", "toy-unbounded"]
        assert outline.leading(atlas["fc8"]).name == "toy <conv>"


def test_a_number_of_the_table_is_shown_with_each_run_without_an_edit(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)
    row = ("variation", "Total variation", "tv", "weight", "Smooths the code.", "variation", "0.0", "0.5", "")
    change(path, lambda file: add_number(file, "dgn", row, {"toy": 0.125}))
    build(path, tmp_path / "site")
    assert "variation 0.125 published 0.5" in said(tmp_path / "site" / "fc8" / "1.html")


def test_runs_that_were_swept_have_a_page_of_their_own(write_atlas, tmp_path):
    path = tmp_path / "a.h5"
    write_atlas(path, mined=True, generated=True)
    add_run_sweep(path, "fc8")
    row = ("variation", "Total variation", "tv", "weight", "Smooths the code.", "variation", "0.0", "", "")
    numbers = {"toy-shrink_1": 0.125, "toy-shrink_2": 0.25}
    change(path, lambda file: add_number(file, "dgn", row, numbers))
    change(path, lambda file: [file[f"layers/fc8/dgn/{n}"].attrs.__setitem__("sweep", "variation") for n in numbers])
    build(path, tmp_path / "site")
    assert broken(tmp_path / "site") == []
    page, words = Page(tmp_path / "site" / "fc8" / "sweep-dgn.html"), said(tmp_path / "site" / "fc8" / "sweep-dgn.html")
    assert (
        {"sigmas", "variation"} <= page.ids
        and "shrink" in words
        and "Bound of the code" in words
        and "Total variation" in words
    )
    assert "+dgn.variants.like_shrink_2.variation=0.25" in words
    unit = said(tmp_path / "site" / "fc8" / "1.html")
    assert "The 7 settings of the sweep of DGN-AM are on its own page." in unit and "toy-sigmas_1" not in unit
    for name in ("runs.html", "priors/toy.html"):
        assert "toy-sigmas_1" not in said(tmp_path / "site" / name)
    assert "3 runs and the styles" in said(tmp_path / "site" / "index.html")


def test_interpretability_scores_are_on_unit_layer_and_first_pages_and_on_one_of_their_own(site):
    unit = said(site / "fc8" / "0.html")
    assert (
        "sees pictures of the unit and two" in unit
        and "By squeeze" in unit
        and "similarity by <fire9> of squeeze" in unit
    )
    assert "random pixels0.700" in unit and "toy0.500" in unit and "20 trials with at most 9 pictures" in unit
    assert unit.index("best and least0.800") < unit.index("toy0.500") < unit.index("random pixels0.700")
    assert "s are the 200 most and the 200 least exciting of 11" in unit
    assert "the same in all" in said(site / "fc8" / "5.html")  # it does not vary
    layer = Page(site / "fc8" / "index.html")
    assert "Interpretability" in plain(layer.text) and "(by squeeze; 0.5 is chance)" in plain(layer.text)
    units = (site / "fc8" / "units.js").read_text().removeprefix("atlasUnits(").removesuffix(");\n")
    orders = {key: values for key, values in json.loads(units)["numbers"].items() if key.startswith("interpretability")}
    assert list(orders) == ["interpretability", "interpretability-ascent-sparse", "interpretability-dgn-toy"]
    assert orders["interpretability"][:2] == [0.9, 0.89] and orders["interpretability"][-1] is None
    options = {found.get("value") for tag, found in layer.tags if tag == "option"}
    assert options >= set(orders)
    index = Page(site / "index.html")
    assert "interpretability.html" in index.refers and "Interpretability" in index.text
    whole = said(site / "interpretability.html")
    assert "By squeeze" in whole and "toy" in whole
    means, shares = (
        re.findall(r"<tr><td>.*?</tr>", table)
        for table in re.findall(r"<tbody>.*?</tbody>", (site / "interpretability.html").read_text(), re.DOTALL)[:2]
    )
    assert len(means) == len(shares) == 1 and "0.880" in means[0] and shares[0].count("75.0") == 5
    assert "sees pictures of the unit and two" not in said(site / "conv1" / "0.html")


def test_all_settings_of_a_layer_stand_on_its_first_page(site, atlas):
    layer, page = atlas["fc8"], html.unescape((site / "fc8" / "index.html").read_text())
    tables = [re.findall(r"<tr>.*?</tr>", table) for table in re.findall(r"<table>.*?</table>", page, re.DOTALL)]
    assert len(tables) == 2
    for (head, *rows), kind in zip(tables, (outline.styles(layer), outline.runs(layer)), strict=True):
        names = re.findall(r'<th id="settings-(?:dgn-)?[^"]*">(.*?)</th>', head)
        shown = [next(climb for climb in kind if climb.name == name) for name in names]
        found = {re.search(r"<th[^>]*>(.*?)</th>", row)[1]: re.findall("<td>(.*?)</td>", row)[:-1] for row in rows}
        assert set(found) == {name for climb in shown for name in climb.numbers}
        for name, values in found.items():
            assert values == [captions.setting(climb.numbers[name]) if name in climb.numbers else "" for climb in shown]
    assert 'href="index.html#settings-' in (site / "fc8" / "3.html").read_text()


def test_a_run_without_pictures_does_not_lead(atlas, monkeypatch):
    layer = atlas["fc8"]
    empty = SimpleNamespace(size=layer.atlas.input_size, there=np.zeros((4, 2), bool))
    monkeypatch.setattr(outline, "runs", lambda layer: (empty,))
    assert outline.leading(layer).path == outline.styles(layer)[0].path
    monkeypatch.setattr(outline, "styles", lambda layer: ())
    assert outline.leading(layer) is empty
