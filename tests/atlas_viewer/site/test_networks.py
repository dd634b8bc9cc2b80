"""Several networks on one page: the same classes by name, whatever their numbers, and a folder that is whole."""

from __future__ import annotations

import h5py
import pytest
from pages import Page, broken, read

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import AtlasError, MissingError
from atlas_viewer.site import captions
from atlas_viewer.site.pages.networks import compare


@pytest.fixture
def two(write_atlas, tmp_path):
    """Two atlases; the second has its classes in reverse, other synonyms, one class of its own, and no run."""
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    write_atlas(paths[0], mined=True, generated=True)
    write_atlas(paths[1])
    with h5py.File(paths[1], "r+") as file:
        file.attrs["model"] = "other <net>"
        labels = file["layers/fc8/units/label"].asstr()[...].tolist()[::-1]
        labels[labels.index("tench, <i>Tinca</i>")] = "Tench, doctor fish"
        labels[labels.index("b")] = "only here"
        file["layers/fc8/units/label"][...] = labels
    return paths


def test_classes_are_matched_by_name_and_shown_with_their_numbers(two, tmp_path):
    shown = compare(two, tmp_path / "out")
    assert len(shown) == 5 and "b" not in shown and "only here" not in shown
    assert broken(tmp_path / "out") == []
    text = " ".join(Page(tmp_path / "out" / "index.html").text.split())
    with Atlas(two[0]) as first, Atlas(two[1]) as second:
        for atlas in (first, second):  # the second has no run, so both are shown by a style
            layer, climb = atlas["fc8"], atlas["fc8"].pictures("low_frequency")
            for row, label in enumerate(layer.labels):
                value = captions.number(float(climb.activation[row, climb.best_sample[row]]))
                assert (value in text) == (label not in ("b", "only here"))
    assert text.count("style low_frequency") == 3 and "run toy" not in text
    assert "other <net>" in text and "made with the style low_frequency and the same settings" in text


def test_networks_with_a_prior_in_common_are_shown_through_it(write_atlas, tmp_path):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        write_atlas(path, mined=True, generated=True)
    compare(paths, tmp_path / "out")
    text = " ".join(Page(tmp_path / "out" / "index.html").text.split())
    assert text.count("run toy, prior toy") == 2 and "made with the prior toy and the same settings" in text
    assert "squeeze: top-1 75.0" in text
    with h5py.File(paths[1], "r+") as file:  # the first one leads with toy, but the second does not have it
        for name in ("toy", "toy-unbounded"):
            del file["layers/fc8/dgn"][name]
        file["layers/fc8/dgn/toy <conv>"].attrs["step_start"] = 4.0
    compare(paths, tmp_path / "out")
    text = " ".join(Page(tmp_path / "out" / "index.html").text.split())
    assert text.count("run toy <conv>, prior toy <conv>") == 2 and "and the same settings" not in text
    assert "step_start 8" in text and "step_start 4" in text
    with h5py.File(paths[1], "r+") as file:
        file["layers/fc8/dgn/toy <conv>"].attrs["prior_digest"] = "e" * 64
    compare(paths, tmp_path / "out")
    text = " ".join(Page(tmp_path / "out" / "index.html").text.split())
    assert "run toy, prior toy" in text and "run toy <conv>, prior toy <conv>" in text  # each leads with its own
    assert "made in different ways" in text


def test_the_page_leads_to_the_pages_that_lie_beside_each_atlas(two, tmp_path):
    for name in ("index.html", "fc8/index.html", "fc8/0.html"):
        page = tmp_path / "with pages" / "site" / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<title>a page</title>")
    moved = two[0].rename(tmp_path / "with pages" / "atlas.h5")
    compare([moved, two[1]], tmp_path / "out")
    refers = Page(tmp_path / "out" / "index.html").refers
    lead = "../with%20pages/site/"
    assert [name for name in refers if name.startswith("..")] == [
        lead + "index.html",
        lead + "fc8/index.html",
        *(
            [lead + "fc8/0.html"]  # the only unit with a page; the other atlas has none
        ),
    ]
    assert broken(tmp_path / "out") == []


def test_the_page_is_the_same_again_and_replaces_itself(two, tmp_path):
    compare(two, tmp_path / "out")
    before = read(tmp_path / "out")
    compare(two, tmp_path / "out")
    assert read(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "out"]


def test_classes_can_be_named_or_drawn_in_a_smaller_number(two, tmp_path):
    assert compare(two, tmp_path / "out", ["空 sky", "TENCH"]) == ("空 sky", "tench, <i>Tinca</i>")
    drawn = compare(two, tmp_path / "out")
    assert compare(two, tmp_path / "out", count=2) == drawn[:2]


def test_what_cannot_be_compared_is_said(two, tmp_path):
    with pytest.raises(MissingError, match=r"class tenc: not in all of these atlases \(nearest: tench\)"):
        compare(two, tmp_path / "out", ["tenc"])
    with h5py.File(two[1], "r+") as file:
        file["layers/fc8/units/label"][...] = "nothing alike"
    with pytest.raises(MissingError, match="share no class; compare networks whose labels have names in common"):
        compare(two, tmp_path / "out")
    with h5py.File(two[1], "r+") as file:
        del file["layers/fc8"]
    with pytest.raises(MissingError, match="b.h5: no pictures of classes; ask for units of its class layer"):
        compare(two, tmp_path / "out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(AtlasError, match="thesis: holds something other than a site"):
        compare(two[:1], tmp_path / "thesis")
