"""What learned priors found, read back: runs with their codes, pairs, memorisation, priors."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from generated_atlas import ACTIVATIONS, CARD, CODE, PAIRS, SPACES

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError
from atlas_viewer.format import Status


@pytest.fixture
def atlas(generated_atlas):
    with Atlas(generated_atlas) as opened:
        yield opened


def test_an_atlas_without_priors_says_so(sound_atlas):
    with Atlas(sound_atlas) as atlas:
        assert (atlas.priors, atlas.combinations, atlas.memorisation, atlas["fc8"].runs) == ({}, {}, {}, ())
        with pytest.raises(MissingError, match="layer fc8: no run toy; it has none"):
            atlas["fc8"].run("toy")


def test_a_run_that_is_not_there_is_said_with_the_near_match(atlas):
    assert set(atlas["fc8"].runs) == {"toy", "toy-unbounded", "toy <conv>"}
    with pytest.raises(MissingError, match=r"layer fc8: no run toy-bounded \(nearest: toy-unbounded"):
        atlas.unit("fc8:1").run("toy-bounded")


def test_last_and_best_iterate_are_told_apart(atlas):
    run = atlas["fc8"].run("toy")
    assert (run.name, run.prior, run.samples, run.size) == ("toy", "toy", 2, (24, 24))
    assert np.array_equal(run.there, np.isfinite(run.activation)) and not run.there[-1, -1]
    there = run.there
    assert np.allclose(run.best_activation[there], run.activation[there] + 2)
    assert np.allclose(run.best_activation_float[there], run.activation[there] + 2.25)
    assert run.best_sample[0] == run.activation[0].argmax() and run.best_sample[-1] == 0
    assert run.reason[-1] == "the <code> overflowed"
    assert run.numbers == {"bounded": True, "iterations": 20, "step_start": 8.0}
    unit = atlas.unit("fc8:1").run("toy")
    assert not np.array_equal(unit.pixels, unit.best_pixels)
    assert np.array_equal(unit.pixels, run.pixels[1]) and unit.status == (Status.ok, Status.ok)
    assert unit.code.shape == unit.best_code.shape == (2, CODE)
    assert np.allclose(np.linalg.norm(unit.code, axis=1), run.code_norm[1])
    assert unit.trace[1].shape == (2, 5)


def test_a_judge_is_asked_about_runs_and_styles_alike(atlas):
    layer = atlas["fc8"]
    assert layer.scores("squeeze", "toy").rates["top1_rate"] == 0.75
    assert layer.scores("squeeze", "sparse").rates["top1_rate"] == 0.5
    assert layer.scores("squeeze", "toy-unbounded") is None
    assert [scores.judge for scores in layer.judged(layer.run("toy"))] == ["squeeze"]


def test_a_pair_has_the_activation_of_both_units(atlas):
    assert set(atlas.combinations) == set(ACTIVATIONS)
    for name, (first, second) in ACTIVATIONS.items():
        pairs = atlas.combinations[name]
        assert (pairs.layer, pairs.prior, len(pairs), pairs.samples) == ("fc8", "toy", len(PAIRS), 1)
        assert pairs.member_unit.tolist() == [list(pair) for pair in PAIRS]
        assert pairs.member_activation[0, 0].tolist() == [first, second]
        assert pairs.there.all() and np.allclose(pairs.ratio, second / first)
    assert atlas.combinations["pairs"].balance == 0.5 and atlas.combinations["pairs-unbalanced"].balance == 0
    assert atlas.combinations["pairs"].member_label[1] == (atlas["fc8"].labels[2], atlas["fc8"].labels[5])


def test_the_ratio_of_a_combination_leaves_out_places_without_a_unit(damaged):
    def three(file):
        file["combinations/pairs/member_unit"][0, 1] = -1
        file["combinations/pairs/member_activation"][0, 0, 1] = np.nan
        file["combinations/pairs/member_activation"][1, 0] = (-1, -2)
        file["combinations/pairs/member_activation"][2, 0] = (np.nan, np.nan)

    file = damaged(three, mined=True, generated=True)
    path = file.filename
    file.close()
    with Atlas(path) as atlas:
        pairs = atlas.combinations["pairs"]
        assert pairs.there[:, 0].tolist() == [True, True, False]
        assert pairs.ratio[0, 0] == 1 and np.isnan(pairs.ratio[1:, 0]).all()


def test_a_memorisation_test_names_images_of_the_dataset(atlas):
    test = atlas.memorisation["toy"]
    assert (test.run, test.layer, test.spaces) == ("toy", "fc8", SPACES)
    assert test.nearest.shape == test.distance.shape == (3, 2, len(SPACES))
    assert (test.row(2), test.row(5)) == (2, None)
    assert (test.nearest[1] == -1).all() and np.isnan(test.distance[1]).all()
    assert atlas.dataset.pixels(int(test.nearest[2, 1, 2])).shape == (24, 24, 3)


def test_a_prior_has_its_card(atlas):
    prior = atlas.priors["toy <conv>"]
    assert (prior.network, prior.code_layer, prior.code_shape, prior.size) == ("doodlenet", "conv1", (CODE,), (32, 32))
    assert prior.card == CARD and prior.mean.tolist() == list(range(CODE)) and prior.licence == "MIT"


def test_tables_of_runs_have_a_line_a_picture(atlas, tmp_path):
    written = {path.name for path in atlas.to_csv(tmp_path)}
    assert {"conv1.runs.csv", "mixed.3a.runs.csv", "fc8.runs.csv"} <= written
    assert "relu1.runs.csv" not in written
    with (tmp_path / "fc8.runs.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * (2 + 1 + 1)
    line, run = lines[0], atlas["fc8"].run(lines[0]["run"])
    assert (line["unit"], line["sample"], line["status"]) == ("0", "0", "ok")
    assert float(line["best_activation"]) == run.best_activation[0, 0]
    assert float(line["code_norm"]) == run.code_norm[0, 0]
    assert float(line["ratio"]) == pytest.approx(run.activation[0, 0] / float(line["image_max"]))
    judged = {line["run"]: line["squeeze:target_rank"] for line in lines if line["unit"] == "1"}
    assert judged == {"toy": "0", "toy-unbounded": "", "toy <conv>": ""}
    missing = [line for line in lines if line["status"] == "failed"]
    assert len(missing) == 3 and {line["activation"] for line in missing} == {""}


def test_a_run_is_given_to_xarray_with_its_codes(atlas):
    pytest.importorskip("xarray")
    data = atlas["fc8"].to_xarray("toy")
    assert data["code"].dims == ("unit", "sample", "entry") and data["best_pixels"].shape == (6, 2, 24, 24, 3)
    assert data.attrs["run"] == "toy" and data.attrs["step_start"] == 8.0
    assert np.array_equal(data["code_norm"].values, atlas["fc8"].run("toy").code_norm, equal_nan=True)


def test_a_run_may_minimize(damaged):
    def minimize(file):
        file["layers/fc8/dgn/toy"].attrs["direction"] = "minimize"

    file = damaged(minimize, mined=True, generated=True)
    path = file.filename
    file.close()
    with Atlas(path) as atlas:
        run = atlas["fc8"].run("toy")
        assert run.direction == "minimize" and atlas["fc8"].run("toy-unbounded").direction == "maximize"
        assert run.best_sample[0] == run.activation[0].argmin()
