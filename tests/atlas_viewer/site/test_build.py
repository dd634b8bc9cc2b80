"""The pages: links resolve, nothing is remote, a rerun changes no byte, and only what changed is drawn."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import h5py
import numpy as np
import pytest
from pages import CHROMIUM, Page, broken, browser, has_text, is_lazy, is_local, read

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import AtlasError
from atlas_viewer.seal import seal_all, seal_file
from atlas_viewer.site import outline
from atlas_viewer.site.build import _blocks, _pixels, build

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(sound_atlas, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    build(sound_atlas, out)
    return out


def test_a_build_says_what_it_did(sound_atlas, tmp_path):
    reported = []
    summary = build(sound_atlas, tmp_path / "site", progress=lambda done, of: reported.append((done, of)))
    assert (summary.layers, summary.units, summary.failed) == (3, 15, 1)
    assert summary.rebuilt == ("conv1", "mixed/3a", "fc8")
    assert summary.pages == 1 + 3 + 15
    assert summary.files == len(read(tmp_path / "site"))
    assert reported == [(n, 12) for n in range(1, 13)]


@pytest.mark.slow
def test_processes_that_draw_end_with_the_one_that_started_them(sound_atlas, tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom atlas_viewer.site import build\n"
        "def draw(*_):\n    yield from ()\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n    build.as_completed = draw\n"
        "    build.build(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)\n"
    )
    (tmp_path / "program.py").write_text(program)
    words = [sys.executable, str(tmp_path / "program.py"), str(sound_atlas), str(tmp_path / "site")]
    run = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)})
    children: list[int] = []
    while len(children) < 3:  # with the one that looks after resources
        assert run.poll() is None
        time.sleep(0.1)
        children = [
            int(pid) for path in Path(f"/proc/{run.pid}/task").glob("*/children") for pid in path.read_text().split()
        ]
    time.sleep(2)  # they draw, and wait for more
    run.kill()
    run.wait()
    for _ in range(600):
        left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
        if not left:
            break
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def test_every_unit_has_a_page_at_its_permanent_address(site):
    assert {path.stem for path in (site / "mixed.3a").glob("*.html")} == {"index", "2", "3", "5", "7"}
    assert (site / "index.html").is_file() and (site / "fc8" / "5.html").is_file()


def test_every_reference_leads_to_a_file_and_every_anchor_to_an_element(site):
    assert broken(site) == []


def test_a_moved_site_is_whole(site, tmp_path):
    moved = tmp_path / "elsewhere & far" / "pages"
    shutil.copytree(site, moved)
    assert broken(moved) == []


def test_every_page_is_reached_from_the_first(site):
    seen, waiting = set(), [site / "index.html"]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            links = [found["href"] for tag, found in Page(path).tags if tag == "a"]
            waiting += [(path.parent / unquote(urlsplit(link).path)).resolve() for link in links if urlsplit(link).path]
    assert seen == set(site.rglob("*.html"))


def test_nothing_is_fetched_from_elsewhere(site):
    for name, data in read(site).items():
        if Path(name).suffix in (".html", ".css", ".js"):
            text = data.decode()
            assert is_local(text), name


def test_pages_keep_their_budgets(site):
    assert (site / "index.html").stat().st_size <= 1_000_000
    for path in site.rglob("*.html"):
        assert path.stat().st_size <= 1_500_000
        if path.name.startswith("index") and path.parent != site:
            assert sum(tag == "a" and "id" in found for tag, found in Page(path).tags) <= 200


def test_pictures_are_lazy_and_have_a_size_and_a_text(site):
    for path in site.rglob("*.html"):
        assert all(is_lazy(image, path) and has_text(image) for image in Page(path).images)


def test_labels_are_text_and_never_markup(site):
    page = Page(site / "fc8" / "4.html")
    assert "</title><script>" in page.text
    assert [found.get("src") for tag, found in page.tags if tag == "script"] == ["../static/atlas.js"]
    for path in site.rglob("*.html"):
        tags = Page(path).tags
        assert not any("onload" in found for _, found in tags)
        assert not any(tag == "i" and found == {"class": None} for tag, found in tags)
    assert {"tench", "<i>Tinca</i>"} <= set(Page(site / "fc8" / "0.html").text.splitlines())
    assert [found["data-more"] for _, found in Page(site / "index.html").tags if "data-more" in found] == [
        "<i>Tinca</i>"
    ]
    assert "name: <b>bold</b>" in Page(site / "index.html").text


def test_a_picture_that_is_not_there_says_why(site):
    page = Page(site / "mixed.3a" / "3.html")
    assert "its computation failed: the <gradient> overflowed" in page.text
    assert page.images == []
    assert "the <gradient> overflowed" in Page(site / "index.html").text
    assert "the picture never activated the unit" in Page(site / "conv1" / "4.html").text


def test_a_unit_page_says_what_was_maximised_and_what_was_measured(site, sound_atlas):
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.site import captions

    text = Page(site / "fc8" / "1.html").text
    assert "Schäferhund & Söhne" in text
    assert "Maximized: value of fc8, before its ReLU, at row 3, column 3. The picture is its receptive field." in text
    assert "doodlenet@0123456789ab:fc8:1" in text
    assert "squeeze: Schäferhund & Söhne; target class: 75.0\N{NARROW NO-BREAK SPACE}%, rank 1" in text
    assert "top-1 50.0\N{NARROW NO-BREAK SPACE}%" in text
    with Atlas(sound_atlas) as atlas:
        for style in atlas["fc8"].styles:
            pictures = atlas["fc8"].pictures(style)
            for sample in range(pictures.samples):
                assert f"{pictures.activation[1, sample]:.2f}" in text
            assert captions.start(pictures.seed, 0) in text


def test_a_window_outside_the_image_is_said(site):
    assert "1 top, outside the image" in Page(site / "mixed.3a" / "2.html").text


def test_a_rerun_gives_the_same_bytes_with_any_number_of_workers(site, sound_atlas, tmp_path):
    build(sound_atlas, tmp_path / "one")
    build(sound_atlas, tmp_path / "two", workers=2)
    assert read(tmp_path / "one") == read(site)
    assert read(tmp_path / "two") == read(site)


def test_only_what_changed_is_drawn_and_the_result_is_that_of_a_full_build(write_atlas, tmp_path):
    atlas, out = tmp_path / "a.h5", tmp_path / "site"
    write_atlas(atlas)
    build(atlas, out)
    kept = (out / "conv1" / "0.html").stat().st_ino
    assert build(atlas, out).rebuilt == ()
    write_atlas(atlas, change="mixed/3a")
    assert build(atlas, out).rebuilt == ("mixed/3a",)
    assert (out / "conv1" / "0.html").stat().st_ino == kept or not hasattr(os, "link")
    build(atlas, tmp_path / "full")
    assert read(out) == read(tmp_path / "full")


def test_blocks_with_many_pixels_come_before_those_with_few(mined_atlas):
    with Atlas(mined_atlas) as atlas:
        pages = outline.Outline(atlas)
        ordered = sorted(_blocks(pages), key=lambda block: -_pixels(pages, block))
    assert [block.layer for block in ordered[:4]] == ["fc8", "mixed/3a", "conv1", "relu1"]
    assert all(block.name == "units-0" for block in ordered[:4]) and all(block.page for block in ordered[4:])


def _change(atlas: Path, dataset: str, at: object, value: float) -> None:
    """Change a value of an atlas, as a merge would: seals cover it."""
    with h5py.File(atlas, "r+") as file:
        file[dataset][at] = value
        seal_all(file)
    seal_file(atlas)


def test_one_picture_more_draws_its_block_and_the_layers_pages_alone(write_atlas, tmp_path, monkeypatch):
    for name in ("keys.BLOCK", "build.BLOCK", "montages.CELLS", "pages.layer.CELLS"):
        monkeypatch.setattr(f"atlas_viewer.site.{name}", 2)
    atlas, out = tmp_path / "a.h5", tmp_path / "site"
    write_atlas(atlas)
    _change(atlas, "layers/fc8/ascent/low_frequency/activation", slice(2, 4), np.nan)  # units without a picture
    build(atlas, out)
    before = {path: path.stat().st_ino for path in (out / "fc8").iterdir()}
    _change(atlas, "layers/fc8/ascent/low_frequency/activation", (3, 0), 77)
    assert build(atlas, out).rebuilt == ("fc8",)
    drawn = {path.name for path, node in before.items() if path.stat().st_ino != node}
    assert {"2.html", "3.html", "index.html"} <= drawn and drawn.isdisjoint({"0.html", "1.html", "4.html", "5.html"})
    build(atlas, tmp_path / "full")
    assert read(out) == read(tmp_path / "full")


def test_every_page_has_a_policy_that_allows_its_own_files_alone(site):
    for path in site.rglob("*.html"):
        policy = [found["content"] for tag, found in Page(path).tags if found.get("http-equiv")]
        assert len(policy) == 1 and policy[0].startswith("default-src 'none'; script-src 'self';")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "0.html").unlink(),
        lambda folder: (folder / "0.html").write_text("cut"),
        lambda folder: (folder / ".keys").write_text(""),
        lambda folder: (folder / ".keys").write_text('{"units-0": 3}'),
        lambda folder: (folder / ".keys").write_bytes(b"\xff\xfe\n"),
    ],
)
def test_a_spoilt_layer_is_drawn_anew(sound_atlas, tmp_path, spoil):
    out = tmp_path / "site"
    build(sound_atlas, out)
    whole = read(out)
    spoil(out / "conv1")
    assert build(sound_atlas, out).rebuilt == ("conv1",)
    assert read(out) == whole


def test_a_folder_of_other_things_is_left_alone(sound_atlas, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(AtlasError, match="thesis: holds something other than a site; name another folder"):
        build(sound_atlas, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_a_build_that_fails_leaves_the_old_site(site, sound_atlas, tmp_path, monkeypatch):
    out = tmp_path / "site"
    shutil.copytree(site, out)
    before = read(out)
    monkeypatch.setattr("atlas_viewer.site.pages.index.IndexPage.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(sound_atlas, out)
    assert read(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_long_layer_gets_several_pages_that_lead_to_each_other(sound_atlas, tmp_path, monkeypatch):
    for module in ("outline", "pages.layer", "pages.unit"):
        monkeypatch.setattr(f"atlas_viewer.site.{module}.PAGE_UNITS", 2)
    for name in ("keys.BLOCK", "build.BLOCK", "montages.CELLS", "pages.layer.CELLS"):
        monkeypatch.setattr(f"atlas_viewer.site.{name}", 2)
    build(sound_atlas, tmp_path / "site")
    folder = tmp_path / "site" / "fc8"
    assert {path.name for path in folder.glob("index*.html")} == {
        "index.html",
        "index-2.html",
        "index-3.html",
    }
    assert broken(tmp_path / "site") == []
    assert "index-2.html#u3" in Page(folder / "3.html").refers
    assert {"0.html", "5.html"}.isdisjoint(Page(folder / "index-2.html").refers)
    names = (folder / "units.js").read_text()
    assert json.loads(names.removeprefix("atlasUnits(").removesuffix(");\n"))["labels"][4] == "</title><script>"


def test_of_many_classes_the_first_page_lists_some_and_the_search_has_all(sound_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas_viewer.site.pages.index.CLASSES", 2)
    build(sound_atlas, tmp_path / "site")
    page = Page(tmp_path / "site" / "index.html")
    assert len(re.findall(r'<a href="fc8/\d\.html"[^>]*><i>', page.path.read_text())) == 2
    assert "The first 2; 4 more are on the pages of their layer." in page.text
    names = (tmp_path / "site" / "find.js").read_text(encoding="utf-8")
    (layer,) = (one for one in json.loads(names.removeprefix("atlasFind(").removesuffix(");\n")) if one[0] == "fc8")
    assert layer[2] == 6 and layer[3][4] == "</title><script>"


def test_a_layer_that_has_no_pictures_yet_still_has_its_pages(damaged, tmp_path):
    file = damaged(lambda file: file.__delitem__("layers/conv1/ascent"))
    file.close()
    assert build(tmp_path / "atlas.h5", tmp_path / "site").layers == 3
    assert broken(tmp_path / "site") == []
    assert "no pictures" in Page(tmp_path / "site" / "index.html").text


def test_folders_of_layers_are_safe_and_one_to_one():
    names = ["conv1", "a b", "a=20b", "a%20b", "static", "Static", "ü", 'x"<y>', "=73tatic"]
    folders = [outline.safe(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._~+=-]+", folder) for folder in folders)
    assert "static" not in [folder.casefold() for folder in folders]


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at hand")
def test_a_browser_shows_the_first_page_and_its_pictures(site, tmp_path):
    from PIL import Image

    shot = tmp_path / "shot.png"
    command = browser(tmp_path)
    command += [f"--screenshot={shot}", "--window-size=1000,1400", (site / "fc8" / "index.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=90)
    colours = Image.open(shot).convert("RGB").getcolors(1 << 20)
    assert len(colours) > 500  # a page without its pictures has a few shades of paper and ink


def test_a_build_that_is_stopped_draws_nothing_more(write_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas_viewer.site.build.BLOCK", 1)
    monkeypatch.setattr("atlas_viewer.site.keys.BLOCK", 1)
    path, drawn = tmp_path / "a.h5", []
    write_atlas(path)

    def stop(done: int, of: int) -> None:
        drawn.append((done, of))
        raise KeyboardInterrupt

    cancelled = []
    shutdown = ProcessPoolExecutor.shutdown
    monkeypatch.setattr(
        ProcessPoolExecutor,
        "shutdown",
        lambda pool, wait=True, *, cancel_futures=False: (
            cancelled.append(cancel_futures),
            shutdown(pool, wait, cancel_futures=cancel_futures),
        )[-1],
    )
    with pytest.raises(KeyboardInterrupt):
        build(path, tmp_path / "site", workers=2, progress=stop)
    assert len(drawn) == 1 and drawn[0][1] > 4
    assert True in cancelled
