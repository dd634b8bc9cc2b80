"""The job that puts several networks on one page: what it takes, and what it says to what it cannot take."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.compare import compare
from jobs.console import run_job


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_job(compare, "compare", "", arguments)
    return stopped.value.code


def refusal(capsys, *arguments: str) -> str:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


@pytest.fixture
def folders(tmp_path):
    """Two folders with something in place of an atlas; one has a space in its name."""
    found = [tmp_path / "a", tmp_path / "b b"]
    for folder in found:
        folder.mkdir()
        (folder / "atlas.h5").write_text("no atlas")
    return found


def test_folders_and_classes_reach_the_page(folders, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("atlas_viewer.site.pages.networks.compare", lambda *given: asked.append(given) or ("house",))
    spoken = f"atlases=\"{folders[0]} '{folders[1]}'\""
    assert run(spoken, f'out="{tmp_path}/page"', "classes=[house]") == 0
    assert run(f'atlases=["{folders[0]}","{folders[1]}"]', "count=3") == 0
    paths = [folder / "atlas.h5" for folder in folders]
    assert asked == [(paths, tmp_path / "page", ["house"], 30), (paths, Path("atlases/compared"), [], 3)]
    assert f"2 networks, 1 class\nopen {tmp_path}/page/index.html" in capsys.readouterr().err


def test_what_cannot_be_compared_is_said_in_one_line(folders, tmp_path, capsys):
    assert "atlases: missing; give two folders or more" in refusal(capsys)
    assert "atlases: got a, expected two folders or more" in refusal(capsys, "atlases=a")
    gone = refusal(capsys, f'atlases="{tmp_path}/c {tmp_path}/d"')
    assert f"{tmp_path}/c/atlas.h5: not found; make it with make atlas" in gone
    given = f'atlases=["{folders[0]}","{folders[1]}"]'
    assert "count: got 0, expected 1 or more" in refusal(capsys, given, "count=0")
    assert "classes: got house, expected a list" in refusal(capsys, given, "classes=house")
    assert "not an HDF5 file" in refusal(capsys, given)
