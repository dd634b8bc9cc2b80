"""Blocks of one image each, as results and as shards in a folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.methods.tops.blocks import BlockResult
from pipeline.methods.tops.mine import MineSettings, mine_block
from pipeline.store.shard import ShardFolder, encode_shard

sys.path.insert(0, str(Path(__file__).parents[2] / "nets"))  # the networks that tests of networks share

from networks import NETWORKS

K, CLASSES, COUNT, LAYERS = 4, 4, 23, ("conv1", "relu1", "fc6")


@dataclass(frozen=True)
class Block:
    """As much of a task as its shard needs."""

    number: int

    layers = LAYERS
    mining = SimpleNamespace(tops=SimpleNamespace(k=K), dataset=SimpleNamespace(classes=range(CLASSES)))

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


@pytest.fixture(scope="session")
def mined() -> list[BlockResult]:
    """A block of each image; half of the classes are in each half of the images."""
    network = NETWORKS["caffenet_like"]()
    size, random = network.preprocessing, np.random.default_rng(1)
    pixels = random.integers(0, 256, (COUNT, 1, size.height, size.width, 3), np.uint8)
    settings = MineSettings(k=K, smallest=True, own_class=True, quantiles=True, positions=True)
    asked = {"settings": settings, "sample": range(0, COUNT, 2), "position_sample": range(COUNT), "classes": CLASSES}
    return [
        mine_block(
            network, list(LAYERS), [(np.array([number]), pixels[number], 1)],
            labels={number: number % 2 + 2 * (number > COUNT // 2)}, device=torch.device("cpu"), **asked,
        )
        for number in range(COUNT)
    ]  # fmt: skip


@pytest.fixture
def stored(tmp_path, mined) -> tuple[list[Block], ShardFolder]:
    blocks, shards = [Block(number) for number in range(COUNT)], ShardFolder(tmp_path)
    for block, result in zip(blocks, mined, strict=True):
        facts = {"skipped": [[block.number, f"image {block.number}", "bad"]], "packages": ["numpy 2"]}
        shards.write(block.id, encode_shard(block.record(), result.arrays(), facts))
    return blocks, shards
