"""Interpretability scores are read by judge and pictures, written as a table, and checked against their layer."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.interpretability import reading_order, write_tables
from atlas_viewer.evidence.scores import rank_correlation
from atlas_viewer.validator import check

PATH = "layers/fc8/interpretability/squeeze"


def test_scores_are_read_by_judge_and_pictures(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        assert atlas["conv1"].interpretability == {}
        scores = atlas["fc8"].interpretability["squeeze"]
        assert scores.pictures == ("natural", "natural_both", "noise", "ascent/sparse", "dgn/toy")
        assert np.allclose(scores.of_pictures("dgn/toy")[:2], [0.5, 0.49]) and np.isnan(
            scores.of_pictures("natural")[-1]
        )
        assert scores.mean("natural") == pytest.approx(0.88) and np.isnan(scores.mean("ascent/none"))
        assert scores.right("natural") == pytest.approx(0.75) and np.isnan(scores.right("ascent/none"))


def test_kinds_of_pictures_are_read_from_natural_ones_to_noise():
    kinds = ["noise", "dgn/a", "natural_both", "ascent/noise", "natural", "dgn/a"]
    assert reading_order(kinds) == ("natural", "natural_both", "ascent/noise", "dgn/a", "noise")


def test_the_table_has_a_line_for_each_unit_and_kind_of_pictures(generated_atlas, tmp_path):
    with Atlas(generated_atlas) as atlas:
        (path,) = write_tables(atlas["fc8"], tmp_path)
        assert list(write_tables(atlas["conv1"], tmp_path)) == []
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 5
    assert (lines[0]["judge"], lines[0]["pictures"], float(lines[0]["score"])) == (
        "squeeze",
        "natural",
        pytest.approx(0.9),
    )
    assert lines[-1]["score"] == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file[f"{PATH}/score"].__setitem__((0, 0), 1.5), f"/{PATH}/score: outside 0 to 1"),
        (lambda file: file[f"{PATH}/pictures"].__setitem__(3, "ascent/none"), "pictures 'ascent/none' are missing"),
        (lambda file: file[f"{PATH}/unit"].__setitem__(0, 7), "its units are not those of the layer"),
    ],
)
def test_contradictions_are_named(damaged, change, said):
    assert any(said in fault for fault in check(damaged(change, generated=True)))


def test_rank_correlation_of_known_arrays():
    rising = np.array([1.0, 2.0, 5.0, 90.0])
    assert rank_correlation(rising, rising**3) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(np.array([1, 2, 3, 4, 5]), np.array([2, 1, 4, 3, 5])) == pytest.approx(0.8)
    assert rank_correlation(np.array([1, 1, 2, 2]), np.array([1, 2, 2, 1])) == pytest.approx(0)
    assert np.isnan(rank_correlation(rising[:2], rising[:2])) and np.isnan(rank_correlation(rising, np.ones(4)))


@given(st.lists(st.integers(0, 5), min_size=3, max_size=20), st.integers(0, 99))
def test_rank_correlation_agrees_with_the_slow_obvious_way(values, seed):
    a, b = np.array(values, float), np.random.default_rng(seed).integers(0, 4, len(values)).astype(float)
    ranks = [
        [sum(other < one for other in x) + (sum(other == one for other in x) + 1) / 2 for one in x] for x in (a, b)
    ]
    if len({*a}) > 1 and len({*b}) > 1:
        assert rank_correlation(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_all_units_have_columns_of_scores_and_correlations(generated_atlas):
    pytest.importorskip("pandas")
    with Atlas(generated_atlas) as atlas:
        table = atlas.units()
        values, counts = atlas["fc8"].judge_correlations["squeeze"]
    classes = table[table.layer == "fc8"]
    assert classes["dgn/toy:squeeze:interpretability"].tolist()[:2] == pytest.approx([0.5, 0.49])
    assert table[table.layer == "conv1"]["natural:squeeze:interpretability"].isna().all()
    assert classes["squeeze:correlation"].tolist() == pytest.approx(values.tolist(), nan_ok=True)
    assert counts[0] == 4 and np.isfinite(values[0])  # two pictures of a style, two of a run
