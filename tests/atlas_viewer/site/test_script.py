"""The script of the pages, run by a browser: the search, order and filter of a layer, the lens over a picture."""

from __future__ import annotations

import html
import json
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
from pages import CHROMIUM, browser

from atlas_viewer.atlas import Atlas
from atlas_viewer.site import outline
from atlas_viewer.site.build import build

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at hand")
SCRIPT = """
const told = [], wait = (time) => new Promise((after) => setTimeout(after, time));
const press = (key) => {
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
};
(async () => {
  try { %s } catch (error) { told.push(`${error}`); }
  const out = Object.assign(document.createElement("pre"), { id: "told", textContent: JSON.stringify(told) });
  document.body.append(out);
})();
"""


@pytest.fixture(scope="module")
def site(sound_atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("script") / "site"
    build(sound_atlas, folder)
    return folder


@pytest.fixture
def driven(site, tmp_path):
    """A function that opens a page, runs a script after that of the page, and returns what the script told."""
    return partial(drive, site, tmp_path)


def drive(site: Path, tmp_path: Path, page: str, script: str, state: str = "") -> list:
    there, aside = site / page, (site / page).with_name("driven.html")
    said = there.read_text().replace("</head>", '<script src="driven.js" defer></script></head>')
    aside.write_text(said)
    aside.with_suffix(".js").write_text(SCRIPT % script)
    try:
        command = [*browser(tmp_path), "--dump-dom", aside.as_uri() + state]
        dumped = subprocess.run(command, check=True, capture_output=True, timeout=90, text=True).stdout
    finally:
        aside.unlink()
        aside.with_suffix(".js").unlink()
    return json.loads(html.unescape(re.search('<pre id="told">(.*?)</pre>', dumped)[1]))


LOOK = """
press("g");
const box = document.querySelector("#find input");
for (const text of %s) {
  box.value = text;
  box.dispatchEvent(new Event("input"));
  await wait(100);
  const found = [...document.querySelectorAll("#found a")].map((link) => [link.textContent, link.getAttribute("href")]);
  told.push([text, found, document.querySelector("#find [role=status]").textContent]);
}
"""


def test_the_search_finds_addresses_layers_and_labels_from_any_page(driven):
    exact, layer, number, label, plain, nothing = driven(
        "conv1/index.html", LOOK % '["FC8:3", "conv", "3", "script", "sohne", "no such thing"]'
    )
    assert [href for _, href in exact[1]] == ["../fc8/3.html"]
    assert layer[1] == [["conv1layer", "../conv1/index.html"]]
    assert [href for _, href in number[1]] == [
        "../fc8/3.html",
        "../conv1/3.html",
        "../mixed.3a/3.html",
    ]  # a class first
    assert [text for text, _ in label[1]] == ["</title><script>fc8:4"]  # a label is text, never markup
    assert [href for _, href in plain[1]] == ["../fc8/1.html"]  # Söhne
    assert nothing[1:] == [[], "Nothing is called “no such thing”."]


@pytest.mark.parametrize("page", ["index.html", "conv1/index.html", "conv1/0.html"])
def test_without_a_script_no_control_is_shown_that_would_do_nothing(driven, page):
    shown = """
const shown = () => [...document.querySelectorAll(".js")].filter((one) => getComputedStyle(one).display !== "none");
told.push(shown().length);
document.documentElement.classList.remove("scripted");
told.push(shown().map((one) => one.className));
"""
    with_script, without = driven(page, shown)
    assert with_script > 0 and without == []


def test_the_lens_shows_each_picture_in_turn_and_gives_the_place_back(driven):
    (tiles, first, second, closed) = driven(
        "conv1/0.html",
        """
const tiles = [...document.querySelectorAll(".closer")], lens = document.querySelector("#lens");
const words = (query) => lens.querySelector(query).textContent;
const wide = () => lens.querySelector(".tile").style.width;
const shown = () => [lens.open, lens.querySelector("img").alt, wide(), words(".small")];
await Promise.all(tiles.slice(0, 3).map((tile) => tile.querySelector("img").decode()));
told.push([tiles.length, 0]);
tiles[0].click();
told.push(shown());
press("ArrowRight");
press("ArrowRight");
told.push(shown());
lens.close();
lens.dispatchEvent(new Event("close")); // the browser's own comes with its next frame, for which nothing here waits
told.push([lens.open, document.activeElement === tiles[2]]);
""",
    )
    assert tiles[0] > 2
    assert first[0] and second[0] and first[1] != second[1]
    wide = int(re.search(r"(\d+) × \d+ pixels here", first[3])[1])
    assert re.search(r"sample \d+, seed \d+, activation \S+; \d+ × ", first[3])
    assert int(first[2].removesuffix("px")) % wide == 0  # each pixel is a square of whole pixels
    assert closed == [False, True]


@pytest.fixture(scope="module")
def long(mined_atlas, tmp_path_factory):
    """A site whose layers have pages of two units, in blocks and sprites of two."""
    folder = tmp_path_factory.mktemp("long") / "site"
    with pytest.MonkeyPatch.context() as patch:
        for module in ("outline", "pages.layer", "pages.unit"):
            patch.setattr(f"atlas_viewer.site.{module}.PAGE_UNITS", 2)
        for name in ("keys.BLOCK", "build.BLOCK", "montages.CELLS", "pages.layer.CELLS"):
            patch.setattr(f"atlas_viewer.site.{name}", 2)
        build(mined_atlas, folder)
    return folder


CHOOSE = """
const box = document.querySelector("#montage"), status = document.querySelector("#chosen");
const shown = () => [...box.children].map((unit) => unit.querySelector("b").textContent).join(" ");
const tell = async () => { await wait(200); told.push([shown(), status.textContent, location.hash]); };
const choose = async (name, value) => {
  const input = document.querySelector(`#choose [name=${name}]`);
  if (input.type === "checkbox") input.checked = value; else input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  await tell();
};
"""


def test_order_and_filter_reach_all_units_of_a_layer_and_stay_in_the_address(long, tmp_path):
    own, by_name, back, number, none, cleared = drive(
        long,
        tmp_path,
        "fc8/index-2.html",
        CHOOSE
        + """
await tell();
await choose("order", "label");
await choose("reverse", true);
await choose("label", "4");
await choose("label", "no such thing");
await choose("label", ""); await choose("reverse", false); await choose("order", "");
told.splice(5, 2);
""",
    )
    assert own == ["2 3", "", ""]  # as the page was written
    assert by_name == ["4 5 2 1 0 3", "6 of 6 units.", "#order=label"]
    assert back == ["3 0 1 2 5 4", "6 of 6 units.", "#order=label&reverse=1"]
    assert number == ["4", "1 of 6 units.", "#label=4&order=label&reverse=1"]
    assert none[:2] == ["", "No unit matches."]
    assert cleared == own


def test_an_address_that_chooses_units_shows_none_of_the_pages_own(long, tmp_path):
    script = """
const box = document.querySelector("#montage");
told.push(getComputedStyle(box).display);
await wait(300);
const tile = box.querySelector(".tile");
told.push(getComputedStyle(box).display, box.children.length, tile.dataset.sprite, tile.style.cssText);
"""
    before, after, *units = drive(long, tmp_path, "fc8/index-3.html", script, "#label=3&style=images")
    assert (before, after) == ("none", "grid")  # else a browser would load pictures that it does not show
    assert units == [1, "1", "--x: 1;"]  # the second unit of the second sprite


def test_an_address_chooses_units_of_all_pages_by_their_numbers_and_marks(long, mined_atlas, tmp_path):
    with Atlas(mined_atlas) as atlas:
        layer = atlas["fc8"]
        reached = [outline.furthest(layer.ascent.values(), row) for row in range(len(layer))]
        dead = layer.units[layer.statistics.dead].tolist()
    ((units, *_),) = drive(long, tmp_path, "fc8/index-3.html", CHOOSE + "await tell();", "#order=picture&style=images")
    assert units == " ".join(str(row) for row in sorted(range(6), key=lambda row: (-reached[row], row)))
    ((units, said, _),) = drive(long, tmp_path, "fc8/index.html", CHOOSE + "await tell();", "#show=dead")
    assert units == " ".join(map(str, dead)) and said == f"{len(dead)} of 6 units."
