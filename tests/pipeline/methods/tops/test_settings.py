from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import SettingsError
from pipeline.methods.tops.settings import FEWEST_POSITIONS, TopsSettings
from pipeline.records import to_record

ALL = TopsSettings(2, True, False, True, True, 500, ("deconvnet",), ("deconvnet",), "derivative", "stored", 16)


def test_positions_are_counted_in_a_share_of_the_images_within_limits():
    some = replace(ALL, position_share=1 / 32)
    counted = {images: some.position_images(images) for images in (3, FEWEST_POSITIONS, 1000, 4096, 4097, 10**6)}
    assert counted == {
        3: 3,
        FEWEST_POSITIONS: FEWEST_POSITIONS,
        1000: FEWEST_POSITIONS,
        4096: 128,
        4097: 129,
        10**6: 500,
    }
    assert ALL.position_images(10**6) == 10**6


def test_a_record_without_the_share_is_that_of_all_images():
    assert "position_share" not in to_record(ALL)
    assert "position_share" not in ALL.mined() and replace(ALL, position_share=0.5).mined()["position_share"] == 0.5


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(SettingsError, match=r"tops\.position_share"):
        replace(ALL, position_share=share)
