"""Pictures of units in memory: their facts, their figure, and what is shown without matplotlib."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from atlas_viewer import extras, visualization
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError
from atlas_viewer.field import Status
from atlas_viewer.montage import stretch
from atlas_viewer.visualization import UnitPictures, Visualization


@pytest.fixture
def shown(sound_atlas) -> Visualization:
    """Every style and run of the units of conv1, some of whose pictures are missing."""
    with Atlas(sound_atlas) as atlas:
        layer = atlas["conv1"]
        climbs = [*map(layer.pictures, layer.styles), *map(layer.run, layer.runs)]
        return Visualization(atlas.cited, tuple(UnitPictures.of(unit, climb) for unit in layer for climb in climbs))


def test_the_arrays_are_those_of_the_atlas_and_outlive_it(shown, sound_atlas):
    with Atlas(sound_atlas) as atlas:
        for one in shown:
            unit = atlas.unit(one.address)
            climb = unit.layer.run(one.setting) if one.method == "dgn" else unit.layer.pictures(one.setting)
            np.testing.assert_array_equal(one.pixels, climb.pixels[unit.row])
            np.testing.assert_array_equal(one.activation, climb.activation[unit.row])
            assert (one.status, one.numbers, one.window) == (climb.status[unit.row], climb.numbers, unit.layer.window)
            assert (one.code is not None) == (one.method == "dgn")
            if one.code is not None:
                np.testing.assert_array_equal(one.best_code, climb.best_code[unit.row])


def test_every_picture_has_a_row_of_facts(shown):
    rows = shown.facts()
    assert len(rows) == sum(len(one.status) for one in shown)
    assert {row["method"] for row in rows} == {one.method for one in shown}
    row, one = rows[0], shown[0]
    assert (row["unit"], row["setting"], row["sample"]) == (one.address, one.setting, 0)
    assert (row["activation"], row["status"]) == (pytest.approx(one.activation[0], nan_ok=True), one.status[0].name)


def test_the_figure_has_a_row_for_each_setting_and_names_what_is_missing(shown):
    pytest.importorskip("matplotlib")
    axes = shown.figure().axes
    columns = max(len(one.status) for one in shown)
    assert len(axes) == columns * len(shown)
    for at, one in enumerate(shown):
        cells = axes[at * columns : (at + 1) * columns]
        assert cells[0].get_title(loc="left") == one.title
        for sample, status in enumerate(one.status):
            said = cells[sample].get_xlabel()
            assert (status is Status.ok) == (said == f"{one.activation[sample]:.4g}")
            assert status is Status.ok or status.name.replace("_", " ") in said
    assert any(status is not Status.ok for one in shown for status in one.status)


def test_pictures_of_styles_are_stretched_and_those_through_a_prior_are_not(shown):
    pytest.importorskip("matplotlib")
    one = next(one for one in shown if one.method == "ascent" and one.status[0] is Status.ok)
    np.testing.assert_array_equal(one.stretched, stretch(one.pixels, one.mean))
    for stretched, expected in ((True, one.stretched), (False, one.pixels)):
        (image,) = Visualization("", (one,)).figure(stretched=stretched).axes[0].images
        np.testing.assert_array_equal(image.get_array(), expected[0])


def test_a_notebook_gets_a_png(shown):
    pytest.importorskip("matplotlib")
    width, height = Image.open(io.BytesIO(shown._repr_png_())).size
    assert width > 100 and height > 100 * len(shown)


def test_without_matplotlib_the_text_names_the_extra(shown, monkeypatch):
    for module in (extras, visualization):
        monkeypatch.setattr(module, "installed", lambda package: False)
    assert shown._repr_png_() is None
    assert repr(shown).splitlines()[-1] == "for a figure: pip install 'visualization-atlas[viewer]'"
    with pytest.raises(MissingError, match=r"matplotlib is not installed; install it with pip install .*\[viewer\]"):
        shown.figure()


def test_the_text_has_a_line_for_each_setting(shown):
    lines = repr(shown).splitlines()
    assert lines[0] == shown.cited
    for line, one in zip(lines[1:], shown, strict=False):
        assert line.startswith(f"{one.title}: ") and one.measure in line
        assert all(status is Status.ok or status.name in line for status in one.status)
