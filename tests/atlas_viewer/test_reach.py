"""How far pictures go, against the definition in words: of each unit the best picture, over the best image."""

from __future__ import annotations

import numpy as np
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.reach import reach


@pytest.fixture
def atlas(generated_atlas):
    with Atlas(generated_atlas) as opened:
        yield opened


def test_a_unit_counts_once_with_its_best_picture(atlas):
    parts = [(layer, layer.run("toy")) for layer in (atlas["conv1"], atlas["fc8"])]
    found = reach(parts)
    best = np.concatenate([np.nanmax(run.activation, axis=1) for _, run in parts])
    most = np.concatenate([layer.statistics.most for layer, _ in parts])
    assert found.units == 5 + 6
    assert found.above == (best >= most).sum() and found.share == (best >= most).mean()
    assert found.median == pytest.approx(np.median(best[most > 0] / most[most > 0]))


def test_equal_is_reached(damaged):
    def level(file):
        group = file["layers/conv1/dgn/toy"]
        group["activation"][...] = file["layers/conv1/statistics/image_max"][:][:, None]

    file = damaged(level, mined=True, generated=True)
    path = file.filename
    file.close()
    with Atlas(path) as atlas:
        found = reach([(atlas["conv1"], atlas["conv1"].run("toy"))])
        assert (found.units, found.above, found.median) == (5, 5, 1.0)


def test_nothing_is_reached_without_images(sound_atlas):
    with Atlas(sound_atlas) as atlas:
        found = reach([(atlas["fc8"], atlas["fc8"].pictures("sparse"))])
        assert (found.units, found.above) == (0, 0) and np.isnan(found.share) and np.isnan(found.median)
