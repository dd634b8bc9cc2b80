"""The memorisation test from a command line: against a loop, same bytes, resumed, and dropped with its pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from folder_prior import write_untrained
from PIL import Image
from tiny_network import LABELS, SMALL

from atlas_viewer.atlas import Atlas
from atlas_viewer.site.build import build
from atlas_viewer.validator import check
from atlas_viewer.verify import faults
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.folder import read_plan, stored_work
from jobs.pixels import pixels
from jobs.request import read_model
from jobs.site import SiteSettings, build_pages
from pipeline.nets.open_network import open_network
from pipeline.store.publishing import is_open, pack_atlas

QUICK = ("dgn.iterations=4", "dgn.trace_points=2", "tops.k=1", "tops.batch=3", "tops.quantiles=false",
         "tops.smallest=false", "tops.own_class=false", "tops.rules=[]", "tops.whole_image_rules=[]",
         "dataset.preprocess=resize", "dataset.block=6", "memorisation.samples=2",
         "memorisation.typical=3")  # fmt: skip
COUNTS = {"round": 7, "square": 5}  # none is striped
SPACES = ("pixels", "conv1", "conv2", "fc")
SEARCH = "memorisation/untrained"


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Makes an atlas of the tiny network with an untrained prior and a few noisy images."""
    folder = tmp_path_factory.mktemp("given")
    prior = write_untrained(folder / "prior")
    (folder / "names.txt").write_text("\n".join(LABELS) + "\n")
    for seed, (label, count) in enumerate(COUNTS.items()):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(count):
            noise = np.random.RandomState(100 * seed + number).randint(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(noise).save(folder / "images" / label / f"{number}.png")
    given = (f'priors=["{prior}"]', "dataset=folder", f'dataset.root="{folder / "images"}"',
             f'dataset.labels="{folder / "names.txt"}"')  # fmt: skip

    def make(out: Path, *more: str) -> int:
        asked = [*SMALL, *QUICK, *given, "methods=[dgn,tops]", "units=[fc,conv1:0]", f'out="{out}"', *more]
        return atlas(compose_config("atlas", asked))

    make.images = folder / "images"
    make.given = [*SMALL[:5], "cluster=serial", *given[1:], "dataset.preprocess=resize"]
    return make


@pytest.fixture(scope="module")
def tested(tmp_path_factory, make) -> Path:
    out = tmp_path_factory.mktemp("tested") / "out"
    assert make(out) == 0
    return out


def seen(network, picture: np.ndarray) -> dict[str, np.ndarray]:
    """A picture of 15 x 15, the window of the classes, in every space."""
    whole = np.zeros((1, 3, 16, 16), np.float32)
    whole[:, :, :15, :15] = network.preprocessing.centred(
        picture[None, :15, :15], network.preprocessing.full_mean[:, :15, :15]
    )
    with torch.no_grad():
        values = network.run(torch.from_numpy(whole), SPACES[1:])
    return {"pixels": picture[:15, :15].astype(float)} | {name: value.numpy() for name, value in values.items()}


def test_the_nearest_images_are_the_brute_force_ones(tested, make):
    network = open_network(read_model(compose_config("atlas", list(SMALL)).model))
    with h5py.File(tested / "atlas.h5") as file:
        assert check(file) == []
        test, images = file[SEARCH], file["dataset/images"]
        assert test["space"].asstr()[:].tolist() == list(SPACES)
        assert test["unit"][:].tolist() == [0, 1, 2]
        assert test["images"][:].tolist() == [7, 5, 0]
        assert test["nearest"].shape == (3, 2, 4)
        keys, pictures = images["key"].asstr()[:], file["layers/fc/dgn/untrained/pixels"][:]
        for unit, (label, count) in enumerate(COUNTS.items()):
            real = [np.asarray(Image.open(make.images / label / f"{number}.png")) for number in range(count)]
            real_seen = [seen(network, image) for image in real]
            for sample, place in np.ndindex(2, len(SPACES)):
                space = SPACES[place]
                own = seen(network, pictures[unit, sample])[space]
                distances = [float(np.sqrt(((own.astype(float) - one[space]) ** 2).sum())) for one in real_seen]
                row = test["nearest"][unit, sample, place]
                assert keys[row] == f"{label}/{np.argmin(distances)}.png"
                assert images["label"][row] == unit
                np.testing.assert_array_equal(images["pixels"][row], real[np.argmin(distances)])
                np.testing.assert_allclose(test["distance"][unit, sample, place], min(distances), rtol=1e-4)
        assert (test["nearest"][2] == -1).all()
        assert np.isnan(test["typical"][2]).all()
        assert (test["typical"][:2] > 0).all()
        assert len(images["number"]) > len(set(file["layers/fc/tops/largest/image"][:].ravel()))


def test_workers_change_nothing(tested, make, tmp_path):
    assert make(tmp_path / "out", "cluster=local", "cluster.workers=2") == 0
    assert (tmp_path / "out" / "atlas.h5").read_bytes() == (tested / "atlas.h5").read_bytes()


def test_an_atlas_without_its_shards_keeps_its_test(tested, make, tmp_path):
    out = shutil.copytree(tested, tmp_path / "out")
    shutil.rmtree(out / "shards", ignore_errors=True)
    work = stored_work(read_plan(out), out)
    assert work.tasks["memorisation"] == [] and [test.units for test in work.results["memorisation"]] == [(0, 1, 2)]
    assert make(out) == 0
    assert (out / "atlas.h5").read_bytes() == (tested / "atlas.h5").read_bytes()


def test_an_atlas_in_parts_is_read_shown_added_to_and_packed(tested, make, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.store.merge.WHOLE_BELOW", 0)  # as if it were large
        assert make(out, "units=[fc:1]") == 0
        parts = {path.name for path in (out / "parts").iterdir()}
        assert make(out) == 0
        assert parts & {path.name for path in (out / "parts").iterdir()}
    with h5py.File(out / "atlas.h5") as file:
        assert is_open(file) and check(file) == []
    assert list(faults(out / "atlas.h5")) == []
    for folder in (out, tested):
        with Atlas(folder / "atlas.h5") as atlas:
            atlas.to_csv(folder / "csv")
    assert {path.name: path.read_bytes() for path in (out / "csv").iterdir()} == {
        path.name: path.read_bytes() for path in (tested / "csv").iterdir()
    }
    assert build(out / "atlas.h5", out / "site").blocks > 0
    assert (out / "site" / "fc" / "1.html").is_file()
    pack_atlas(out / "atlas.h5")
    assert (out / "atlas.h5").read_bytes() == (tested / "atlas.h5").read_bytes()
    assert build(out / "atlas.h5", out / "site").blocks == 0  # its pages are those of before


def test_more_units_later_keep_what_is_there_and_equal_asking_at_once(tested, make, tmp_path):
    late = tmp_path / "late"
    assert make(late, "units=[fc:1]") == 0
    with h5py.File(late / "atlas.h5") as file:
        assert check(file) == []
        assert file[SEARCH]["unit"][:].tolist() == [1]
    assert make(late) == 0
    assert (late / "atlas.h5").read_bytes() == (tested / "atlas.h5").read_bytes()


def test_a_test_of_other_pictures_is_dropped(make, tmp_path):
    """More pictures of a class, made where there are no images to compare them with."""
    out = tmp_path / "out"
    assert make(out, "dgn.samples=1") == 0
    with h5py.File(out / "atlas.h5") as file:
        assert file[SEARCH]["nearest"].shape == (3, 1, 4)
    assert make(out, "methods=[dgn]") == 0
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        assert "memorisation" not in file
    assert make(out) == 0
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        assert (file[SEARCH]["nearest"][:2] >= 0).all()


def test_fewer_samples_than_there_are_pictures_leave_the_rest_uncompared(make, tmp_path):
    assert make(tmp_path / "out", "memorisation.samples=1", "memorisation.images=2", "memorisation.typical=1") == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert check(file) == []
        test = file[SEARCH]
        assert test["images"][:].tolist() == [2, 2, 0]
        assert (test["nearest"][:2, 0] >= 0).all()
        assert (test["nearest"][:, 1] == -1).all()
        compared = set(file["dataset/images/number"][:][np.unique(test["nearest"][0, 0])])
        assert len(compared) <= 2


def test_it_is_left_out_where_it_is_not_wanted(make, tmp_path):
    assert make(tmp_path / "out", "memorisation.samples=0") == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert "memorisation" not in file


def test_classes_that_are_not_the_networks_are_not_compared(make, tmp_path):
    assert make(tmp_path / "out", "dataset.labels=null") == 0  # two classes, three units
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert "memorisation" not in file


def test_pointers_keep_no_pixels_until_they_are_filled_in(tested, make, tmp_path):
    out = tmp_path / "out"
    assert make(out, "tops.pixels=pointers") == 0
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        assert "pixels" not in file["dataset/images"]
        assert (file[SEARCH]["nearest"][:2] >= 0).all()
    assert pixels(compose_config("pixels", [*make.given, f'out="{out}"'])) == 0
    assert (out / "atlas.h5").read_bytes() == (tested / "atlas.h5").read_bytes()


def test_the_class_page_shows_the_strip(tested):
    with Atlas(tested / "atlas.h5") as opened:
        assert opened.memorisation["untrained"].spaces == SPACES
    build_pages(tested, SiteSettings(1, full=False))
    page = (tested / "site" / "fc" / "0.html").read_text()
    assert "<h2>Memorisation test</h2>" in page
    assert "7 images" in page
    assert "No image of this class was compared." in (tested / "site" / "fc" / "2.html").read_text()
