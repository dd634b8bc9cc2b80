"""The job that writes an atlas for other programs: what it takes, and what it says to what it cannot take."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from jobs.console import run_job
from jobs.export import export

RELEASED = Path(__file__).parents[1] / "atlas_viewer" / "released" / "version-2.h5.xz"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_job(export, "export", "", arguments)
    return stopped.value.code


def test_each_layout_gets_a_folder_beside_the_atlas(tmp_path, capsys):
    (tmp_path / "atlas.h5").write_bytes(lzma.decompress(RELEASED.read_bytes()))
    assert run(f'out="{tmp_path}"', "layout=montages") == 0
    assert (tmp_path / "export" / "montages" / "fc8" / "ascent.sparse.png").is_file()
    assert run(f'out="{tmp_path}"', "layout=[montages,toolbox]", f'to="{tmp_path}/given"', "side=8") == 0
    assert {path.name for path in (tmp_path / "given").iterdir()} == {"montages", "toolbox"}
    assert capsys.readouterr().err.count(" files\n") == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "layout: missing; choose by LAYOUT=… from toolbox, milan, montages, parquet"),
        (
            ["layout=tollbox"],
            "layout: got 'tollbox', expected one of toolbox, milan, montages, parquet (nearest: toolbox)",
        ),
        (["layout=toolbox", "side=0"], "side: got 0, expected 1 to 1000"),
        (["layout=toolbox"], "atlas.h5: not found; make it with make atlas"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(tmp_path, capsys, arguments, told):
    assert run(f'out="{tmp_path}"', *arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and told in said.err
