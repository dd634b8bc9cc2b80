"""The figure of a unit, and what notebooks show of a unit and of an atlas."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from atlas_viewer.atlas import Atlas
from atlas_viewer.montage import stretch
from atlas_viewer.notebook_view import SIDE
from atlas_viewer.unit_figure import unit_rows


@pytest.fixture(scope="module")
def opened(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        yield atlas


def test_a_unit_has_a_row_for_each_setting_and_kind_of_hits(opened):
    unit = opened.unit("fc8:3")
    rows = {row.title: row for row in unit_rows(unit, 2)}
    named = [*unit.ascent, *unit.dgn, *unit.layer.kinds]
    assert [name for name in named if not any(title.startswith(name) for title in rows)] == []
    for row in rows.values():
        assert 1 <= len(row.captions) == len(row.pictures) <= 2
        assert row.pictures.dtype == np.uint8 and row.pictures.shape[-1] == 3
    style = next(row for title, row in rows.items() if title.startswith("sparse"))
    pictures = unit.ascent["sparse"]
    np.testing.assert_array_equal(style.pictures, stretch(pictures.images, opened.mean))
    assert style.captions == tuple(f"{value:.4g}" for value in pictures.activation)


def test_a_missing_picture_is_hatched_and_says_why(opened):
    row = next(iter(unit_rows(opened.unit("mixed/3a:3"), 3)))
    assert set(row.captions) == {"failed"} and len(np.unique(row.pictures)) == 2


def test_the_figure_ends_with_the_distribution(opened):
    pytest.importorskip("matplotlib")
    unit = opened.unit("fc8:3")
    figure = unit.figure(samples=2)
    last = figure.axes[-1]
    assert "share below" in last.get_title(loc="left")
    drawn = [line.get_xdata()[0] for line in last.lines[1:]]
    assert drawn == [pictures.best for named in (unit.ascent, unit.dgn) for pictures in named.values()]
    assert figure.get_suptitle().startswith(unit.citation)


def test_a_notebook_shows_small_pictures_and_escaped_words(opened):
    unit = opened.unit("fc8:0")
    shown = unit._repr_html_()
    assert "tench, &lt;i&gt;Tinca&lt;/i&gt;" in shown and "<i>" not in shown
    data = re.findall(r"src='data:image/png;base64,([^']+)'", shown)
    assert len(data) == len([row for row in unit_rows(unit, 6) if row.captions])
    for each in data:
        assert Image.open(io.BytesIO(base64.b64decode(each))).height <= SIDE


def test_a_notebook_shows_a_row_for_each_layer(opened):
    shown = opened._repr_html_()
    assert shown.count("<tr>") == 1 + len(opened.layers)
    assert all(f">{layer.name}</td>" in shown for layer in opened)


def test_a_closed_atlas_is_shown_as_closed(generated_atlas):
    atlas = Atlas(generated_atlas)
    atlas.close()
    assert atlas._repr_html_() == f"<div><b>atlas {generated_atlas}: closed</b></div>"
