"""Hits of a unit: patches are the image's pixels in their frame, back-projections are numbers again."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from mined_atlas import MAXIMA, image_pixels

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError


@pytest.fixture
def atlas(mined_atlas):
    with Atlas(mined_atlas) as opened:
        yield opened


@pytest.fixture
def pointers(write_atlas, tmp_path):
    write_atlas(tmp_path / "a.h5", mined=True, pixels="pointers")
    with Atlas(tmp_path / "a.h5") as opened:
        yield opened


def test_an_atlas_without_a_dataset_says_so(sound_atlas):
    with Atlas(sound_atlas) as atlas:
        assert atlas.dataset is None and atlas["conv1"].kinds == () and atlas["conv1"].statistics is None
        with pytest.raises(MissingError, match="layer conv1: no hits of kind largest; it has none"):
            atlas["conv1"].tops()


def test_a_kind_that_is_not_there_is_said_with_the_near_match(atlas):
    with pytest.raises(MissingError, match=r"no hits of kind largets \(nearest: largest\); it has largest, quantile"):
        atlas.unit("conv1:0").tops("largets")
    with pytest.raises(MissingError, match=r"no back-projection gradients \(nearest: gradient\); it has deconvnet"):
        atlas.unit("conv1:0").tops().back_projection("gradients")
    with pytest.raises(MissingError, match="conv1, smallest hits: no back-projection gradient; it has none"):
        atlas.unit("conv1:0").tops("smallest").back_projection("gradient")


def test_the_dataset_is_described(atlas):
    dataset = atlas.dataset
    assert (dataset.name, dataset.images, dataset.waiting) == ("odd <photos>", 16, 3)
    assert dataset.skipped == (("a/cut.jpg", "the file ends early"), ("<b>.png", "the file is empty"))
    assert [dataset.class_name(label) for label in (-1, 1, 2, 9)] == ["", "Schäferhund & Söhne", "class 2", "class 9"]


def test_a_hit_names_its_image_and_its_place_in_the_original(atlas):
    hit = atlas.unit("conv1:1").tops("largest").hits[1]
    assert (hit.row, hit.number, hit.key, hit.label, hit.class_name) == (14, 140, "n14/<i>14.jpg", 2, "class 2")
    assert hit.window == (4, 6, 9, 11)
    assert hit.original == (18, 44, 28, 64)  # the input begins at row 10, column 20; two rows, four columns a pixel
    assert hit.activation == np.float32(MAXIMA[14]) and hit.quantile is None
    assert [hit.quantile for hit in atlas.unit("conv1:1").tops("quantile").hits] == [1, 0.5, 0]


@pytest.mark.parametrize("address", ["conv1:1", "mixed/3a:3", "fc8:2"])
def test_a_patch_is_the_image_in_its_window_and_nothing_outside(atlas, address):
    found = atlas.unit(address).tops("largest")
    images = image_pixels()
    for hit, patch in zip(found.hits, found.patches, strict=True):
        y, x = found.tops.frame[found.row, hit.rank]
        for row, column in np.ndindex(patch.shape[:2]):
            top, left, bottom, right = hit.window
            if top <= y + row < bottom and left <= x + column < right:
                assert patch[row, column].tolist() == [*images[hit.row, y + row, x + column], 255]
            else:
                assert patch[row, column].tolist() == [0, 0, 0, 0]
    assert (found.patches[..., 3] == 0).any() == (address != "fc8:2")


def test_a_unit_without_hits_has_none_and_its_patches_are_transparent(atlas):
    found = atlas.unit("conv1:4").tops()
    assert len(found) == 0 and found.labels == () and not found.patches.any()
    assert np.isnan(found.activation).all() and np.isnan(found.back_projection("gradient")).all()


def test_a_back_projection_is_inverted_from_its_bytes(atlas):
    found = atlas.unit("conv1:1").tops()
    signal = found.back_projection("deconvnet")
    assert signal.dtype == np.float32 and signal.shape == (3, 5, 5, 3)
    assert (signal[1, :, :, 0] == 0.25 * np.arange(5)).all()
    assert (signal[0, :2] == 0).all()  # outside the image
    assert np.isnan(atlas.unit("conv1:0").tops().back_projection("deconvnet")[2]).all()


def test_a_position_that_sees_nothing_but_padding_has_an_empty_patch(damaged, tmp_path):
    def away(file):
        file["layers/conv1/tops/largest/frame"][0, 0] = -20, 0
        file["layers/conv1/tops/largest/window"][0, 0] = 0, 0, 0, 5

    damaged(away, mined=True).close()
    with Atlas(tmp_path / "atlas.h5") as atlas:
        assert not atlas["conv1"].tops().patch(0, 0).inside.any()


def test_pointers_have_everything_but_pixels(pointers):
    found = pointers.unit("conv1:1").tops()
    assert found.keys[0] == "n15/<i>15.jpg" and found.back_projection("guided").any()
    with pytest.raises(MissingError, match="odd <photos>: .* no pixels; fill them in .* with make pixels"):
        _ = found.patches


def test_statistics_are_read_by_unit(atlas):
    statistics = atlas["conv1"].statistics
    assert statistics.most.tolist() == [40, 40, 40, 40, 0]
    assert statistics.redundant_unit.tolist() == [1, 0, -1, -1, -1]
    assert statistics.dead.tolist() == [False] * 4 + [True]
    assert statistics.deviation[0] == pytest.approx(MAXIMA.std())
    assert statistics["position_count"].tolist() == [16] * 5 and statistics.get("not_a_number") is None
    with pytest.raises(KeyError):
        statistics["not_a_number"]


def test_the_most_selective_classes_come_first_and_empty_ones_not_at_all(atlas):
    found = atlas["conv1"].statistics.selective_classes(0, 9)
    assert [number for number, _ in found] == [3, 1, 0]
    assert [mean for _, mean in found] == pytest.approx([MAXIMA[n::4].mean() for n in (3, 1, 0)], rel=1e-6)


def test_every_layer_exports_what_it_has(atlas, tmp_path):
    names = [path.name for path in atlas.to_csv(tmp_path)]
    assert names[:3] == ["conv1.csv", "conv1.tops.csv", "conv1.statistics.csv"]
    assert names[3:5] == ["relu1.tops.csv", "relu1.statistics.csv"]
    with (tmp_path / "conv1.tops.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 3 * 3
    assert (lines[1]["key"], lines[1]["original_left"], lines[1]["quantile"]) == ("n14/<i>14.jpg", "44.0", "")
    with (tmp_path / "conv1.statistics.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["dead"], last["redundant_unit"], last["redundant_correlation"]) == ("True", "-1", "")


def test_pictures_are_compared_with_the_best_image(atlas, tmp_path):
    with atlas["conv1"].to_csv(tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        first, *_, last = csv.DictReader(file)
    assert float(first["ratio"]) == pytest.approx(float(first["activation"]) / 40)
    assert last["image_max"] == "0.0" and last["ratio"] == ""


def test_pandas_has_the_columns_of_the_exports(atlas, tmp_path):
    pandas = pytest.importorskip("pandas")
    for table in (atlas["fc8"].statistics, atlas["fc8"].tops("class")):
        read = pandas.read_csv(table.to_csv(tmp_path / "a.csv"))
        assert list(table.to_pandas().columns) == list(read.columns)
