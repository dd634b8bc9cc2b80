"""Interpretability scores from a command line: stored, kept, dropped with their pictures, refused in a line."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.validator import check
from jobs import interpretability as job
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.interpretability import interpretability
from jobs.verify import verify
from pipeline.errors import DataError, OutputError, SettingsError

LITTLE = ["units=[fc8:0-3]", "dataset.count=60", "samples=1", "tops.k=2", "pages=false", "cluster=serial"]
LITTLE += ["methods=[ascent,tops]"]
TRIALS = ["trials=3", "shown=4", "images=50"]


@pytest.fixture(autouse=True)
def no_pages(monkeypatch):
    monkeypatch.setattr(job, "build_pages", lambda out, pages: None)


@pytest.fixture(scope="module")
def mined(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mined") / "out"
    assert atlas(compose_config("atlas", [f'out="{out}"', *LITTLE, "styles=[noise]"])) == 0
    return out


@pytest.fixture(scope="module")
def scored(mined, tmp_path_factory) -> Path:
    out = shutil.copytree(mined, tmp_path_factory.mktemp("scored") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "build_pages", lambda out, pages: None)
        assert scores(out) == 0
    return out


@pytest.fixture
def copy(scored, tmp_path) -> Path:
    return shutil.copytree(scored, tmp_path / "out")


def scores(out: Path, *overrides: str) -> int:
    return interpretability(compose_config("interpretability", [f'out="{out}"', *TRIALS, *overrides]))


def test_the_scores_are_in_the_atlas_and_best_drawings_tell_more_than_noise(scored):
    with h5py.File(scored / "atlas.h5") as file:
        assert check(file) == []
    with Atlas(scored / "atlas.h5") as stored:
        found = stored["fc8"].interpretability["doodlejudge"]
        assert found.pictures == ("natural", "natural_both", "noise", "ascent/noise")
        assert found.score.shape == (4, 4) and np.isfinite(found.score).all()
        assert (found.images, found.trials, found.shown) == (50, 3, 4)
        assert found.mean("natural_both") > found.mean("natural") > 0.6
    assert verify(compose_config("verify", [f'out="{scored}"'])) == 0


def test_the_same_again_computes_nothing_and_changes_nothing(copy, monkeypatch):
    before = (copy / "atlas.h5").read_bytes()
    monkeypatch.setattr("pipeline.methods.interpretability.compute.sample_maxima", None)  # would fail if it were called
    assert scores(copy) == 0
    assert (copy / "atlas.h5").read_bytes() == before


@pytest.mark.slow
def test_scores_are_kept_by_a_later_style_and_go_with_their_units(copy):
    assert (
        atlas(compose_config("atlas", [f'out="{copy}"', *LITTLE, "styles=[noise]", "units=[fc8:0-3]", "seed=0"])) == 0
    )
    with Atlas(copy / "atlas.h5") as stored:
        assert "doodlejudge" in stored["fc8"].interpretability
    assert atlas(compose_config("atlas", [f'out="{copy}"', *LITTLE, "styles=[noise]", "units=[fc8:0-4]"])) == 0
    with Atlas(copy / "atlas.h5") as stored:
        assert stored["fc8"].interpretability == {}


def test_refusals_are_one_line(mined, copy):
    with pytest.raises(SettingsError, match="interpretability.trials: got 0"):
        interpretability(compose_config("interpretability", [f'out="{mined}"', "trials=0"]))
    with pytest.raises(OutputError, match="layers: fc9 has no best images in this atlas .*; it has fc8"):
        scores(copy, "layers=[fc9]")
    with pytest.raises(DataError, match="dataset doodles: its digest is .*; give the same images"):
        scores(copy, "dataset=doodles", "dataset.count=61")


@pytest.mark.slow
def test_an_atlas_without_a_dataset_is_refused(tmp_path):
    plain = tmp_path / "plain"
    assert atlas(compose_config("atlas", [f'out="{plain}"', *LITTLE, "methods=[ascent]", "styles=[noise]"])) == 0
    with pytest.raises(OutputError, match="has no dataset, among whose images .*; add one by make atlas DATASET="):
        scores(plain)
