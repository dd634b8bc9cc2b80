"""The sample of a layer does not depend on how the readings were cut."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.methods.tops.tally import Images, Tally

UNITS = 6


@pytest.mark.parametrize(
    "cuts", [((0, 6), (0, 6)), ((0, 4, 6), (0, 5, 6)), ((0, 2, 4, 6), (0, 3, 6)), ((0, 6), (0, 1, 6))]
)
def test_images_may_be_cut_into_other_parts_than_those_before(cuts):
    counts = (3, 2)
    value = np.random.default_rng(0).normal(size=(sum(counts), UNITS)).astype(np.float32)
    place = np.arange(value.size).reshape(value.shape).astype(np.uint16)
    tally = Tally(UNITS, 8, 8, 2, 1, smallest=True, own_class=False, distribution=True)
    for start, count, bounds in zip((0, counts[0]), counts, cuts, strict=True):
        rows = slice(start, start + count)
        images = Images.of(np.arange(start, start + count), np.zeros(count, np.int64), np.ones(count, bool))
        for left, right in zip(bounds, bounds[1:], strict=False):
            tally.add(images, value[rows, left:right], place[rows, left:right], slice(left, right))
    sample = tally.distribution()
    assert sample["sample_images"].tolist() == list(range(sum(counts)))
    assert np.array_equal(sample["sample_values"], value) and np.array_equal(sample["sample_places"], place)
