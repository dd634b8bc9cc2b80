"""Folding the first blocks into one changes no bit of the result, frees the disk, and loses nothing when it dies."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import OutputError
from pipeline.methods.tops import folding, stored_blocks
from pipeline.methods.tops.folding import Folding, fold
from pipeline.methods.tops.statistics import reduce
from pipeline.methods.tops.stored_blocks import FoldedNames, StoredBlocks

STEP = 4


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(stored_blocks, "STEP", STEP)
    monkeypatch.setattr(folding, "STEP", STEP)


def going_on() -> bool:
    return False


def results(blocks, shards, folded: int) -> bytes:
    """All bits of the results of all layers."""
    read = StoredBlocks(blocks, shards, folded)
    reduced = {
        name: reduce(read.layer(name), k=blocks[0].mining.tops.k, classes=4, quantile_hits=True)
        for name in blocks[0].layers
    }
    return pickle.dumps((reduced, read.skipped, sorted(read.packages)))


def files(shards) -> set[str]:
    return {path.name for path in shards.folder.rglob("*") if path.is_file()}


def test_the_sum_of_the_first_blocks_stands_for_them_to_the_last_bit(stored):
    blocks, shards = stored
    want = results(blocks, shards, 0)
    for before, until in ((0, 8), (8, 12), (12, 20)):
        assert fold(blocks, shards, before, until, going_on)
        assert FoldedNames(blocks).stored(shards) == until
        kept = [*FoldedNames(blocks).ids(until), *(block.id for block in blocks[until:])]
        assert files(shards) == {f"{one}.shard" for one in kept}
        assert results(blocks, shards, until) == want


def test_a_run_that_dies_at_any_write_loses_nothing(stored, monkeypatch):
    blocks, shards = stored
    want = results(blocks, shards, 0)
    fold(blocks, shards, 0, 4, going_on)
    real, discard = folding.write_whole, type(shards).discard
    for deadly in range(len(blocks[0].layers) + 1):
        writes = iter(range(100))

        def dies(path, data, deadly=deadly, writes=writes):
            if next(writes) == deadly:
                raise OutputError("full")
            real(path, data)

        monkeypatch.setattr(folding, "write_whole", dies)
        monkeypatch.setattr(type(shards), "discard", lambda self, ids: None)  # killed: it does not even tidy up
        with pytest.raises(OutputError, match="full"):
            fold(blocks, shards, 4, 8, going_on)
        assert FoldedNames(blocks).stored(shards) == 4
        assert results(blocks, shards, 4) == want
    monkeypatch.setattr(folding, "write_whole", real)
    fold(blocks, shards, 4, 8, going_on)  # complete, but killed before anything was removed
    assert FoldedNames(blocks).stored(shards) == 8 and results(blocks, shards, 8) == want
    monkeypatch.setattr(type(shards), "discard", discard)
    fold(blocks, shards, 8, 12, going_on)
    kept = [*FoldedNames(blocks).ids(12), *(block.id for block in blocks[12:])]
    assert files(shards) == {f"{one}.shard" for one in kept}


def test_what_is_given_up_leaves_no_file(stored):
    blocks, shards = stored
    before = files(shards)
    assert not fold(blocks, shards, 0, 8, lambda: True)
    assert files(shards) == before


def test_blocks_are_folded_as_they_arrive_in_any_order(stored, monkeypatch):
    blocks, shards = stored
    want, data = results(blocks, shards, 0), {block.id: shards.path(block.id).read_bytes() for block in blocks}
    shards.discard(data)
    monkeypatch.setattr(folding, "WAITING_BYTES", 3 * len(data[blocks[0].id]))
    taken = Folding(blocks, shards)
    assert taken.folded == 0
    most = 0
    for block in (*blocks[1:3], blocks[0], *blocks[3:]):
        shards.write(block.id, data[block.id])
        taken.stored()
        taken.close()
        most = max(most, len(list(shards.folder.rglob("*.shard"))))
    taken.stored()
    taken.close()
    assert taken.folded == 20 == FoldedNames(blocks).stored(shards)
    assert Folding(blocks, shards).folded == 20
    assert most < len(blocks)
    assert results(blocks, shards, 20) == want


def test_a_fault_of_the_disk_is_raised_and_the_blocks_stay(stored, monkeypatch):
    blocks, shards = stored
    before = files(shards)
    monkeypatch.setattr(folding, "WAITING_BYTES", 1)

    def full(path, data):
        raise OutputError("disk full")

    monkeypatch.setattr(folding, "write_whole", full)
    taken = Folding(blocks, shards)
    taken.stored()
    with pytest.raises(OutputError, match="disk full"):
        taken.close()
    assert taken.folded == 0 and files(shards) == before


def test_a_damaged_block_is_left_to_the_reduction_to_name(stored, monkeypatch):
    blocks, shards = stored
    monkeypatch.setattr(folding, "WAITING_BYTES", 1)
    shards.path(blocks[2].id).write_bytes(b"no shard")
    taken = Folding(blocks, shards)
    taken.stored()
    taken.close()
    taken.stored()
    taken.close()
    assert taken.folded == 0 and len(files(shards)) == len(blocks)
