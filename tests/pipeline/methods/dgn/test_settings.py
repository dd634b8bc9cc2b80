from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_prior import SETTINGS, run_record

from pipeline.errors import SettingsError


def test_a_start_image_is_asked_for_exactly_where_a_climb_starts_from_one():
    SETTINGS.check_image()
    replace(SETTINGS, start="image", image="photo.png").check_image()
    with pytest.raises(SettingsError, match=r"dgn.image: got None with dgn.start=image; give the file by dgn.image="):
        replace(SETTINGS, start="image").check_image()
    with pytest.raises(SettingsError, match="dgn.image: got photo.png with dgn.start=noise; set dgn.start=image, or"):
        replace(SETTINGS, image="photo.png").check_image()


def test_a_run_tells_the_climb_what_it_reads_of_a_setting():
    run = run_record(replace(SETTINGS, jitter=0.1, direction="minimize"))
    assert (run.iterations, run.sign, run.first_kept, run.transforms) == (12, -1, 0, {"jitter": 0.1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"direction": "up"}, "dgn.direction: got 'up', expected one of maximize, minimize"),
        ({"jitter": 0.5}, r"dgn.jitter: got 0.5, expected \[0, 0.5\)"),
        ({"shrink": 0.0}, r"dgn.shrink: got 0.0, expected \(0, 1\]"),
        ({"sigmas": 0.0}, "dgn.sigmas: got 0.0, expected more than 0, or null"),
    ],
)
def test_numbers_that_cannot_be_are_refused(change, said):
    with pytest.raises(SettingsError, match=said):
        replace(SETTINGS, **change)
