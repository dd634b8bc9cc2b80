"""Blocks are put together layer by layer, with few open files, and equal one block of all images."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.errors import ShardError
from pipeline.methods.tops import topk
from pipeline.methods.tops.blocks import BlockResult
from pipeline.methods.tops.mine import MineSettings, mine_block
from pipeline.methods.tops.reduction import Reduction
from pipeline.methods.tops.statistics import reduce
from pipeline.store.shard import ShardFolder, encode_shard

sys.path.insert(0, str(Path(__file__).parents[2] / "nets"))  # the networks that tests of networks share

from networks import NETWORKS

K, CLASSES, COUNT, LAYERS = 4, 4, 23, ["conv1", "relu1", "fc6"]
PLAN = SimpleNamespace(
    settings={
        "tops": {
            "dataset": SimpleNamespace(
                tops=SimpleNamespace(k=K, quantiles=True), dataset=SimpleNamespace(classes=range(CLASSES))
            )
        }
    }
)


@dataclass(frozen=True)
class Block:
    """As much of a task as its shard needs."""

    number: int

    @property
    def id(self) -> str:
        return f"{self.number:032x}"

    @property
    def words(self) -> str:
        return f"block {self.number}"

    def record(self) -> dict[str, int]:
        return {"number": self.number}

    def flaw(self, facts: dict) -> None:
        return None


@pytest.fixture(scope="module")
def mined() -> list[BlockResult]:
    """A block of each image."""
    network = NETWORKS["caffenet_like"]()
    size, random = network.preprocessing, np.random.default_rng(1)
    pixels = random.integers(0, 256, (COUNT, 1, size.height, size.width, 3), np.uint8)
    settings = MineSettings(k=K, smallest=True, own_class=True, quantiles=True, positions=True)
    asked = {"settings": settings, "sample": range(COUNT), "position_sample": range(COUNT), "classes": CLASSES}
    return [
        mine_block(
            network, LAYERS, [(np.array([number]), pixels[number], 1)], labels={number: number % CLASSES},
            device=torch.device("cpu"), **asked,
        )
        for number in range(COUNT)
    ]  # fmt: skip


@pytest.fixture
def stored(tmp_path, mined) -> tuple[list[Block], ShardFolder]:
    blocks, shards = [Block(number) for number in range(COUNT)], ShardFolder(tmp_path)
    for block, result in zip(blocks, mined, strict=True):
        facts = {"skipped": [], "packages": ["numpy 2"]}
        shards.write(block.id, encode_shard(block.record(), result.arrays(), facts))
    return blocks, shards


def test_few_files_are_open_and_the_result_is_that_of_the_blocks_in_order(stored, mined):
    (blocks, shards), limits = stored, resource.getrlimit(resource.RLIMIT_NOFILE)
    highest, filled = max(map(int, os.listdir("/proc/self/fd"))), [os.open(os.devnull, os.O_RDONLY)]
    while filled[-1] <= highest:  # no free numbers below
        filled.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (filled[-1] + 1 + len(blocks) // 2, limits[1]))
    try:
        reduction = Reduction(PLAN, blocks, shards)
        found = {name: reduction.layer(name) for name in LAYERS}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in filled:
            os.close(descriptor)
    assert reduction.packages == {"numpy 2"} and reduction.skipped == []
    for name, result in found.items():
        want = reduce([block.layers[name] for block in mined], k=K, classes=CLASSES, quantile_hits=True)
        assert result.hits.keys() == want.hits.keys()
        for kind, hits in want.hits.items():
            for field in topk.FIELDS:
                np.testing.assert_array_equal(getattr(result.hits[kind], field), getattr(hits, field))
        np.testing.assert_array_equal(result.statistics.class_mean, want.statistics.class_mean)
        np.testing.assert_array_equal(result.statistics.maxima.moments.mean, want.statistics.maxima.moments.mean)


def test_a_missing_or_damaged_block_is_named(stored):
    blocks, shards = stored
    path = shards.path(blocks[5].id)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError, match="damaged"):
        Reduction(PLAN, blocks, shards)
    path.unlink()
    with pytest.raises(LookupError, match="block 5"):
        Reduction(PLAN, blocks, shards)
