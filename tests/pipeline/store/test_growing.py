"""An atlas that grows: additions write what is new, nothing is needed twice, a death at any moment loses nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pytest
from cards import asking_styles, style_record
from fake_shards import fake_shard, picture

from atlas_viewer import format
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import FormatError
from atlas_viewer.validator import check
from pipeline.errors import OutputError
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.interpretability.pictures import shown_pictures
from pipeline.methods.registry import cut, held_units
from pipeline.methods.scores.pictures import read_pictures
from pipeline.plan import Plan
from pipeline.store.held import HeldAtlas
from pipeline.store.merge import merge
from pipeline.store.publishing import finish_interrupted, is_open, linked_files, pack_atlas, size_of, used_files
from pipeline.store.shard import ShardFolder
from pipeline.work import Work

OPEN, WHOLE = 0, 1e9  # bytes below which a merge writes a whole file


def asking(units: tuple[int, ...], styles: tuple[str, ...] = ("plain",), samples: int = 1) -> Plan:
    return asking_styles({"conv1": units}, [style_record(name) for name in styles], samples)


def grow(plan: Plan, out: Path, whole_below: float = OPEN) -> int:
    """Compute what the atlas in a folder lacks, and merge it; return the number of pictures computed."""
    work, computed = opened(plan, out), 0
    for task in work.tasks["ascent"]:
        work.shards.write(task.id, fake_shard(task))
        computed += task.count
    merge(work, out / "atlas.h5", "a: 1", lambda _: None, whole_below)
    return computed


def opened(plan: Plan, out: Path) -> Work:
    finish_interrupted(out / "atlas.h5", ShardFolder(out / "shards"))
    with HeldAtlas.open(out / "atlas.h5") as held:
        left = plan.without(held_units(plan, held))
    return cut(Work(plan, ShardFolder(out / "shards"), out / "atlas.h5", left))


def files(out: Path) -> dict[str, tuple[int, int]]:
    """Name → inode and time of writing of everything but folders."""
    return {
        str(path.relative_to(out)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def bytes_at_once(plan: Plan, out: Path) -> bytes:
    grow(plan, out, WHOLE)
    return (out / "atlas.h5").read_bytes()


def assert_shows(out: Path, plan: Plan) -> None:
    """Every picture of the plan is where it belongs, in a file that the schema allows."""
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        for task in ascent_tasks(plan):
            group = file[f"layers/conv1/ascent/{task.style.name}"]
            rows = {unit: row for row, unit in enumerate(file["layers/conv1/units/unit"][...].tolist())}
            for unit, sample in task.pictures:
                assert np.array_equal(group["pixels"][rows[unit], sample], picture(unit, sample))
                assert group["activation"][rows[unit], sample] == np.float32(unit + sample / 10)


@pytest.mark.parametrize("whole_below", [OPEN, WHOLE])
def test_an_atlas_grown_in_steps_has_the_bytes_of_one_made_at_once(tmp_path, whole_below):
    steps = [asking((3, 7)), asking((3,), ("plain", "other")), asking((0, 3, 5), samples=2), asking(tuple(range(20)))]
    plan, before = steps[0], 0
    for step in steps:
        plan = plan.union(step)
        pictures = sum(map(len, plan.parts.values()))
        assert grow(plan, tmp_path, whole_below) == pictures - before
        before = pictures
        assert_shows(tmp_path, plan)
        assert not list((tmp_path / "shards").rglob("*.shard"))
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert is_open(file) == (whole_below == OPEN)
    pack_atlas(tmp_path / "atlas.h5")
    assert not (tmp_path / "parts").exists()
    assert (tmp_path / "atlas.h5").read_bytes() == bytes_at_once(plan, tmp_path / "once")


def test_the_same_request_again_writes_nothing(tmp_path):
    for whole_below in (OPEN, WHOLE):
        out = tmp_path / str(whole_below)
        grow(asking((1, 2)), out, whole_below)
        before = files(out)
        assert grow(asking((1, 2)), out, whole_below) == 0
        assert files(out) == before


def test_an_addition_writes_its_own_part_and_leaves_the_others(tmp_path):
    plan = asking(tuple(range(20)))
    grow(plan, tmp_path)
    before = files(tmp_path)
    grow(plan.union(asking((4,), ("other",))), tmp_path)
    after = files(tmp_path)
    assert {name: after[name] for name in before if name.startswith("parts/")} == {
        name: kept for name, kept in before.items() if name.startswith("parts/")
    }
    assert len(after) == len(before) + 2  # the group, and its pictures


def test_a_whole_atlas_is_added_to_without_being_copied(tmp_path):
    plan = asking(tuple(range(20)))
    grow(plan, tmp_path, WHOLE)
    inode = (tmp_path / "atlas.h5").stat().st_ino
    later = plan.union(asking((4, 5), ("plain", "other"), samples=2))
    grow(later, tmp_path, OPEN)
    assert inode in {path.stat().st_ino for path in (tmp_path / "parts").iterdir()}
    assert_shows(tmp_path, later)
    assert size_of(tmp_path / "atlas.h5") == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    pack_atlas(tmp_path / "atlas.h5")
    assert (tmp_path / "atlas.h5").read_bytes() == bytes_at_once(later, tmp_path / "once")


def test_an_atlas_whose_parts_cannot_all_be_read_uses_all_that_are_there(tmp_path):
    grow(asking((1, 2), ("plain", "other"), samples=2), tmp_path)
    parts = sorted((tmp_path / "parts").glob("*.h5"))
    with h5py.File(tmp_path / "atlas.h5") as file:
        whole, linked = used_files(file), linked_files(file)
    assert whole == {part.name for part in parts} and linked < whole
    emptied, gone = (tmp_path / "parts" / name for name in sorted(linked)[:2])
    h5py.File(emptied, "w").close()
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert used_files(file) == whole
    gone.unlink()
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert used_files(file) == whole
    finish_interrupted(tmp_path / "atlas.h5", ShardFolder(tmp_path / "shards"))  # which removes what no atlas uses
    assert {path.name for path in (tmp_path / "parts").glob("*")} == whole - {gone.name}


def test_who_reads_an_atlas_while_it_grows_sees_it_as_it_was(tmp_path):
    plan = asking(tuple(range(20)))
    grow(plan, tmp_path)
    with h5py.File(tmp_path / "atlas.h5") as reading:
        later = plan.union(asking((4, 21)))
        grow(later, tmp_path)
        grow(later.union(asking((4,), samples=3)), tmp_path)
        group = reading["layers/conv1/ascent/plain"]  # its part is opened only now
        assert group["pixels"].shape[:2] == (20, 1)
        for task in ascent_tasks(plan):
            assert np.array_equal(group["pixels"][task.units[-1], 0], picture(task.units[-1], 0))
    grow(later.union(asking((5,), samples=3)), tmp_path)
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert is_open(file)
    assert (
        len(list((tmp_path / "parts").iterdir())) == 5
    )  # the group, and the pictures of four merges; what only the reader needed is gone


def test_who_reads_an_atlas_while_it_is_packed_sees_it_as_it_was(tmp_path):
    plan = asking(tuple(range(20)))
    grow(plan, tmp_path)
    with h5py.File(tmp_path / "atlas.h5") as reading:
        pack_atlas(tmp_path / "atlas.h5")
        finish_interrupted(tmp_path / "atlas.h5", ShardFolder(tmp_path / "shards"))  # as the next run begins
        pixels = reading["layers/conv1/ascent/plain/pixels"]
        for task in ascent_tasks(plan):
            assert np.array_equal(pixels[task.units[0], 0], picture(task.units[0], 0))
    finish_interrupted(tmp_path / "atlas.h5", ShardFolder(tmp_path / "shards"))
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("whole_below", [OPEN, WHOLE])
def test_what_failed_is_written_once_and_again_for_another_reason(tmp_path, whole_below):
    plan = asking((1, 2), samples=5)
    for reason in ("no room", "no gradient"):
        for _ in range(2):
            before, work = files(tmp_path), opened(plan, tmp_path)
            failed, *others = ascent_tasks(plan)
            work.shards.write_reason(failed.id, reason)
            for task in {*others} & {*work.tasks["ascent"]}:
                work.shards.write(task.id, fake_shard(task))
            report = merge(work, tmp_path / "atlas.h5", "a: 1", lambda _: None, whole_below)
            assert (report.failed, report.statuses["ok"]) == (failed.count, sum(task.count for task in others))
            with h5py.File(tmp_path / "atlas.h5") as file:
                stated = file["layers/conv1/ascent/plain/reason"].asstr()[...].tolist()
            assert stated == [reason if unit in failed.units else "" for unit in (1, 2)]
        assert {name: at for name, at in files(tmp_path).items() if not name.endswith(".failed")} == {
            name: at for name, at in before.items() if not name.endswith(".failed")
        }


@pytest.mark.parametrize("where", ["/", "layers/conv1/ascent/plain"])
def test_what_another_program_wrote_is_neither_mixed_nor_lost(tmp_path, where):
    grow(asking((1, 2)), tmp_path, WHOLE)
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        file[where].attrs["version" if where == "/" else "revision"] = 99
    before = files(tmp_path)
    with pytest.raises(OutputError, match="schema 99|by revision 99 .* choose another folder"):
        grow(asking((1, 2, 3)), tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(("at", "bad"), [(0, b"?"), (114, b"\xff\xff")], ids=["no HDF5", "the root's header"])
def test_a_damaged_atlas_is_not_written_over(tmp_path, at, bad):
    grow(asking((1, 2)), tmp_path)
    path = tmp_path / "atlas.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + bad + whole[at + len(bad) :])
    before = files(tmp_path)
    with pytest.raises(OutputError, match="damaged .* its results may be nowhere else"):
        grow(asking((1, 2, 3)), tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("packed", [True, False])
def test_an_atlas_that_lacks_a_part_is_neither_packed_nor_added_to(tmp_path, packed):
    """Else it would be taken for one without these pictures, and lose the others too."""
    grow(asking((1, 2)), tmp_path)
    (part,) = (path for path in (tmp_path / "parts").iterdir() if "pixels" not in h5py.File(path))
    part.unlink()
    before = files(tmp_path)
    with pytest.raises(OutputError, match="atlas.h5: damaged .*its results may be nowhere else"):
        pack_atlas(tmp_path / "atlas.h5") if packed else grow(asking((1, 2, 3)), tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["activation", "pixels_digest"])
def test_an_unsound_atlas_is_neither_packed_nor_added_to(tmp_path, name):
    """By arrays of another shape, of which HDF5 itself says nothing."""
    grow(asking((1, 2)), tmp_path)
    (part,) = (path for path in (tmp_path / "parts").iterdir() if "pixels" not in h5py.File(path))
    with h5py.File(part, "r+") as file:
        del file[f"layers/conv1/ascent/plain/{name}"]
        file[f"layers/conv1/ascent/plain/{name}"] = np.zeros((3, 3, 3), np.float32)
    before = files(tmp_path)
    for work in (lambda: pack_atlas(tmp_path / "atlas.h5"), lambda: grow(asking((1, 2, 3)), tmp_path)):
        with pytest.raises(OutputError, match=f"atlas.h5: damaged .*{name}"):
            work()
    assert {name: at for name, at in files(tmp_path).items() if not name.startswith("shards")} == before


def test_a_group_is_packed_at_its_path_in_the_atlas_and_not_in_its_part(tmp_path):
    grow(asking((1, 2)), tmp_path)
    (part,) = (path for path in (tmp_path / "parts").iterdir() if "pixels" not in h5py.File(path))
    with h5py.File(part, "r+") as file:
        file.move("layers/conv1/ascent/plain", "layers/conv1/ascent/moved")
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        del file["layers/conv1/ascent/plain"]
        file["layers/conv1/ascent/plain"] = h5py.ExternalLink(f"parts/{part.name}", "/layers/conv1/ascent/moved")
    pack_atlas(tmp_path / "atlas.h5")
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == [] and [*file["layers/conv1/ascent"]] == ["plain"]


@pytest.mark.parametrize("group", [False, True])
def test_pictures_that_are_not_in_their_part_are_damage_where_it_is_packed(tmp_path, group):
    grow(asking((1, 2)), tmp_path)
    (part,) = (path for path in (tmp_path / "parts").iterdir() if "pixels" in h5py.File(path))
    with h5py.File(part, "r+") as file:
        file.move("pixels", "moved")
        if group:
            file.create_group("pixels")
    with pytest.raises(OutputError, match="atlas.h5: damaged"):
        pack_atlas(tmp_path / "atlas.h5")


def test_the_pictures_to_score_are_those_that_pages_show(tmp_path):
    plan, path = asking((1, 2), samples=2), tmp_path / "atlas.h5"
    grow(plan, tmp_path)
    (shown,) = shown_pictures(path, plan, "conv1")
    with Atlas(path) as atlas:
        layer = atlas["conv1"]
        stored = layer.pictures("plain")
        expected = layer.as_shown(stored, stored.pixels[...])
        assert not np.array_equal(expected, stored.pixels[...])
    np.testing.assert_array_equal([*shown.units()], expected)


def test_a_damaged_picture_is_damage_of_the_atlas_where_all_are_read(tmp_path):
    plan, path = asking((1, 2)), tmp_path / "atlas.h5"
    grow(plan, tmp_path, WHOLE)
    (shown,) = shown_pictures(path, plan, "conv1")
    with h5py.File(path) as file:
        start = file["layers/conv1/ascent/plain/pixels"].id.get_chunk_info(0).byte_offset
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + bytes(20) + whole[start + 20 :])
    for read in (lambda: read_pictures(path, plan, "conv1", "ascent", "plain"), lambda: list(shown.units())):
        with pytest.raises((OutputError, FormatError), match="atlas.h5: damaged"):
            read()


def test_an_error_in_writing_another_file_is_no_fault_of_the_atlas(tmp_path):
    """It would be moved away for nothing."""
    grow(asking((1, 2)), tmp_path, WHOLE)
    path = tmp_path / "atlas.h5"
    with (
        pytest.raises(OSError, match="^Unable to create link"),
        HeldAtlas.open(path) as held,
        format.create(tmp_path / ".atlas.h5.links") as file,
    ):
        file["x"] = held.file["layers/conv1/units/unit"][...]
        file["x"] = 1


def test_a_missing_package_is_no_fault_of_the_atlas(tmp_path):
    grow(asking((1, 2)), tmp_path, WHOLE)
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        del file["layers/conv1/units/label"]
    with pytest.raises(ModuleNotFoundError), HeldAtlas.open(tmp_path / "atlas.h5"):
        raise ModuleNotFoundError("No module named 'x'")


def test_an_atlas_that_cannot_be_walked_over_has_no_size(tmp_path):
    grow(asking((1, 2)), tmp_path)
    whole = size_of(tmp_path / "atlas.h5")
    with h5py.File(tmp_path / "atlas.h5", "r+") as file:
        del file["layers/conv1/units"]
        file["layers/conv1/units"] = h5py.SoftLink("/nowhere")
    assert whole > 0 and size_of(tmp_path / "atlas.h5") == 0


CALLS = ((os, "fsync"), (os, "replace"), (os, "rename"), (os, "link"), (os, "unlink"), (Path, "replace"),
         (Path, "unlink"), (h5py.File, "close"), (h5py.Group, "create_dataset"), (h5py.Group, "require_group"),
         (os, "rmdir"))  # fmt: skip


def dying_at(number: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process of its own that dies at its n-th call that touches a file; False if it ended before."""
    child = os.fork()
    if child == 0:
        left = [number]
        for owner, name in CALLS:
            real = getattr(owner, name)

            def counted(*args, _real=real, **options):
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return _real(*args, **options)

            setattr(owner, name, counted)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def assert_survives(tmp_path: Path, whole_below: float, calls: Iterable[int]) -> int:
    """Let a merge die at each of these calls, and go on; return the number of the last at which it died."""
    first, then = asking((1, 2)), asking((1, 2)).union(asking((2, 5), ("plain", "other")))
    expected, last = bytes_at_once(then, tmp_path / "once"), 0
    for number in calls:
        out = tmp_path / str(number)
        grow(first, out, whole_below)
        if not dying_at(number, partial(grow, then, out, whole_below)):
            break
        last = number
        assert_shows(out, first)
        grow(then, out, whole_below)
        assert_shows(out, then)
        assert not [path for path in out.rglob("*") if path.suffix in (".part", ".shard")]
        pack_atlas(out / "atlas.h5")
        assert (out / "atlas.h5").read_bytes() == expected
    return last


@pytest.mark.parametrize("whole_below", [OPEN, WHOLE])
def test_a_death_leaves_an_atlas_that_can_be_read_and_completed(tmp_path, whole_below):
    assert assert_survives(tmp_path, whole_below, range(17, 200, 41)) > 17


@pytest.mark.slow
@pytest.mark.parametrize("whole_below", [OPEN, WHOLE])
def test_a_death_at_any_call_leaves_an_atlas_that_can_be_read_and_completed(tmp_path, whole_below):
    assert assert_survives(tmp_path, whole_below, count(1)) > 100


def test_a_folder_of_shards_that_is_empty_goes_with_what_else_a_run_left(tmp_path):
    shards = tmp_path / "shards"
    (shards / "ab").mkdir(parents=True)
    (shards / "cd").mkdir()
    (shards / "cd" / "cd12.shard").write_bytes(b"kept")
    finish_interrupted(tmp_path / "atlas.h5", ShardFolder(shards))
    assert [path.name for path in sorted(shards.rglob("*"))] == ["cd", "cd12.shard"]
    (shards / "cd" / "cd12.shard").unlink()
    finish_interrupted(tmp_path / "atlas.h5", ShardFolder(shards))
    assert not shards.exists()
