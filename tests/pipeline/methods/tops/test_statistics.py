from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.methods.tops import histogram, statistics
from pipeline.methods.tops.blocks import LayerBlock
from pipeline.methods.tops.histogram import BINS, ZERO
from pipeline.methods.tops.moments import of_values
from pipeline.methods.tops.statistics import LEVELS, LayerResult, quantile_images, reduce, selective_classes
from pipeline.methods.tops.topk import best_images

WIDTH, AREA, K, CLASSES = 3, 9, 4, 5


def block(
    maps: np.ndarray, images: np.ndarray, *, gated: bool = False, sampled: np.ndarray | None = None
) -> LayerBlock:
    """The block of maps (image, unit, position), its fields by plain NumPy. Image n is of class n mod 4."""
    maxima, places = maps.max(axis=2), maps.argmax(axis=2).astype(np.int32)
    chosen = np.ones(len(images), bool) if sampled is None else np.isin(images, sampled)
    classes, row = np.unique(images % 4, return_inverse=True)
    sums = np.stack([maxima[row == at].sum(axis=0, dtype=np.float64) for at in range(len(classes))])
    return LayerBlock(
        width=WIDTH,
        gated=gated,
        largest=best_images(maxima, images, places, WIDTH, K),
        smallest=best_images(maxima, images, places, WIDTH, K, smallest=True),
        own_class=None,
        not_a_number=np.zeros(maps.shape[1], np.int64),
        active=(maxima > 0).sum(axis=0),
        maxima=of_values(maxima, None),
        positions=of_values(maps.swapaxes(1, 2).reshape(-1, maps.shape[1]), None),
        maxima_counts=counted(maxima[:, :, None]),
        position_counts=counted(maps),
        classes=classes,
        class_counts=np.bincount(row)[:, None],
        class_sums=sums,
        sample_images=images[chosen],
        sample_values=maxima[chosen],
        sample_places=places[chosen],
    )


def counted(values: np.ndarray) -> np.ndarray:
    bins = np.searchsorted(histogram.EDGES, values) - 1
    bins[values == 0] = ZERO
    return np.stack([np.bincount(own.ravel(), minlength=BINS) for own in bins.swapaxes(0, 1)])


@pytest.fixture
def maps() -> np.ndarray:
    """(image, unit, position): an ordinary unit, its double, one that is off, one that is constant, one often off."""
    random = np.random.default_rng(0)
    maps = random.normal(2, 3, (24, 5, AREA)).astype(np.float32)
    maps[:, 1] = -2 * maps[:, 0].max(axis=1, keepdims=True)
    maps[:, 2] = -np.abs(maps[:, 2])
    maps[:, 3] = 0.1
    maps[:, 4] = np.maximum(maps[:, 4] - 5, 0)
    return maps


def whole(maps: np.ndarray, cuts: tuple[int, ...] = (), **changes) -> LayerResult:
    images = np.arange(len(maps))
    parts = [block(maps[at], at, **changes) for at in np.split(images, cuts)]
    return reduce(parts, k=K, classes=CLASSES, quantile_hits=True)


def test_spread_is_that_of_all_values(maps):
    found = whole(maps, (7, 20)).statistics
    maxima, values = maps.max(axis=2).T, maps.swapaxes(0, 1).reshape(5, -1)
    for spread, want in ((found.maxima, maxima), (found.positions, values)):
        assert spread.moments.mean == pytest.approx(want.mean(axis=1), rel=1e-5)
        assert spread.moments.variance == pytest.approx(want.var(axis=1), rel=1e-4, abs=1e-10)
        assert (spread.counts.sum(axis=1) == want.shape[1]).all()
        assert spread.active == pytest.approx((want > 0).mean(axis=1))
        median = LEVELS.index(0.5)
        assert spread.quantiles[[0, 1, 3], median] == pytest.approx(np.median(want, axis=1)[[0, 1, 3]], rel=0.25)


def test_the_cut_into_blocks_moves_nothing_but_the_last_bits_of_moments(maps):
    one, several = whole(maps), whole(maps, (3, 4, 19))
    for kind, hits in one.hits.items():
        for name in ("value", "image", "row", "column"):
            np.testing.assert_array_equal(getattr(hits, name), getattr(several.hits[kind], name))
    a, b = one.statistics, several.statistics
    np.testing.assert_array_equal(a.maxima.counts, b.maxima.counts)
    np.testing.assert_array_equal(a.positions.counts, b.positions.counts)
    np.testing.assert_array_equal(a.nearest, b.nearest)
    np.testing.assert_array_equal(a.correlation, b.correlation)
    np.testing.assert_array_equal(a.dead, b.dead)
    np.testing.assert_allclose(a.class_mean, b.class_mean, rtol=1e-6)


def test_redundant_units_are_named_and_constant_units_have_none(maps):
    found = whole(maps).statistics
    assert found.nearest.tolist()[:2] == [1, 0] and found.redundant_unit.tolist()[:2] == [1, 0]
    assert found.correlation[:2] == pytest.approx([-1, -1])
    assert found.nearest[3] == found.redundant_unit[3] == -1
    assert found.redundant_unit[4] == -1 and found.nearest[4] != -1  # the nearest one correlates too little


@pytest.mark.parametrize(("gated", "dead"), [(False, [3]), (True, [2, 3])])
def test_a_dead_unit_is_off_everywhere_or_never_varies(maps, gated, dead):
    maps[:, 1] += 100  # never off
    assert np.flatnonzero(whole(maps, gated=gated).statistics.dead).tolist() == dead


def test_a_unit_that_varies_in_an_image_whose_positions_are_not_counted_varies(maps):
    few = maps[:2].copy()
    few[:, 0] = 7.0  # constant in the images that are counted
    images = np.arange(len(maps))
    parts = block(maps, images), block(few, images[:2])
    found = reduce(
        [replace(parts[0], positions=parts[1].positions)], k=K, classes=CLASSES, quantile_hits=False
    ).statistics
    assert found.never_varies.tolist() == [False, False, False, True, False]
    assert not found.dead[0]


def test_class_means_and_the_most_selective_classes(maps):
    found = whole(maps, (5,)).statistics
    maxima = maps.max(axis=2)
    want = np.stack([maxima[label::4].mean(axis=0) for label in range(4)], axis=1)
    np.testing.assert_allclose(found.class_mean[:, :4], want, rtol=1e-5)
    assert np.isnan(found.class_mean[:, 4]).all()  # no image
    assert found.class_images.tolist() == [6, 6, 6, 6, 0]
    best = selective_classes(found.class_mean, 5)
    assert best[0].tolist() == [*np.argsort(-want[0]).tolist(), -1]
    assert selective_classes(found.class_mean, 7).shape == (5, 7)


def test_quantile_images_are_evenly_spaced_in_the_order_of_the_sample(monkeypatch):
    monkeypatch.setattr(statistics, "_COLUMNS", 2)
    random = np.random.default_rng(0)
    images, values = np.arange(21) * 3, random.permuted(np.tile(np.arange(21.0), (3, 1)), axis=1).T.astype(np.float32)
    hits = quantile_images(images, values, np.zeros(values.shape, int), WIDTH, 5)
    assert hits.value.tolist() == [[20, 15, 10, 5, 0]] * 3
    for unit in range(3):
        assert (values[hits.image[unit] // 3, unit] == hits.value[unit]).all()


def test_few_images_are_all_quantile_hits_and_none_is_there_twice():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [2.0, np.nan]], np.float32)
    hits = quantile_images(np.arange(3), values, np.zeros(values.shape, int), WIDTH, 4)
    assert hits.image.tolist() == [[1, 2, 0, -1], [1, -1, -1, -1]]
    assert quantile_images(np.arange(3), values, np.zeros(values.shape, int), WIDTH, 1).image.tolist() == [[1], [1]]
    assert quantile_images(np.zeros(0, int), values[:0], values[:0], WIDTH, 2).image.tolist() == [[-1, -1]] * 2


def test_quantiles_and_redundant_units_follow_from_the_sample_alone(maps):
    sampled = np.arange(0, 24, 2)
    found = whole(maps, (9,), sampled=sampled)
    assert set(found.hits["quantile"].image[0].tolist()) <= set(sampled.tolist())
    only = quantile_images(sampled, maps.max(axis=2)[sampled], maps.argmax(axis=2)[sampled], WIDTH, K)
    np.testing.assert_array_equal(found.hits["quantile"].image, only.image)


def test_no_block_is_refused():
    with pytest.raises(ValueError, match="no block"):
        reduce([], k=K, classes=1, quantile_hits=False)
