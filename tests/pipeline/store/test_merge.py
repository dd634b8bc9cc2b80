from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from cards import asking_styles, small_plan, style_record
from fake_shards import fake_shard, picture

from atlas_viewer import format
from atlas_viewer.atlas import Atlas
from atlas_viewer.validator import check
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.registry import cut, held_units
from pipeline.plan import Plan
from pipeline.store.held import HeldAtlas
from pipeline.store.merge import merge
from pipeline.store.merging import MergeReport
from pipeline.store.shard import ShardFolder
from pipeline.work import Work


def store(plan: Plan, folder: ShardFolder, order=lambda tasks: tasks, dead: int | None = None) -> None:
    for task in order(ascent_tasks(plan)):
        folder.write(task.id, fake_shard(task, dead))


def merged(plan: Plan, folder: ShardFolder, target: Path) -> tuple[MergeReport, Work]:
    """The report of a merge, and the work that was merged."""
    with HeldAtlas.open(target) as held:
        work = cut(Work(plan, folder, target, plan.without(held_units(plan, held))))
    return merge(work, target, "a: 1", lambda _: None), work


@pytest.fixture
def plan() -> Plan:
    return small_plan(2, conv1=tuple(range(20)))


def test_an_atlas_holds_every_picture_where_it_belongs(tmp_path, plan):
    store(plan, ShardFolder(tmp_path), dead=3)
    report, _ = merged(plan, ShardFolder(tmp_path), tmp_path / "atlas.h5")
    assert (report.pictures, report.missing, report.failed) == (40, 0, 0)
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        style = file["layers/conv1/ascent/plain"]
        for task in ascent_tasks(plan):
            for unit, sample in task.pictures:
                expected = np.zeros((9, 9, 3)) if unit == 3 else picture(unit, sample)
                assert np.array_equal(style["pixels"][unit, sample], expected)
                assert style["activation"][unit, sample] == np.float32(unit + sample / 10)
                assert style["stopped"][unit, sample] == (6 if unit == 4 else -1)
        assert file["layers/conv1/units/status"][3] == format.Status.zero_gradient
        assert file["layers/conv1/units/status"][4] == format.Status.ok


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_atlas_states_the_interpolation_if_it_is_not_bilinear(tmp_path, plan, interpolation):
    plan = replace(plan, card=replace(plan.card, interpolation=interpolation))
    store(plan, ShardFolder(tmp_path))
    merged(plan, ShardFolder(tmp_path), tmp_path / "atlas.h5")
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        assert file["preprocessing"].attrs.get("interpolation", "bilinear") == interpolation
        assert ("interpolation" in file["preprocessing"].attrs) == (interpolation != "bilinear")


def test_an_optional_array_that_a_shard_lacks_is_not_recorded(tmp_path, plan):
    folder = ShardFolder(tmp_path)
    store(plan, folder)
    older = ascent_tasks(plan)[1]
    folder.write(older.id, fake_shard(older, without="stopped"))
    report, _ = merged(plan, folder, tmp_path / "atlas.h5")
    assert (report.pictures, report.missing, report.failed) == (40, 0, 0)
    with Atlas(tmp_path / "atlas.h5") as atlas:
        pictures = atlas["conv1"].pictures("plain")
        assert pictures.stopped is None and (pictures.best_step == 5).all()
        assert check(atlas.file) == []


def test_bytes_do_not_depend_on_the_order_of_arrival(tmp_path, plan):
    atlases = []
    for name, order in (("one", lambda tasks: tasks), ("two", lambda tasks: tasks[::-1])):
        folder = ShardFolder(tmp_path / name)
        store(plan, folder, order)
        merged(plan, folder, tmp_path / name / "atlas.h5")
        atlases.append((tmp_path / name / "atlas.h5").read_bytes())
    assert atlases[0] == atlases[1]


def test_what_is_missing_failed_or_damaged_is_marked_and_reported(tmp_path, plan):
    folder = ShardFolder(tmp_path)
    store(plan, folder)
    gone, failed, damaged = (task for task in ascent_tasks(plan)[:3])
    folder.path(gone.id).unlink()
    folder.path(failed.id).unlink()
    folder.write_reason(failed.id, "no room")
    folder.path(damaged.id).write_bytes(b"x" * 100)
    report, work = merged(plan, folder, tmp_path / "atlas.h5")
    assert report.missing == gone.count + damaged.count
    assert report.failed == failed.count
    assert len(work.problems) == 1
    assert set(report.reasons.values()) == {"no room"}
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        style = file["layers/conv1/ascent/plain"]
        assert {style["status"][place] for place in failed.pictures} == {format.Status.failed}
        assert style["reason"].asstr()[failed.units[0]] == "no room"
        assert np.isnan(style["activation"][gone.pictures[0]])


def test_what_nobody_asked_for_is_no_gap(tmp_path):
    plan = asking_styles({"conv1": (0, 1, 2)}, [style_record()], 2).union(
        asking_styles({"conv1": (1,)}, [style_record("other")], 1)
    )
    folder = ShardFolder(tmp_path)
    store(plan, folder)
    report, _ = merged(plan, folder, tmp_path / "atlas.h5")
    assert (report.pictures, report.missing, report.statuses) == (7, 0, {"ok": 7})
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert set(file["layers/conv1/units/status"]) == {format.Status.ok}
        missing = file["layers/conv1/ascent/other/status"][:, 0] == format.Status.missing
        assert list(missing) == [True, False, True]


def test_an_old_atlas_stays_when_the_new_one_cannot_be_written(tmp_path, plan, monkeypatch):
    folder, target = ShardFolder(tmp_path), tmp_path / "atlas.h5"
    merged(plan, folder, target)
    old = target.read_bytes()
    store(plan, folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.methods.scores.store.ScoresWriter.write_rest", full)
    with pytest.raises(OSError, match="cannot be written"):
        merged(plan, folder, target)
    assert target.read_bytes() == old
    assert not (tmp_path / "parts").exists() or not any((tmp_path / "parts").glob(".*"))
    assert not list(tmp_path.glob(".atlas*"))
