"""The dataset side of an atlas, from a command line: same bytes, resumed, asked for more, with broken images."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from atlas_viewer.validator import check
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.pixels import pixels
from jobs.score import score
from pipeline.errors import DataError, OutputError

DRAWINGS = ["dataset.count=120", "dataset.block=50"]
LITTLE = ["methods=[ascent,tops]", "styles=[noise]", "samples=1", "pages=false", "tops.k=4", "cluster=serial"]
UNITS = "units=[conv3:0-3,fc8:0-5]"


def make(out: Path, *overrides: str, units: str = UNITS) -> int:
    return atlas(compose_config("atlas", [f'out="{out}"', units, *LITTLE, *overrides]))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """An atlas of a few units with the best of 120 drawings."""
    out = tmp_path_factory.mktemp("drawn") / "out"
    assert make(out, *DRAWINGS) == 0
    return out


def mined(out: Path) -> dict[Path, int]:
    """Shards and when they were written."""
    return {path.relative_to(out): path.stat().st_mtime_ns for path in out.glob("shards/*/*.shard")}


def test_an_atlas_with_a_dataset_is_sound_and_its_hits_are_the_brute_force_ones(drawn):
    import torch

    from jobs.request import read_model
    from pipeline.data.doodles import draw
    from pipeline.nets.open_network import open_network

    network = open_network(read_model(compose_config("layers", []).model))
    images = np.stack([draw(2, index)[0] for index in range(120)])
    with torch.no_grad():
        values = network.run(torch.from_numpy(network.preprocessing.centred(images)), ["conv3", "fc8"])
    with h5py.File(drawn / "atlas.h5") as file:
        assert check(file) == []
        numbers = file["dataset/images/number"][:]
        for layer, units in (("conv3", range(4)), ("fc8", range(6))):
            maxima = values[layer].flatten(2).amax(dim=2) if values[layer].dim() == 4 else values[layer]
            top = file[f"layers/{layer}/tops/largest"]
            for unit in units:
                expected = np.argsort(-maxima[:, unit].numpy(), kind="stable")[:4]
                assert numbers[top["image"][unit]].tolist() == expected.tolist()
                assert np.allclose(top["activation"][unit], maxima[expected, unit].numpy(), rtol=1e-4)
        pixels = file["dataset/images/pixels"]
        assert all(np.array_equal(pixels[row], images[number]) for row, number in enumerate(numbers))


def test_workers_change_nothing(drawn, tmp_path):
    assert make(tmp_path / "out", *DRAWINGS, "cluster=local", "cluster.workers=2") == 0
    assert (tmp_path / "out" / "atlas.h5").read_bytes() == (drawn / "atlas.h5").read_bytes()


def test_an_atlas_without_its_shards_is_added_to_and_nothing_that_it_holds_is_computed_again(drawn, tmp_path):
    out = shutil.copytree(drawn, tmp_path / "out")
    content, logs = (out / "atlas.h5").read_bytes(), set((out / "log").iterdir())
    shutil.rmtree(out / "shards", ignore_errors=True)
    assert make(out, *DRAWINGS) == 0
    assert (out / "atlas.h5").read_bytes() == content
    assert make(out, *DRAWINGS, "samples=2") == 0
    (added,) = (path for path in set((out / "log").iterdir()) - logs if " done, " in path.read_text())
    assert added.read_text().count(" done, ") == 2  # the second sample of two layers
    assert not list((out / "shards").rglob("*.shard"))


def test_more_units_repeat_no_pass_over_the_dataset_and_equal_asking_at_once(drawn, tmp_path):
    late, more = tmp_path / "late", "units=[conv3:0-3,fc8:0-5,pool2:1,conv1:3]"
    assert make(late, *DRAWINGS) == 0
    before = mined(late)
    assert make(late, *DRAWINGS, units=more) == 0
    kept = {path for path, time in mined(late).items() if before.get(path) == time}
    assert len(kept) >= 3  # the blocks of the pass
    at_once = tmp_path / "at_once"
    assert make(at_once, *DRAWINGS, units=more) == 0
    assert (late / "atlas.h5").read_bytes() == (at_once / "atlas.h5").read_bytes()
    with h5py.File(late / "atlas.h5") as file:
        assert check(file) == []
        assert file["layers/pool2/units/unit"][:].tolist() == [1]


def test_scores_keep_the_dataset_side(drawn, tmp_path):
    assert make(tmp_path / "out", *DRAWINGS) == 0
    assert score(compose_config("score", [f'out="{tmp_path / "out"}"'])) == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert check(file) == []
        assert "doodlejudge" in file["layers/fc8/scores"]
        assert "largest" in file["layers/fc8/tops"]


def test_another_dataset_under_the_same_atlas_is_refused(drawn):
    with pytest.raises(OutputError, match=r"dataset doodles: .*do not mix"):
        make(drawn, "dataset.count=121", "dataset.block=50")


def photos(folder: Path, good: int, bad: int) -> None:
    folder.mkdir()
    for number in range(good):
        noise = np.random.RandomState(number).randint(0, 256, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"good{number:02d}.png")
    for number in range(bad):
        (folder / f"bad{number}.jpg").write_bytes(b"\xff\xd8 no image")


def test_broken_images_are_left_out_listed_and_the_run_goes_on(tmp_path, capsys):
    photos(tmp_path / "photos", good=12, bad=2)
    assert make(tmp_path / "out", "dataset=folder", f'dataset.root="{tmp_path / "photos"}"') == 0
    assert "left out: bad0.jpg: " in capsys.readouterr().err
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert check(file) == []
        assert file["dataset/skipped_key"].asstr()[:].tolist() == ["bad0.jpg", "bad1.jpg"]
        assert file["dataset"].attrs["images"] == 12


def test_too_many_broken_images_stop_the_run(tmp_path):
    photos(tmp_path / "photos", good=12, bad=6)
    with pytest.raises(DataError, match="6 of 18 images cannot be used"):
        make(tmp_path / "out", "dataset=folder", f'dataset.root="{tmp_path / "photos"}"')


def test_pointers_keep_no_pixels_until_they_are_filled_in(drawn, tmp_path):
    assert make(tmp_path / "out", *DRAWINGS, "tops.pixels=pointers") == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert check(file) == []
        assert "pixels" not in file["dataset/images"]
        assert len(file["dataset/images/key"]) == len(file["dataset/images/hash"]) > 0
    filled = [f'out="{tmp_path / "out"}"', "dataset=doodles", "cluster=serial"]
    with pytest.raises(DataError, match="give the same images"):
        pixels(compose_config("pixels", [*filled, "dataset.count=119"]))
    assert pixels(compose_config("pixels", [*filled, "dataset.count=120"])) == 0
    assert (tmp_path / "out" / "atlas.h5").read_bytes() == (drawn / "atlas.h5").read_bytes()


NUMBERS = ("0.0", "1.0", "2.0", "10.0", "11.0")  # as text, 10.0 comes before 2.0


@pytest.fixture
def numbered(tmp_path) -> Path:
    """Images whose classes are numbers with a decimal point, as pandas writes them, and two of no class."""
    rows = ["image,label"]
    for at, value in enumerate((*NUMBERS, "-1.0", "-1")):
        Image.new("RGB", (16, 16), (at * 30, 90, 200 - at * 20)).save(tmp_path / f"{value}-{at}.png")
        rows.append(f"{value}-{at}.png,{value}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "list.csv"


def of_own_class(out: Path, rows: Path, *overrides: str) -> dict[int, str] | None:
    """Unit of a layer of twelve classes → label of the image of its own class; None without such images."""
    network = ["model=torch", "model.name=twelve", "model.build=twelve_classes:network", "model.size=[16,16]"]
    given = ["dataset=list", f'dataset.root="{rows}"', "methods=[tops]", "tops.k=2", *network, *overrides]
    assert atlas(compose_config("atlas", [f'out="{out}"', "units=[fc]", *LITTLE, "experiment=null", *given])) == 0
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        tops, keys = file["layers/fc/tops"], file["dataset/images/key"].asstr()[:]
        if "class" not in tops:
            return None
        hits = tops["class/image"][:, 0].tolist()
        return {unit: keys[image].rsplit("-", 1)[0] for unit, image in enumerate(hits) if image >= 0}


def test_numbers_are_the_networks_classes_only_if_the_user_says_so(tmp_path, numbered, capsys):
    assert of_own_class(tmp_path / "out", numbered) is None
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "own class" in line]
    assert "twelve has no names for its classes" in line and "dataset.classes=network" in line
    said = of_own_class(tmp_path / "said", numbered, "dataset.classes=network")
    assert said == {int(float(value)): value for value in NUMBERS}


def test_names_of_the_network_agree_by_themselves(tmp_path, numbered, capsys):
    (tmp_path / "names.txt").write_text("\n".join(f"class {at}" for at in range(12)))
    named = [f'dataset.labels="{tmp_path / "names.txt"}"', f'model.labels="{tmp_path / "names.txt"}"']
    assert of_own_class(tmp_path / "out", numbered, *named) == {int(float(value)): value for value in NUMBERS}
    assert "own class" not in capsys.readouterr().err
    (tmp_path / "others.txt").write_text("\n".join(f"Class {at + (at == 7)}" for at in range(12)))
    named[1] = f'model.labels="{tmp_path / "others.txt"}"'
    assert of_own_class(tmp_path / "others", numbered, *named) is None
    assert "class 7 is 'class 7' in the dataset, 'Class 8' in twelve" in capsys.readouterr().err
