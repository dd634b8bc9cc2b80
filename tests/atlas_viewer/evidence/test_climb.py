"""What styles and runs share: where a climb stopped without a gradient, in files that say it and in older ones."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.evidence.combinations import COMBINATION
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.site.build import build
from atlas_viewer.validator import check

STYLE_GROUP, RUN_GROUP = "layers/fc8/ascent/sparse", "layers/fc8/dgn/toy"


@pytest.fixture
def recorded(generated_atlas, tmp_path) -> Path:
    """The atlas with the field in one style, one run and one set of combinations: (1, 0) of each stopped at step 19."""
    path = tmp_path / "atlas.h5"
    shutil.copy(generated_atlas, path)
    with h5py.File(path, "r+") as file:
        groups = (STYLE, file[STYLE_GROUP]), (RUN, file[RUN_GROUP])
        pairs = next(iter(file["combinations"].values()))
        for kind, group in (*groups, (COMBINATION, pairs)):
            stopped = np.full(group["status"].shape, -1, "i4")
            stopped[1, 0] = 19
            kind["stopped"].write(group, stopped)
    return path


def test_the_reader_says_where_climbs_stopped(recorded):
    with Atlas(recorded) as atlas:
        layer = atlas["fc8"]
        for climb in (layer.pictures("sparse"), layer.run("toy")):
            assert climb.stopped[1, 0] == climb.stopped_at((1, 0)) == 19
            assert (np.delete(climb.stopped.ravel(), climb.samples) == -1).all()
        assert next(iter(atlas.combinations.values())).stopped[1, 0] == 19
        assert layer.to_xarray("sparse")["stopped"].dims == ("unit", "sample")


def test_an_older_atlas_opens_and_has_it_not_recorded(generated_atlas, tmp_path):
    with Atlas(generated_atlas) as atlas:
        layer = atlas["fc8"]
        for climb in (layer.pictures("sparse"), layer.run("toy")):
            assert climb.stopped is None and np.isnan(climb.stopped_at((1, 0)))
        assert all(pairs.stopped is None for pairs in atlas.combinations.values())
        assert {line["stopped"] for line in lines(layer.to_csv(tmp_path / "fc8.csv"))} == {""}
    with h5py.File(generated_atlas) as file:
        assert check(file) == []


def test_tables_have_a_column_for_it(recorded, tmp_path):
    with Atlas(recorded) as atlas:
        atlas.to_csv(tmp_path)
    styles, runs = lines(tmp_path / "fc8.csv"), lines(tmp_path / "fc8.runs.csv")
    for table, setting, name in ((styles, "style", "sparse"), (runs, "run", "toy")):
        chosen = {(line["unit"], line["sample"]): line["stopped"] for line in table if line[setting] == name}
        assert chosen["1", "0"] == "19" and chosen["0", "0"] == "-1"


def test_the_page_of_a_unit_says_it_under_the_picture(recorded, tmp_path):
    build(recorded, tmp_path / "site")
    stopped, other = ((tmp_path / "site" / "fc8" / f"{unit}.html").read_text("utf-8") for unit in (1, 0))
    assert stopped.count("stopped at step 19: no gradient") == 2  # in the style and in the run
    assert "no gradient" not in other


def test_a_file_that_says_it_rightly_has_no_faults(recorded):
    with h5py.File(recorded) as file:
        assert check(file) == []


@pytest.mark.parametrize(
    ("where", "value", "fault"),
    [
        ((0, 0), 0, "/stopped: expected -1 or a step after the first"),
        ((0, 0), -2, "/stopped: expected -1 or a step after the first"),
        ((0, 0), 7, "/best_step: beyond the step at which the climb stopped"),
        ((-1, -1), 19, "/stopped: a step where there is no picture"),
    ],
)
@pytest.mark.parametrize("group", [STYLE_GROUP, RUN_GROUP])
def test_a_contradiction_is_named(recorded, group, where, value, fault):
    with h5py.File(recorded, "r+") as file:
        stopped = file[group]["stopped"][...]
        stopped[where] = value
        file[group]["stopped"][...] = stopped
        assert f"/{group}{fault}" in check(file)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
