"""Merges during a run: by the clock, and before what waits fills the disk."""

from __future__ import annotations

import pytest
from cards import asking_styles, style_record
from fake_shards import fake_shard

from jobs import folder
from jobs.folder import Growing, open_work
from pipeline.methods.registry import cut
from pipeline.store.publishing import size_of


@pytest.fixture
def work(tmp_path):
    """The work of a plan of several tasks."""
    work = open_work(asking_styles({"conv1": tuple(range(20))}, [style_record("plain")], samples=3), tmp_path)
    return cut(work)


def test_what_waits_is_merged_before_it_fills_the_disk(work, tmp_path, monkeypatch):
    shards = [(task.id, fake_shard(task)) for task in work.tasks["ascent"]]
    monkeypatch.setattr(folder, "MERGE_BYTES", len(shards[0][1]) + 1)
    monkeypatch.setattr(folder, "MERGE_PART", 0.0)
    growing, waiting = Growing(work, tmp_path), []
    for name, data in shards:
        work.shards.write(name, data)
        growing.tick()
        waiting.append(len(work.shards.present()))
    assert len(shards) >= 3 and waiting[:3] == [1, 0, 1]


def test_a_large_atlas_lets_more_wait(work, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MERGE_BYTES", 1)
    monkeypatch.setattr(folder, "MERGE_PART", 1e-9)
    growing, first, *others = Growing(work, tmp_path), *work.tasks["ascent"]
    work.shards.write(first.id, fake_shard(first))
    growing.tick()
    assert size_of(tmp_path / "atlas.h5") and not work.shards.present()
    monkeypatch.setattr(folder, "MERGE_PART", 1e9)
    growing = Growing(work, tmp_path)
    for task in others:
        work.shards.write(task.id, fake_shard(task))
        growing.tick()
    assert len(work.shards.present()) == len(others)


def test_the_clock_merges_too(work, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(folder.time, "monotonic", lambda: now[0])
    merged = []
    growing, (first, *_) = Growing(work, tmp_path, merged.append), work.tasks["ascent"]
    work.shards.write(first.id, fake_shard(first))
    now[0] = folder.MERGE_FIRST - 1
    growing.tick()
    assert work.shards.present() == {first.id} and not merged
    now[0] = folder.MERGE_FIRST
    growing.tick()
    assert not work.shards.present()
    assert [report.missing for report in merged] == [merged[0].pictures - first.count]


def test_merges_come_less_and_less_often(work, tmp_path, monkeypatch):
    now, merged = [0.0], []
    monkeypatch.setattr(folder.time, "monotonic", lambda: now[0])
    growing = Growing(work, tmp_path, lambda report: merged.append(now[0]))
    for now[0] in range(500):
        growing.tick()
    assert merged[:4] == [15, 30, 45, 68] and merged[-1] - merged[-2] == folder.MERGE_SECONDS
