"""The dataset side of an atlas, from a command line: same bytes, resumed, asked for more, with broken images."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from atlas_viewer.evidence.tops import BACKPROJECTED
from atlas_viewer.validator import check
from jobs import estimate
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.folder import read_plan
from jobs.pixels import pixels
from jobs.score import score
from pipeline.data import image_files
from pipeline.data.decoding import BadImage
from pipeline.errors import DataError, OutputError
from pipeline.methods.tops import folding, held, store, stored_blocks, task
from pipeline.methods.tops.result import images_record
from pipeline.methods.tops.stored_blocks import FoldedNames
from pipeline.methods.tops.task import BackprojectTask, MineTask, mine_tasks
from pipeline.records import record_digest
from pipeline.store.shard import ShardFolder
from pipeline.task import Task

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
    (added,) = (path for path in set((out / "log").iterdir()) - logs if '"event": "stored"' in path.read_text())
    assert added.read_text().count('"event": "stored"') == 2  # the second sample of two layers
    assert not list((out / "shards").rglob("*.shard"))


def test_a_plan_has_a_line_for_the_pass_its_images_and_its_back_projections(tmp_path, capsys):
    assert make(tmp_path / "out", *DRAWINGS, "plan=true", "methods=[tops]") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {" ".join(line.split()[2:4]): line.split()[4:] for line in lines if line.startswith("all layers")}
    assert rows["best images"][:3] == ["10", "120", "3"]
    assert rows["back-projections 10"][0] == str(4 * 4 * 3 + 6 * 4)  # three rules for windows, one for whole images
    assert "dataset images" in rows
    assert all(len(row) >= 3 and row[-1].endswith("B") for row in rows.values())
    assert any(line.startswith("disk: about") and "of shards beside it" in line for line in lines)


def test_a_plan_of_a_finished_atlas_has_nothing_left(drawn, capsys):
    assert make(drawn, *DRAWINGS, "plan=true") == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["nothing is left to compute"]
    assert make(drawn, *DRAWINGS, "plan=true", units="units=[conv3:0-3,fc8:0-5,pool2:1]") == 0
    said = capsys.readouterr().out
    assert "best images" not in said and "back-projections" in said and "pool2" in said


def test_a_plan_that_does_not_fit_the_disk_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimate, "_free", lambda out: 1_000_000)
    assert make(tmp_path / "out", *DRAWINGS, "plan=true") == 0
    assert "warning: " in capsys.readouterr().out
    with pytest.raises(OutputError, match=r"/out: needs about .*, and 1\.00MB are free; .* check_disk=false"):
        make(tmp_path / "out", *DRAWINGS)
    assert not (tmp_path / "out" / "plan.json").exists() and not (tmp_path / "out" / "shards").exists()
    few = ["methods=[ascent]", "style.noise.max_iter=2", "check_disk=false"]
    assert make(tmp_path / "out", *few, units="units=[fc8:0]") == 0


def test_more_units_repeat_no_pass_over_the_dataset_and_equal_asking_at_once(drawn, tmp_path):
    late, more = tmp_path / "late", "units=[conv3:0-3,fc8:0-5,pool2:1,conv1:3]"
    assert make(late, *DRAWINGS) == 0
    plan, shards = read_plan(late), ShardFolder(late / "shards")
    blocks = [task.id for task in mine_tasks(plan)]
    assert len(blocks) == 3
    assert not any(shards.path(block).exists() for block in blocks)  # what is assembled from them is stored
    before = mined(late)
    assert make(late, *DRAWINGS, units=more) == 0
    after = mined(late)
    assert before.items() <= after.items() and not any(shards.path(block).exists() for block in blocks)
    at_once = tmp_path / "at_once"
    assert make(at_once, *DRAWINGS, units=more) == 0
    assert (late / "atlas.h5").read_bytes() == (at_once / "atlas.h5").read_bytes()
    with h5py.File(late / "atlas.h5") as file:
        assert check(file) == []
        assert file["layers/pool2/units/unit"][:].tolist() == [1]


def test_a_run_that_is_stopped_while_blocks_are_folded_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    asked = ("dataset.count=48", "dataset.block=4", "methods=[tops]")
    assert make(tmp_path / "plain", *asked) == 0
    for module in (folding, stored_blocks):
        monkeypatch.setattr(module, "STEP", 2)
    monkeypatch.setattr(folding, "WAITING_BYTES", 1)
    out, arrived, real = tmp_path / "out", iter(range(12)), folding.Folding.stored

    def stopped(self):
        if next(arrived) == 8:
            raise KeyboardInterrupt
        real(self)
        self.close()

    monkeypatch.setattr(folding.Folding, "stored", stopped)
    with pytest.raises(KeyboardInterrupt):
        make(out, *asked)
    tasks, shards = mine_tasks(read_plan(out)), ShardFolder(out / "shards")
    assert shards.present() == {*FoldedNames(tasks).ids(8), tasks[8].id}
    monkeypatch.setattr(folding.Folding, "stored", real)
    again = {one.id for one in tasks[9:]}
    wrote, computed = shards.write, []
    monkeypatch.setattr(ShardFolder, "write", lambda self, name, data: (computed.append(name), wrote(name, data)))
    assert make(out, *asked) == 0
    assert {one.id for one in tasks} & set(computed) == again
    assert (out / "atlas.h5").read_bytes() == (tmp_path / "plain" / "atlas.h5").read_bytes()
    assert not shards.present() & {one.id for one in tasks} and not shards.present() & set(FoldedNames(tasks).every())


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


# Faults of the machine -------------------------------------------------------------------------------


def folder_of(path: Path) -> list[str]:
    return ["dataset=folder", f'dataset.root="{path}"', "dataset.block=5", "methods=[tops]", "units=[fc8:0-1]"]


@pytest.fixture
def undisturbed(tmp_path) -> bytes:
    photos(tmp_path / "photos", good=12, bad=1)
    assert make(tmp_path / "undisturbed", *folder_of(tmp_path / "photos")) == 0
    return (tmp_path / "undisturbed" / "atlas.h5").read_bytes()


def test_a_folder_that_goes_away_and_comes_back_leaves_no_trace(tmp_path, undisturbed, monkeypatch, capsys):
    from pipeline.methods.tops import compute

    out, root, mine = tmp_path / "out", tmp_path / "photos", compute.COMPUTE[MineTask]

    def loses_the_folder(task, resources):
        if task.start == 5:
            root.rename(tmp_path / "away")
        return mine(task, resources)

    with monkeypatch.context() as losing:
        losing.setitem(compute.COMPUTE, MineTask, loses_the_folder)
        assert make(out, *folder_of(root)) == 1
    said = capsys.readouterr().err
    assert "good04.png: cannot be read (No such file" in said and "left out" not in said
    (tmp_path / "away").rename(root)
    assert make(out, *folder_of(root)) == 0
    assert (out / "atlas.h5").read_bytes() == undisturbed


def test_blocks_of_before_that_record_such_a_fault_are_computed_again(tmp_path, undisturbed, monkeypatch, capsys):
    out, asked = tmp_path / "out", [*folder_of(tmp_path / "photos"), "dataset.bad_share=1"]

    def as_before(path):
        if path.name == "good07.png":
            raise BadImage("cannot be read: Stale file handle")
        return path.read_bytes()

    with monkeypatch.context() as old:
        old.setattr(image_files, "_load", as_before)
        old.setattr(MineTask, "flaw", Task.flaw)
        assert make(out, *asked) == 0
    assert "left out: good07.png" in capsys.readouterr().err
    assert make(out, *asked) == 0
    said = capsys.readouterr().err
    assert "a fault of a machine was recorded (good07.png: cannot be read: Stale file handle)" in said
    assert "left out: good07.png" not in said
    assert (out / "atlas.h5").read_bytes() == undisturbed


def test_a_refused_dataset_does_not_bind_the_atlas(tmp_path):
    root = tmp_path / "photos"
    photos(root, good=12, bad=6)
    for out in ("allowed", "mended"):
        with pytest.raises(DataError, match="6 of 18 images"):
            make(tmp_path / out, *folder_of(root))
    assert make(tmp_path / "allowed", *folder_of(root), "dataset.bad_share=0.5") == 0
    assert make(tmp_path / "allowed", *folder_of(root), "dataset.bad_share=0.5") == 0
    for bad in root.glob("bad*"):
        bad.unlink()
    assert make(tmp_path / "mended", *folder_of(root)) == 0


def test_back_projections_that_fail_are_stated_once(tmp_path, monkeypatch):
    from pipeline.methods.tops import compute

    def fails(task, resources):
        raise ArithmeticError("no gradient")

    photos(tmp_path / "photos", good=12, bad=0)
    monkeypatch.setitem(compute.COMPUTE, BackprojectTask, fails)
    out, written = tmp_path / "out", []
    for _ in range(2):
        assert make(out, *folder_of(tmp_path / "photos")) == 1
        written.append((out / "atlas.h5").stat().st_mtime_ns)
    assert written[0] == written[1]
    with h5py.File(out / "atlas.h5") as file:
        assert set(file["layers/fc8/tops/largest/reason"].asstr()[...]) == {"ArithmeticError: no gradient"}


def test_back_projections_of_another_revision_are_refused(drawn, tmp_path, monkeypatch):
    for module in (task, held, store):
        monkeypatch.setattr(module, "BACKPROJECT_REVISION", 2)
    with pytest.raises(OutputError, match="largest was computed by revision 1 of its back-projections"):
        make(drawn, *DRAWINGS)
    photos(tmp_path / "photos", good=12, bad=0)
    assert make(tmp_path / "out", *folder_of(tmp_path / "photos")) == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert check(file) == []
        assert {name: one.attrs.get(BACKPROJECTED) for name, one in file["layers/fc8/tops"].items()} == {
            "largest": 2, "quantile": None, "smallest": None
        }  # fmt: skip
    for module in (task, held, store):
        monkeypatch.setattr(module, "BACKPROJECT_REVISION", 1)
    with pytest.raises(OutputError, match="by revision 2 of its back-projections"):
        make(tmp_path / "out", *folder_of(tmp_path / "photos"))


def test_a_plan_leaves_a_damaged_shard_where_it_is(drawn, tmp_path, capsys):
    shutil.copy(drawn / "plan.json", tmp_path)
    shards = ShardFolder(tmp_path / "shards")
    mined = mine_tasks(read_plan(tmp_path))
    for record in (images_record(mined), mined[0].record()):
        shards.write(record_digest(record), b"damaged")
    before = sorted(tmp_path.rglob("*"))
    assert make(tmp_path, *DRAWINGS, "plan=true") == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert "best images" in capsys.readouterr().out
