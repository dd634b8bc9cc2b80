"""The page of a training: whole in its folder, early and late, with the curves that there are."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atlas_viewer.errors import FormatError
from atlas_viewer.site.curves import BASE, LEFT, RIGHT, TOP, WIDTH, Line, Plot, draw
from atlas_viewer.site.pages.training import write_page
from atlas_viewer.training_log import (
    TrainingFacts,
    read_facts,
    read_metrics,
    snapshots,
    write_facts,
    write_metrics,
    write_snapshot,
)

FACTS = TrainingFacts("tiny_fc", (("Inverts", "tiny <net>"),), (("rate", "0.001"),), 40)
ERRORS = (("", "pixel", "code"), ("reconstruction", "0.0300", "0.200"), ("mean image", "0.0700", "1.300"))


def pictures(level: int) -> np.ndarray:
    return np.full((3, 8, 8, 3), level, np.uint8)


def training(out: Path, steps: range) -> None:
    """Metrics and snapshots of a training whose discriminator begins after step 20."""
    write_facts(out, FACTS)
    for step in steps:
        values = {"total": 3 / step, "image": 1 / step, "feature_conv2": 2 / step}
        if step > 20:
            values |= {"real": 0.5, "made": 0.6, "adversarial": 1.0, "weight": step / 10, "learns": 0.5}
        write_metrics(out / "metrics.jsonl", step, values)
        write_snapshot(out, step, pictures(step), pictures(2 * step))


def test_the_page_needs_nothing_outside_its_folder(tmp_path):
    training(tmp_path, range(1, 41, 3))
    page = write_page(tmp_path).read_text()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) > 5
    for address in addresses:
        assert address.startswith("data:") or (tmp_path / address).is_file(), address
    assert "<script" not in page
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page
    assert "tiny &lt;net&gt;" in page
    assert not list(tmp_path.glob("**/*.part"))


def test_the_latest_look_comes_first_and_the_earlier_ones_fall(tmp_path):
    training(tmp_path, range(1, 41))
    page = write_page(tmp_path).read_text()
    steps = [int(step) for step in re.findall(r'src="snapshots/step-(\d+)\.png"', page)]
    assert steps[0] == 40
    assert steps[-1] == 1
    assert steps == sorted(steps, reverse=True)
    assert 5 <= len(steps) <= 11


def test_an_early_page_shows_what_there_is(tmp_path):
    write_facts(tmp_path, FACTS)
    page = write_page(tmp_path).read_text()
    assert "Step 0 of 40, 0 %" in page
    assert "<svg" not in page
    training(tmp_path, range(1, 2))
    page = write_page(tmp_path).read_text()
    assert "Step 1 of 40" in page
    assert "Generator and discriminator" not in page
    assert "Errors" not in page
    assert page.count("<svg") == 2


def test_a_finished_page_has_the_table_with_the_least_marked(tmp_path):
    training(tmp_path, range(10, 41, 10))
    write_facts(tmp_path, TrainingFacts(**{**vars(FACTS), "errors": ERRORS}))
    page = write_page(tmp_path).read_text()
    assert "Finished, 40 steps" in page
    assert "Generator and discriminator" in page
    assert page.count("<svg") == 5
    assert re.findall(r'class="r least">([\d.]+)<', page) == ["0.0300", "0.200"]


def test_looks_and_metrics_of_a_killed_run_are_written_over(tmp_path):
    training(tmp_path, range(1, 31, 10))
    write_snapshot(tmp_path, 15, pictures(1), pictures(2))
    write_metrics(tmp_path / "metrics.jsonl", 15, {"total": 1.0})
    assert [step for step, _ in snapshots(tmp_path)] == [1, 11, 15]
    assert [line.step for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 11, 15]


def test_a_torn_line_is_passed_over(tmp_path):
    training(tmp_path, range(1, 4))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "tot')
    assert [line.step for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    write_page(tmp_path)


@pytest.mark.parametrize("text", [None, "{", '{"title": "x"}', "[]"])
def test_facts_that_cannot_be_read_are_named(tmp_path, text):
    if text is not None:
        (tmp_path / "training.json").write_text(text)
    with pytest.raises(FormatError, match=r"training.json: expected the facts"):
        write_page(tmp_path)


def test_facts_come_back(tmp_path):
    facts = TrainingFacts(**{**vars(FACTS), "errors": ERRORS})
    write_facts(tmp_path, facts)
    assert read_facts(tmp_path) == facts


@settings(deadline=None, max_examples=60)
@example(values=[5e-324], log=False)
@example(values=[5e-324], log=True)
@example(values=[1e-300], log=True)
@given(
    values=st.lists(st.floats(-1e3, 1e3) | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=30),
    log=st.booleans(),
)
def test_curves_stay_inside_their_axes(values, log):
    line = Line("a", np.arange(1.0, len(values) + 1), np.array(values))
    drawn = draw(Plot("a & b", (line,), log), len(values), 1)
    good = [value for value in values if math.isfinite(value) and (value >= 1e-300 or not log)]
    assert bool(drawn) == bool(good)
    for points in re.findall(r'points="([^"]*)"', drawn):
        places = [tuple(map(float, point.split(","))) for point in points.split()]
        assert len(places) == len(good)
        assert all(LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1 and TOP - 0.1 <= y <= BASE + 0.1 for x, y in places)


def test_names_of_lines_that_meet_are_apart_and_inside():
    lines = tuple(Line(f"line {at}", np.array([1.0, 2.0]), np.array([3.0, 0.001 * at])) for at in range(5))
    drawn = draw(Plot("many", lines, False), 2, None)
    places = sorted(float(y) for y in re.findall(r'class="l\d" x="[\d.]+" y="([\d.]+)"', drawn))
    assert len(places) == 5
    assert min(np.diff(places)) > 12.9
    assert places[-1] <= BASE + 5
