"""How two atlases differ: nothing where they are the same, else which layers and units, and by how much."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.difference import compare, heads, numbers
from atlas_viewer.errors import MissingError
from atlas_viewer.seal import seal_all, seal_file
from atlas_viewer.site.pages.difference import write_page


@pytest.fixture
def changed(generated_atlas, tmp_path):
    """A function that copies an atlas, changes it as told, seals it again, and returns the path."""

    def change(how, name: str = "b.h5") -> Path:
        path = Path(shutil.copy(generated_atlas, tmp_path / name))
        with h5py.File(path, "r+") as file:
            how(file)
            seal_all(file)
        seal_file(path)
        return path

    return change


def lines_of(a: Path, b: Path, *given, **named):
    with Atlas(a) as first, Atlas(b) as second:
        return list(compare(first, second, *given, **named))


def differing(lines):
    return {(line.name, line.evidence): [unit.unit for unit in line.differing] for line in lines if not line.same}


def test_an_atlas_is_the_same_as_its_copy(generated_atlas, changed, tmp_path):
    copy = changed(lambda file: None)
    lines = lines_of(generated_atlas, copy)
    assert len(lines) > 10 and all(line.same for line in lines)
    unsealed = Path(shutil.copy(copy, tmp_path / "unsealed.h5"))
    with h5py.File(unsealed, "r+") as file:
        file.visititems(lambda _, each: each.attrs.pop("seal", None))
    read = lines_of(generated_atlas, unsealed)  # nothing is known from seals, all is read
    assert all(line.same for line in read)
    assert [(line.name, line.evidence, line.units) for line in read] == [
        (line.name, line.evidence, line.units) for line in lines
    ]


def test_an_activation_that_changes_is_found_with_its_size(generated_atlas, changed):
    def louder(file):
        values = file["layers/conv1/ascent/sparse/activation"]
        values[2] = values[2] + 4

    lines = lines_of(generated_atlas, changed(louder))
    assert differing(lines) == {("conv1", "ascent/sparse"): [2]}
    (line,) = [line for line in lines if not line.same]
    assert line.differing[0].difference == pytest.approx(4) and line.largest == pytest.approx(4)
    assert line.pictures == 0 and line.rows == ((2, 2),)
    assert differing(lines_of(generated_atlas, changed(louder), tolerance=0.9)) == {}


def test_a_picture_a_status_and_a_hit_that_change_are_found(generated_atlas, changed):
    def edit(file):
        file["layers/fc8/ascent/sparse/pixels_digest"][1, 0] += 1
        file["layers/fc8/dgn/toy/status"][3, 0] = 4
        image = file["layers/relu1/tops/largest/image"]
        image[0, 0] = abs(image[0, 0] - 1)
        file["layers/mixed.3a/statistics/dead"][1] = 1 - file["layers/mixed.3a/statistics/dead"][1]

    lines = lines_of(generated_atlas, changed(edit))
    assert differing(lines) == {
        ("fc8", "ascent/sparse"): [1],
        ("fc8", "dgn/toy"): [3],
        ("relu1", "tops/largest"): [0],
        ("mixed/3a", "statistics"): [3],
    }
    said = {line.evidence: line for line in lines if not line.same}
    assert said["dgn/toy"].differing[0].other_status == "never active"
    assert said["ascent/sparse"].pictures == said["tops/largest"].pictures == 1
    assert {said["statistics"].differing[0].status, said["statistics"].differing[0].other_status} == {"ok", "dead"}


def test_what_one_atlas_has_alone_differs(generated_atlas, changed):
    def drop(file):
        del file["layers/conv1/ascent/sparse"], file["layers/relu1"]

    for a, b in ((generated_atlas, changed(drop)), (changed(drop), generated_atlas)):
        lines = {(line.name, line.evidence): line for line in lines_of(a, b) if not line.same}
        assert set(lines) == {("conv1", "ascent/sparse"), ("relu1", "all")}
        counts = [(line.only_first, line.only_second) for line in lines.values()]
        assert counts == ([(5, 0), (4, 0)] if a == generated_atlas else [(0, 5), (0, 4)])


def test_classes_with_other_numbers_are_compared_by_label(generated_atlas, changed):
    def reorder(file):
        labels = file["layers/fc8/units/label"]
        labels[...] = labels[...][::-1]

    line = next(line for line in lines_of(generated_atlas, changed(reorder)) if line.evidence == "ascent/sparse"
                and line.name == "fc8")  # fmt: skip
    assert line.units == 6 and all(unit.other == 5 - unit.unit for unit in line.differing)


def test_two_settings_of_one_atlas(generated_atlas):
    lines = lines_of(generated_atlas, generated_atlas, ("sparse", "low_frequency"))
    assert [line.name for line in lines] == ["conv1", "mixed/3a", "fc8"]
    with Atlas(generated_atlas) as atlas:
        said = next(compare(atlas, atlas, ("sparse", "low_frequency")))
        assert list(numbers(said)) == [("blur_width", 0.5, 1.0)]
        for line in lines:
            for unit in line.differing:
                one = atlas.unit(f"{unit.layer}:{unit.unit}")
                best = [one.ascent[name].best for name in ("sparse", "low_frequency")]
                assert [unit.first, unit.second] == pytest.approx(best, nan_ok=True)
    with pytest.raises(MissingError, match=r"no style or run sparce \(nearest: sparse"):
        lines_of(generated_atlas, generated_atlas, ("sparce", "toy"))


def test_the_heads_say_what_was_compared(generated_atlas, sound_atlas):
    with Atlas(generated_atlas) as a, Atlas(sound_atlas) as b:
        assert dict((name, (one != other, other)) for name, one, other in heads(a, b)) == {"dataset": (True, "none")}


def test_the_page_has_every_line_and_the_table_every_unit(generated_atlas, changed, tmp_path):
    def louder(file):
        values = file["layers/conv1/ascent/sparse/activation"]
        values[...] = np.asarray(values) + 4

    b = changed(louder)
    with Atlas(generated_atlas) as first, Atlas(b) as second:
        lines = list(compare(first, second))
        write_page(first, second, lines, tmp_path / "page")
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 2 * 5 and "conv1, ascent/sparse" in text and "Two atlases compared" in text
    with (tmp_path / "page" / "units.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], int(row["unit"])) for row in rows] == [
        (unit.layer, unit.unit) for line in lines for unit in line.differing
    ]
    assert all(float(row["difference"]) == pytest.approx(4) for row in rows)


def test_the_page_of_two_settings_leads_to_the_pages_beside_the_atlas(write_atlas, tmp_path):
    folder = tmp_path / "own"
    (folder / "site" / "conv1").mkdir(parents=True)
    for name in ("index.html", "conv1/3.html"):
        (folder / "site" / name).write_text("<title>a page</title>")
    write_atlas(folder / "atlas.h5")
    with Atlas(folder / "atlas.h5") as atlas:
        write_page(atlas, atlas, list(compare(atlas, atlas, ("low_frequency", "sparse"))), tmp_path / "page")
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "Two settings compared" in text
    assert text.count('<a href="../own/site/index.html">') == 2  # of A and of B
    assert text.count('<a href="../own/site/conv1/3.html">conv1:3</a>') == 2
