"""A process draws a drawing once, keeps no more than it may, and gives everyone pixels of their own."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data import doodles, source
from pipeline.data.doodles import Doodles, draw
from pipeline.data.source import doodle_source


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What has been drawn so far: seed, number and size of each."""
    asked: list[tuple[int, int, int]] = []

    def counted(*what: int) -> tuple[np.ndarray, int]:
        asked.append(what)
        return draw(*what)

    monkeypatch.setattr(source, "_kept", {})
    monkeypatch.setattr(doodles, "draw", counted)
    return asked


def _pixels(seed: int, size: int = 24, count: int = 3) -> np.ndarray:
    return np.stack([load() for _, load in doodle_source("doodles", Doodles(seed, count, size)).loads(0, count)])


def test_drawings_are_kept_and_what_readers_do_to_them_is_theirs_alone(drawn):
    first = _pixels(3)
    for _, load in doodle_source("doodles", Doodles(3, 3, 24)).loads(0, 3):
        load()[:] = 0
    assert np.array_equal(first, _pixels(3)) and drawn == [(3, number, 24) for number in range(3)]
    assert np.array_equal(first, np.stack([draw(3, number, 24)[0] for number in range(3)]))
    assert not np.array_equal(first, _pixels(4)) and _pixels(3, size=12).shape == (3, 12, 12, 3)


def test_the_first_drawings_are_kept_as_far_as_there_is_room(drawn, monkeypatch):
    monkeypatch.setattr(source, "_KEPT", 2 * 24 * 24 * 3)
    assert np.array_equal(_pixels(3), _pixels(3))
    assert drawn == [(3, number, 24) for number in (0, 1, 2, 2)]
