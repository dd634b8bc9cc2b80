"""The job that compares two atlases: its exit codes, its table, and what it says to what it cannot take."""

from __future__ import annotations

import lzma
from pathlib import Path

import h5py
import pytest

from jobs.console import run_job
from jobs.diff import diff

RELEASED = Path(__file__).parents[1] / "atlas_viewer" / "released" / "version-2.h5.xz"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_job(diff, "diff", "", arguments)
    return stopped.value.code


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """Two atlases, the second with one activation of conv1 that is larger by 4."""
    root = tmp_path_factory.mktemp("two")
    for name in ("a", "b"):
        (root / name).mkdir()
        (root / name / "atlas.h5").write_bytes(lzma.decompress(RELEASED.read_bytes()))
    with h5py.File(root / "b" / "atlas.h5", "r+") as file:
        group = file["layers/conv1/ascent/sparse"]
        group["activation"][2] = group["activation"][2] + 4
        group.attrs["seal"] = "0" * 64
    return f'a="{root}/a"', f'b="{root}/b"'


def test_the_exit_code_says_whether_they_differ(folders, tmp_path, capsys):
    a, b = folders
    assert run(a, b.replace("/b", "/a")) == 0
    assert capsys.readouterr().err == "the same\n"
    assert run(a, b, f'out="{tmp_path}/page"') == 1
    said = capsys.readouterr()
    assert "conv1  ascent/sparse      5       0       0       1" in said.out and "\nconv1:2 ascent/sparse: " in said.out
    assert said.err == f"open {tmp_path}/page/index.html\nunits that differ: 1 of 19 compared\n"
    assert {"index.html", "units.csv"} <= {path.name for path in (tmp_path / "page").iterdir()}
    assert run(a, b, "tolerance=0.9") == 0


def test_a_layer_that_one_atlas_alone_has_is_named_where_no_unit_differs(folders, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "atlas.h5").write_bytes(lzma.decompress(RELEASED.read_bytes()))
    with h5py.File(tmp_path / "b" / "atlas.h5", "r+") as file:
        del file["layers/conv1"]
    for first, second, alone in (("a", "b", "A"), ("b", "a", "B")):
        assert run(f'a="{tmp_path}/{first}"', f'b="{tmp_path}/{second}"') == 1
        assert capsys.readouterr().err == f"units that differ: 0 of 14 compared; layers only in {alone}: conv1\n"


def test_two_settings_of_one_atlas(folders, capsys):
    assert run(folders[0], "settings=[low_frequency,sparse]", "shown=1") == 1
    said = capsys.readouterr().out
    assert "ascent/low_frequency | ascent/sparse: blur_width 1.0 | 0.5\n" in said
    assert "\n… and " in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "a: missing; name the folders of two atlases: make diff A=atlases/a B=atlases/b"),
        (["{a}"], "b: missing"),
        (["{a}", "b=nowhere"], "nowhere: not found; name the folder of an atlas by B="),
        (["{a}", "settings=[x]"], "settings: got ['x'], expected two styles or runs"),
        (["{a}", "settings=[sparce,sparse]"], "no style or run sparce (nearest: sparse"),
        (["{a}", "{b}", "tolerance=-1"], "tolerance: got -1, expected a number from 0 up"),
        (["{a}", "{b}", "shown=-1"], "shown: got -1, expected 0 or more"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(folders, capsys, arguments, told):
    assert run(*(each.format(a=folders[0], b=folders[1]) for each in arguments)) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and told in said.err
