"""Similar units and the units of a class, against the plain definition."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from atlas_viewer import likeness


class Layer(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.image)


def made(means: np.ndarray | None, image: np.ndarray) -> Layer:
    """What is read of a layer. means : (unit, class)."""
    statistics = None
    if means is not None:
        deviation = np.where(np.nanstd(means, axis=1) > 0, 2.0, 0.0)
        statistics = SimpleNamespace(group={"class_mean": means}, mean=np.full(len(means), 0.5), deviation=deviation)
    return Layer(statistics=statistics, kinds=("largest",), image=image, tops=lambda kind: SimpleNamespace(image=image))


MEANS = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
MEANS[3] = 0  # a dead unit
MEANS[:, 5] = np.nan  # a class without images
IMAGE = np.array([[0, 1, 2], [2, 1, 7], [9, 8, -1], [-1, -1, -1]])


def test_similar_units_are_those_with_correlated_means_over_the_classes(monkeypatch):
    monkeypatch.setattr(likeness, "_ROWS", 7)
    found = likeness.similar_units(made(MEANS, np.zeros((20, 1), int)), 4)
    with np.errstate(invalid="ignore", divide="ignore"):
        full = np.nan_to_num(np.corrcoef(np.delete(MEANS, 5, axis=1)))
    np.fill_diagonal(full, 0)
    for unit in range(20):
        order = [row for row in np.argsort(-full[unit], kind="stable")[:4] if full[unit, row] > 0]
        assert [row for row in found.rows[unit] if row >= 0] == order
        assert np.allclose(found.value[unit][: len(order)], full[unit, order], atol=1e-5)
    assert (found.rows[3] == -1).all() and "over 11 classes" in found.meaning and not found.is_count


def test_without_classes_they_are_those_with_common_hits():
    found = likeness.similar_units(made(None, IMAGE), 2)
    assert found.rows.tolist() == [[1, -1], [0, -1], [-1, -1], [-1, -1]]
    assert found.value[0].tolist() == [2, 0] and found.is_count


def test_the_units_of_a_class_stand_out_most_among_their_own_deviations():
    rows, value = likeness.class_units(made(MEANS, np.zeros((20, 1), int)), 3)
    assert rows.shape == (12, 3) and (rows[5] == -1).all() and 3 not in rows
    raised = (np.delete(MEANS, 3, axis=0)[:, 0] - 0.5) / 2
    assert value[0][0] == raised.max()
