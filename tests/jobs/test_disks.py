"""A disk that is full or fails: one line that says so, nothing lost, and the same command goes on to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_network import SMALL

from atlas_viewer.site.folder import MARK, replacing
from atlas_viewer.verify import faults
from jobs import site
from jobs.atlas import atlas
from jobs.console import REFUSED, run_job
from pipeline.errors import OutputError
from pipeline.store.held import HeldAtlas

HERE = Path(__file__).parent
ASKED = [*SMALL, "pages=true", "site.workers=1", "check_disk=false"]
OF_HDF5 = (
    "Disable slist on flush dest failure failed (file write failed: time = Sat, filename = '/a/b.h5', file descriptor "
    "= 5, errno = 28, error message = 'No space left on device', offset = 2048)"
)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "…", "/a/b"), "/a/b: No space left on device; free space, or choose another folder"),
        (OSError(errno.EIO, "…"), "the disk: Input/output error; see to the disk, or choose another folder"),
        (RuntimeError(OF_HDF5), "/a/b.h5: No space left on device; free space, or choose another folder"),
    ],
)
def test_a_fault_of_a_disk_ends_in_one_line(raised, said, capsys):
    def job(config):
        raise raised

    with pytest.raises(SystemExit) as ended:
        run_job(job, "status", "", ["out=x"])
    assert ended.value.code == REFUSED
    assert capsys.readouterr().err == f"error: {said} with OUT=…; the same command continues\n"


def test_pages_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    def full(*at, **how):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "atlas.h5").touch()
    monkeypatch.setattr("atlas_viewer.site.build.build", full)
    with pytest.raises(OutputError, match=r"/site: the pages cannot be written \(No space left .* free space"):
        site.build_pages(tmp_path, site.SiteSettings(1, False))


def test_an_atlas_that_the_disk_does_not_give_is_not_called_damaged(tmp_path, monkeypatch):
    def fails(*at, **how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pipeline.store.held.h5py.File", fails)
    said = r"atlas.h5: cannot be read \(Input/output error\); see to the disk"
    with pytest.raises(OutputError, match=said), HeldAtlas.open(tmp_path / "atlas.h5"):
        pass


def test_the_pages_of_before_stay_if_the_new_ones_cannot_take_their_place(tmp_path, monkeypatch):
    real, out = Path.rename, tmp_path / "site"
    with replacing(out) as new:
        (new / "page").write_text("before")

    def fails(path, target):
        if path.name == "site.building":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"), replacing(out) as new:
        (new / "page").write_text("after")
    assert (out / "page").read_text() == "before" and [path.name for path in tmp_path.iterdir()] == ["site"]
    real(out, tmp_path / "site.replaced")  # as a run leaves them that is killed between the two steps
    with pytest.raises(ZeroDivisionError), replacing(out):
        raise ZeroDivisionError
    assert (out / MARK).is_file() and (out / "page").read_text() == "before"


def ended(out: Path, *overrides: str) -> int:
    with pytest.raises(SystemExit) as end:
        run_job(atlas, "atlas", "", [*ASKED, f'out="{out}"', *overrides])
    return int(end.value.code)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of a few kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # a traceback may still hold an open file


@pytest.mark.slow
def test_a_disk_that_fills_at_every_stage_loses_nothing(small_disk, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    assert ended(tmp_path / "once") == 0
    expected = content(tmp_path / "once")
    capsys.readouterr()
    for kilobytes in (4, 40, 80, 120, 160, 240, 320, 480):
        remounted(small_disk, kilobytes)
        code, said = ended(small_disk / "out"), capsys.readouterr().err
        assert code in (0, REFUSED) and "Traceback" not in said
        if code == REFUSED:
            (line,) = (line for line in said.splitlines() if line.startswith("error: "))
            assert "No space left on device" in line and "free space" in line
        if (small_disk / "out" / "atlas.h5").exists():
            assert [*faults(small_disk / "out" / "atlas.h5")] == []
    remounted(small_disk, 1 << 16)
    assert ended(small_disk / "out") == 0
    assert content(small_disk / "out") == expected
    shutil.rmtree(small_disk / "out")


def remounted(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", disk], capture_output=True)  # never below what is used


def content(out: Path) -> dict[str, bytes]:
    """All files but logs."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and "log" not in path.parts)
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grown", "merging", "calls"), [(False, False, 150), (True, False, 150), (True, True, 600)],
    ids=["at once", "grown", "grown with a merge after each task"],
)  # fmt: skip
def test_a_disk_that_fails_at_any_call_loses_nothing(grown, merging, calls, tmp_path, monkeypatch):
    """One call in so many fails: full from then on, once with an error of the device, or dead from then on."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    shim = tmp_path / "disk_faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, HERE / "disk_faults.c", "-ldl"], check=True)
    monkeypatch.syspath_prepend(str(HERE))
    if grown:
        assert ended(tmp_path / "template") == 0
    request = {
        "job": "atlas", "arguments": [*ASKED, *(["styles=[low_frequency,sparse]"] if grown else [])],
        "whole_below": 0 if grown else 1e9, "merging": merging, "folder": str(tmp_path / "runs"), "calls": calls,
        "template": str(tmp_path / "template") if grown else None,
        "faults": [[errno.ENOSPC, 1, True], [errno.EIO, 3, False], [errno.EIO, 3, True]],
    }  # fmt: skip
    (tmp_path / "runs").mkdir()
    run = subprocess.run(
        [sys.executable, str(HERE / "faulty_disk.py"), json.dumps(request)], capture_output=True, text=True,
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    cases = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(cases) > 10
    for case in cases:
        crashed = case["code"] == -signal.SIGSEGV  # HDF5, rarely, as a process ends in which a write failed
        assert (case["code"] in (0, REFUSED) or crashed) and "Traceback" not in case["said"], case
        assert case["damage"] == [] and case["same"] and case["left"] == [], case
        assert case["there"] or not grown, case
        if case["code"] == REFUSED or crashed:
            assert sum(line.startswith("error: ") for line in case["said"].splitlines()) == 1, case
