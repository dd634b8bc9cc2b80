"""The table of all units: a row for each, with the numbers that the arrays and the tables of pictures have."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from swept_atlas import add_sweep

from atlas_viewer import extras
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError
from atlas_viewer.table import ratio

pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def opened(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        yield atlas


def test_each_unit_of_each_layer_has_a_row_in_order(opened):
    table = opened.units()
    expected = [(layer.name, unit.number, unit.label) for layer in opened for unit in layer]
    assert list(zip(table.layer, table.unit, table.label, strict=True)) == expected
    assert set(table.status) == {"ok", "failed"}
    assert table.status.tolist() == [status.name for layer in opened for status in layer.status]


def test_the_numbers_are_those_of_the_units(opened):
    for row in opened.units().to_dict("records"):
        unit = opened.unit(f"{row['layer']}:{row['unit']}")
        assert row["image_max"] == unit.stats.most and row["dead"] == unit.stats.dead
        assert row["active_images"] == unit.stats.active_images
        best = []
        for method, named in (("ascent", unit.ascent), ("dgn", unit.dgn)):
            for name, pictures in named.items():
                np.testing.assert_equal(row[f"{method}/{name}"], pictures.best)
                np.testing.assert_allclose(row[f"{method}/{name}:ratio"], ratio(pictures.best, unit.stats.most))
                best.append(pictures.best)
        np.testing.assert_equal(row["best"], np.nanmax(best) if np.isfinite(best).any() else np.nan)
        np.testing.assert_allclose(row["ratio"], ratio(row["best"], unit.stats.most))


def test_judges_have_columns_where_they_judged(opened):
    table = opened.units()
    shares = table["ascent/sparse:squeeze:top1_rate"]
    assert (shares[table.layer == "fc8"] == 1).all() and shares[table.layer != "fc8"].isna().all()
    assert (table["dgn/toy:squeeze:target_probability"][table.layer == "fc8"] == 0.875).all()


def test_without_a_dataset_dead_is_not_known(sound_atlas):
    with Atlas(sound_atlas) as atlas:
        table = atlas.units()
    assert table.dead.isna().all() and str(table.dead.dtype) == "boolean"
    assert table.image_max.isna().all() and table.ratio.isna().all()
    assert table.best.notna().sum() == len(table) - 1  # one unit failed


def test_settings_of_a_sweep_are_left_out(sound_atlas, tmp_path):
    path = Path(shutil.copy(sound_atlas, tmp_path / "atlas.h5"))
    with Atlas(path) as atlas:
        before = atlas.units()
    add_sweep(path, "fc8", judged=False)
    with Atlas(path) as atlas:
        assert atlas["fc8"].swept
        assert atlas.units().equals(before)


@pytest.mark.parametrize(
    ("package", "ask"),
    [
        ("pandas", lambda a: a.units()),
        ("pandas", lambda a: a["fc8"].to_pandas()),
        ("pandas", lambda a: a["fc8"].statistics.to_pandas()),
        ("pandas", lambda a: a["fc8"].tops().to_pandas()),
        ("xarray", lambda a: a["fc8"].to_xarray("sparse")),
        ("h5netcdf", lambda a: a.to_xarray()),
        ("matplotlib", lambda a: a.unit("fc8:0").figure()),
    ],
)
def test_a_missing_package_is_said_with_the_extra(opened, monkeypatch, package, ask):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else object())
    said = rf"{package} is not installed; install it with pip install 'visualization-atlas\[viewer\]'"
    with pytest.raises(MissingError, match=said):
        ask(opened)
