"""A sweep read back: rows in order of strength, ranks by the judge, and what is missing counts as nothing."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from swept_atlas import add_number, add_run_sweep, add_sweep

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.climb import SweepPlace
from atlas_viewer.sweep import Sweep
from atlas_viewer.validator import check


@pytest.fixture
def swept(write_atlas, tmp_path):
    """A function that writes the made-up atlas with a sweep of fc8 and opens it."""
    opened = []

    def write(**how) -> Sweep:
        write_atlas(tmp_path / "a.h5")
        add_sweep(tmp_path / "a.h5", "fc8", **how)
        opened.append(Atlas(tmp_path / "a.h5"))
        return Sweep(opened[-1]["fc8"])

    yield write
    for atlas in opened:
        atlas.close()


def test_the_made_up_sweep_is_sound(swept, tmp_path):
    swept()
    with h5py.File(tmp_path / "a.h5") as file:
        assert check(file) == []


def test_a_row_begins_without_any_regularizer_and_rises(swept):
    found = swept()
    assert [setting.name for setting in found.row("decay")] == ["none", "decay_1", "decay_2", "decay_3"]
    assert [setting.name for setting in found.row("norm")] == ["none", "norm_1", "norm_2"]
    assert found.row("decay")[2].place == SweepPlace("decay", 2, "low_frequency")
    assert found.layer.pictures("sparse").sweep is None


def test_draws_are_ranked_by_the_judge_and_not_by_the_network_itself(swept):
    found = swept(draws=5)
    assert found.judges == ("doodlenet", "squeeze") and found.judge == "squeeze"
    assert [setting.place.place for setting in found.draws] == [4, 3, 2, 1, 0]
    assert found.draws[0].scores["squeeze"].mean == pytest.approx(0.8)
    assert found.draws[0].scores["doodlenet"].mean == pytest.approx(0.2)


def test_without_a_judge_draws_keep_their_order(swept):
    found = swept(judged=False)
    assert found.judge is None
    assert [setting.place.place for setting in found.draws] == [0, 1, 2, 3]


def test_a_picture_that_is_not_there_counts_as_nothing(swept):
    scores = {setting.name: setting.scores["squeeze"] for setting in swept().settings}
    assert scores["decay_1"].mean == pytest.approx(0.25) and scores["decay_1"].first == 1
    assert scores["decay_2"].mean == pytest.approx(0.25 / 6) and scores["decay_2"].first == pytest.approx(1 / 6)
    assert scores["decay_3"].mean == 0


def test_units_that_nobody_asked_for_count_neither_way(swept):
    found = swept(units=2)
    assert found.units == (0, 1)
    assert {s.name: s.scores["squeeze"].mean for s in found.settings}["decay_2"] == pytest.approx(0.125)


def test_the_mean_activation_is_that_of_the_pictures_there(swept):
    found = {setting.name: setting.activation for setting in swept().settings}
    assert found["none"] == 10 and found["decay_2"] == 12 and np.isnan(found["decay_3"])


def test_the_words_name_every_number_that_decides(swept):
    words = swept().draws[0].override.split()
    assert words[:2] == ["styles=[low_frequency]", "style.low_frequency.name=like_random_003"]
    assert "style.low_frequency.blur_radius=3.5" in words and "style.low_frequency.step_end=0.4" in words
    assert not any("rate=" in word for word in words)  # scale_free does not read it


def test_a_number_of_the_table_takes_part_without_an_edit(swept, tmp_path):
    """A made-up regularizer with an axis of its own: in the rows, in the words, among the active numbers."""
    swept().layer.atlas.close()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        row = ("variation", "Total variation", "tv", "weight", "Smooths the picture.", "variation", "0.0", "", "")
        add_number(file, "ascent", row, {"contribution_1": 0.125, "contribution_2": 0.25})
        for name in ("contribution_1", "contribution_2"):
            file[f"layers/fc8/ascent/{name}"].attrs["sweep"] = "variation"
    with Atlas(tmp_path / "a.h5") as atlas:
        sweep = Sweep(atlas["fc8"], "ascent")
        assert list(sweep.axes) == ["decay", "blur", "norm", "contribution", "variation"]
        assert [setting.name for setting in sweep.row("variation")] == ["none", "contribution_1", "contribution_2"]
        last = sweep.row("variation")[-1]
        assert "style.low_frequency.variation=0.25" in last.override.split()
        assert last.active["variation"] == 0.25 and "variation" not in sweep.row("decay")[1].active


@pytest.fixture
def run_sweep(write_atlas, tmp_path):
    """The sweep of the runs of one prior in fc8."""
    write_atlas(tmp_path / "a.h5", mined=True, generated=True)
    add_run_sweep(tmp_path / "a.h5", "fc8")
    with Atlas(tmp_path / "a.h5") as atlas:
        yield Sweep(atlas["fc8"], "dgn")


def test_runs_are_swept_like_styles(run_sweep, tmp_path):
    with h5py.File(tmp_path / "a.h5") as file:
        assert check(file) == []
    layer = run_sweep.layer
    assert layer.swept == () and len(layer.swept_runs) == len(run_sweep.settings) == 7
    assert [setting.name for setting in run_sweep.row("sigmas")] == ["toy-none", "toy-sigmas_1", "toy-sigmas_2"]
    assert run_sweep.row("shrink")[1].place == SweepPlace("shrink", 1, "toy")
    assert Sweep(layer).settings == ()


def test_the_words_of_a_run_make_a_variant_of_its_prior(run_sweep):
    name = "+dgn.variants.like_sigmas_2."
    assert run_sweep.row("sigmas")[2].override.split() == [
        "priors=[toy]",
        *(f"{name}{word}" for word in ("iterations=20", "step_start=8.0", "sigmas=2.0", "clip=false", "shrink=1.0")),
        f"{name}bounded=true",
    ]
    none = run_sweep.row("sigmas")[0]
    assert "+dgn.variants.like_none.sigmas=null" in none.override.split() and none.active == {}


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda s: s["decay_1"].attrs.__delitem__("sweep_place"), "but attribute sweep_place is missing"),
        (lambda s: s["decay_1"].attrs.__setitem__("sweep_place", 2), "decay_2: has the place of decay_1"),
    ],
)
def test_a_place_that_is_missing_or_taken_is_named(swept, tmp_path, damage, fault):
    swept().layer.atlas.close()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        damage(file["layers/fc8/ascent"])
        assert any(fault in line for line in check(file)), check(file)
