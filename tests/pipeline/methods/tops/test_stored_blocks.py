"""Stored blocks are read with few open files, in order, and a missing or damaged one is named."""

from __future__ import annotations

import os
import resource

import numpy as np
import pytest

from pipeline.errors import MissingBlockError, ShardError
from pipeline.methods.tops import topk
from pipeline.methods.tops.statistics import reduce
from pipeline.methods.tops.stored_blocks import StoredBlocks

K, CLASSES = 4, 4


def test_few_files_are_open_and_the_result_is_that_of_the_blocks_in_order(stored, mined):
    (blocks, shards), limits = stored, resource.getrlimit(resource.RLIMIT_NOFILE)
    highest, filled = max(map(int, os.listdir("/proc/self/fd"))), [os.open(os.devnull, os.O_RDONLY)]
    while filled[-1] <= highest:  # no free numbers below
        filled.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (filled[-1] + 1 + len(blocks) // 2, limits[1]))
    asked = {"k": K, "classes": CLASSES, "quantile_hits": True}
    try:
        read = StoredBlocks(blocks, shards, 0)
        found = {name: reduce(read.layer(name), **asked) for name in blocks[0].layers}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in filled:
            os.close(descriptor)
    assert read.packages == {"numpy 2"} and [bad.image for bad in read.skipped] == list(range(len(blocks)))
    for name, result in found.items():
        want = reduce([block.layers[name] for block in mined], **asked)
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
        StoredBlocks(blocks, shards, 0)
    path.unlink()
    with pytest.raises(MissingBlockError, match="block 5"):
        StoredBlocks(blocks, shards, 0)
