"""Numbers of an atlas that its network, its dataset and its own pixels do not give are found by recomputing them."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.format import ROOT
from atlas_viewer.seal import seal, seal_file
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.opening import open_images
from jobs.request import read_model, read_settings
from jobs.verify import verify
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError, WeightsError
from pipeline.nets.network_card import network_card
from pipeline.nets.open_network import open_network
from pipeline.recomputation import recompute

UNITS = "units=[conv3:0-1,fc8:0-1]"
DRAWINGS = "dataset.count=24"
LITTLE = [UNITS, DRAWINGS, "samples=1", "tops.k=2", "styles=[noise]", "pages=false", "cluster=serial"]
WRONG = {  # kind → a number or a picture of it
    "activations of pictures by ascent": "/layers/fc8/ascent/noise/activation[1, 0]",
    "activations of hits": "/layers/conv3/tops/smallest/activation[1, 1]",
    "back-projections": "/layers/conv3/tops/largest/guided[0, 1]",
    "images of the dataset": "/dataset/images/pixels[3]",
}


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("computed") / "out"
    assert atlas(compose_config("atlas", [f'out="{out}"', *LITTLE, "methods=[ascent,tops]"])) == 0
    return out


@pytest.fixture
def copy(computed, tmp_path) -> Path:
    return shutil.copytree(computed, tmp_path / "out")


@pytest.fixture(scope="module")
def opened():
    """The network, and the images of the atlas."""
    config = compose_config("atlas", [DRAWINGS])
    model = read_model(config.model)
    network = open_network(model)
    return network, open_images(read_settings(DatasetSettings, config.dataset, "dataset"), model, network_card(network))


def recomputed(out: Path, opened, count: int = 1000, seed: int = 0) -> dict:
    with Atlas(out / "atlas.h5") as stored:
        return {one.kind: one for one in recompute(stored, *opened, count, seed)}


def test_everything_that_a_sound_atlas_states_is_computed_again_within_its_tolerance(computed, opened):
    found = recomputed(computed, opened)
    assert list(found) == list(WRONG)
    for one in found.values():
        assert len(one.compared) == one.stored > 3 and one.faults == ()
    assert all(found[kind].largest < 1e-5 for kind in list(WRONG)[:2])
    assert 0.3 < found["back-projections"].largest < 0.51  # rounding to 8 bits
    assert found["images of the dataset"].largest == 0


def test_what_was_written_wrong_is_named_by_its_place(copy, opened):
    with h5py.File(copy / "atlas.h5", "r+") as file:
        for place in WRONG.values():
            path, _, at = place.rstrip("]").partition("[")
            where = tuple(int(index) for index in at.split(", "))
            value = file[path][where]
            file[path][where] = value + 1 if value.ndim == 0 else 255 - value
    found = recomputed(copy, opened)
    named = {kind: [fault.place for fault in one.faults] for kind, one in found.items()}
    hits = named.pop("activations of hits")  # some of which see the image whose pixels are wrong
    assert named == {kind: [place] for kind, place in WRONG.items() if kind in named} | {
        "back-projections": named["back-projections"]
    }
    assert WRONG["activations of hits"] in hits and WRONG["back-projections"] in named["back-projections"]


def test_a_sample_is_drawn_again_by_its_seed(computed, opened):
    def drawn(seed: int) -> list[list[str]]:
        found = recomputed(computed, opened, 2, seed)
        return [[one.place for one in kind.compared] for kind in found.values()]

    assert drawn(1) == drawn(1) != drawn(2)
    assert [len(places) for places in drawn(1)] == [2] * 4


def test_the_job_finds_what_digests_cannot_find(copy, capsys):
    with h5py.File(copy / "atlas.h5", "r+") as file:  # as a faulty program would have written it
        file["layers/fc8/ascent/noise/activation"][1, 0] += 1
        seal(file["layers/fc8/ascent/noise"], STYLE)
    seal_file(copy / "atlas.h5")
    assert verify(compose_config("verify", [f'out="{copy}"', "recompute=1000", "seed=7"])) == 1
    said = capsys.readouterr().out
    assert "drawn with seed=7, by doodlenet@" in said and "activations of pictures by ascent: 4 of 4, largest" in said
    (fault,) = (line for line in said.splitlines() if ".h5: " in line)
    assert f"/atlas.h5: {WRONG['activations of pictures by ascent']}: fc8:1 has " in fault
    assert "compute it again in another folder, with the packages that it names (numpy " in fault


def test_a_network_that_is_not_at_hand_is_one_line(copy, capsys):
    with h5py.File(copy / "atlas.h5", "r+") as file:
        file.attrs["model"] = "housenet"
        seal(file, ROOT)
    seal_file(copy / "atlas.h5")
    asked = [f'out="{copy}"', "recompute=1"]
    assert verify(compose_config("verify", asked)) == 0
    said = capsys.readouterr()
    assert said.out == "" and "(conf/model has no housenet), so nothing is computed again; name it by" in said.err
    with pytest.raises(WeightsError, match=r"doodlejudge has digest .*; name the atlas's own network by MODEL=…"):
        verify(compose_config("verify", [*asked, "model=doodlejudge"]))


def test_without_the_dataset_its_images_are_not_compared(computed, opened):
    assert list(recomputed(computed, (opened[0], None))) == list(WRONG)[:3]


def test_damage_that_digests_find_comes_first(copy, capsys):
    with h5py.File(copy / "atlas.h5", "r+") as file:
        file["layers/fc8/ascent/noise/activation"][0, 0] += 1
    assert verify(compose_config("verify", [f'out="{copy}"', "recompute=1"])) == 1
    said = capsys.readouterr()
    assert "nothing is computed again before this damage is mended" in said.err and "seed" not in said.out


def test_a_negative_sample_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="recompute: got -1"):
        verify(compose_config("verify", [f'out="{tmp_path}"', "recompute=-1"]))


@pytest.mark.slow
def test_pictures_through_priors_are_computed_again_too(tmp_path, opened):
    little = ["methods=[dgn]", "dgn.samples=1", "dgn.class_samples=1", "dgn.iterations=2"]
    assert atlas(compose_config("atlas", [f'out="{tmp_path}"', *LITTLE, *little])) == 0
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        file["layers/fc8/dgn/doodlenet_fc6/best_activation"][1, 0] += 1
    (one,) = recomputed(tmp_path, opened).values()
    assert len(one.compared) == one.stored == 8  # the last and the best iterate of four units
    assert [fault.place for fault in one.faults] == ["/layers/fc8/dgn/doodlenet_fc6/best_activation[1, 0]"]
