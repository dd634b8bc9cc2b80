"""The schedule of a training: each image once an epoch, and a rate that rises and falls to zero."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.training.schedule import epoch_rows, warm_and_linear


def test_every_drawing_is_seen_once_an_epoch() -> None:
    first, second = (
        np.concatenate([epoch_rows(step, seed=0, count=48, batch=16) for step in range(start, start + 3)])
        for start in (0, 3)
    )
    assert sorted(first) == sorted(second) == list(range(48))
    assert first.tolist() != second.tolist()


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [warm_and_linear(step, steps=60, highest=0.05) for step in range(61)]
    assert rates[5] == max(rates) == pytest.approx(0.05)
    assert rates[60] == 0
    assert all(before > after for before, after in zip(rates[6:], rates[7:], strict=False))
