"""Pages while an atlas is computed: they say how much there is, and leave nothing behind in the finished ones."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_network import SMALL

from jobs import early_pages, folder
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.site import SiteSettings, build_pages
from pipeline.store.merging import MergeReport

SETTINGS = SiteSettings(1, False)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The folder of an atlas without pages."""
    folder = tmp_path_factory.mktemp("atlas")
    assert atlas(compose_config("atlas", [*SMALL, f'out="{folder}"', "units=[fc]", "samples=1"])) == 0
    return folder


@contextmanager
def begun(out: Path):
    """Early pages that are being made."""
    with early_pages.early_pages(out, SETTINGS) as merged:
        merged(MergeReport(pictures=1203, missing=3))
        yield merged.__self__


def note(out: Path) -> str:
    return (out / "site" / "static" / "note.css").read_text()


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in (out / "site").rglob("*") if path.is_file()}


def test_unfinished_pages_say_so_and_finished_ones_are_those_of_one_build(out, capsys):
    with begun(out) as pages:
        pages._thread.join(60)
    assert "not finished: 1,200 of 1,203 pictures" in note(out).replace("\\3a ", ":")
    assert f"first pages: open {out}/site/index.html" in capsys.readouterr().err
    early = files(out)
    build_pages(out, SETTINGS)
    late = files(out)
    assert {name for name in late if early.get(name) != late[name]} == {"site/static/note.css"}
    assert "content" not in note(out)


def test_pages_that_are_being_made_end_with_the_run(out):
    before, threads = files(out), threading.active_count()
    with begun(out) as pages:
        while not (out / "site.building").exists():
            time.sleep(0.01)
    assert pages._process.exitcode in (143, -signal.SIGTERM)  # the latter where it was asked again while it ended
    assert threading.active_count() == threads
    assert not (out / "site.building").exists() and files(out) == before


def test_pages_take_a_share_of_the_time(out, monkeypatch):
    made, now = [], [100.0]
    monkeypatch.setattr(early_pages.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(early_pages.multiprocessing, "get_context", lambda kind: Instead)

    class Instead:
        exitcode, pid = 0, None

        def __init__(self, target, args):
            made.append(args)

        Process = classmethod(lambda cls, target, args: cls(target, args))

        def start(self):
            now[0] += 10

        def join(self):
            pass

    with early_pages.early_pages(out, SETTINGS) as merged:
        for later in (0.0, 39.0, 1.0):
            now[0] += later
            merged(MergeReport())
            merged.__self__._thread.join()
    assert len(made) == 2  # at 100, and at 150: 10 of 50 seconds


def test_an_atlas_with_early_pages_has_the_pages_of_one_made_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MERGE_SECONDS", 0.0)
    monkeypatch.setattr(folder, "MERGE_SHARE", 1e9)
    asked = [*SMALL, "pages=true", "site.workers=1", "units=[fc]"]
    seen = []
    merged = early_pages.EarlyPages.merged
    monkeypatch.setattr(
        early_pages.EarlyPages, "merged", lambda self, report: (seen.append(report), merged(self, report))
    )
    assert atlas(compose_config("atlas", [*asked, f'out="{tmp_path / "grown"}"'])) == 0
    assert seen and seen[0].missing
    monkeypatch.setattr(folder, "MERGE_SECONDS", 1e9)
    assert atlas(compose_config("atlas", [*asked, f'out="{tmp_path / "at_once"}"'])) == 0
    assert files(tmp_path / "grown") == files(tmp_path / "at_once")
