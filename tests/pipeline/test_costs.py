"""Estimates of time: arithmetic on a table of measured steps, and no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cards import network_card, small_plan, style_record
from test_ids import RUN

from pipeline.costs import Pass, climb_seconds, pass_seconds
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.dgn.task import dgn_tasks
from pipeline.plan import Plan

# Layer, precision, micro-batch, multiply-accumulates, bytes and pixels of an item, measured seconds of a step.
MEASURED = [
    ("doodlenet conv1", "float32", 20, 0, 0, 36, 1.3e-3),
    ("doodlenet conv3", "float32", 32, 1.6e6, 0.25e6, 5184, 2.0e-2),
    ("doodlenet fc8", "float32", 28, 7.2e6, 0.58e6, 9216, 3.4e-2),
    ("tinynet conv4", "float32", 32, 18.0e6, 0.68e6, 3249, 4.8e-2),
    ("squeezenet fire9/concat", "float32", 8, 122.2e6, 17.6e6, 41209, 0.196),
    ("googlenet inception_5a/1x1", "float32", 4, 1180.2e6, 33.94e6, 50176, 0.435),
    ("caffenet conv3", "float32", 32, 33.5e6, 0.74e6, 9801, 0.118),
    ("caffenet fc8", "float32", 16, 720.3e6, 6.86e6, 51529, 0.702),
    ("tinynet fc6", "bf16", 32, 118.2e6, 1.44e6, 4096, 6.2e-2),
    ("caffenet conv3", "bf16", 32, 33.5e6, 0.74e6, 9801, 5.8e-2),
    ("caffenet fc8", "bf16", 16, 720.3e6, 6.86e6, 51529, 0.264),
]


@pytest.mark.parametrize("measured", MEASURED, ids=lambda row: f"{row[0]} {row[1]}")
def test_the_table_gives_measured_steps_within_a_third(measured):
    _, precision, batch, macs, maps, pixels, seconds = measured
    one = Pass(macs, maps, pixels)
    long, short = (climb_seconds("cpu", precision, one, items=batch, batch=batch, iterations=n) for n in (101, 1))
    assert seconds / 1.5 < (long - short) / 100 < 1.5 * seconds


def test_the_repeats_that_fill_a_micro_batch_count():
    def seconds(items: int) -> float:
        one = Pass(7e8, 7e6, 5e4)
        return climb_seconds("cpu", "float32", one, items=items, batch=16, iterations=10, kept=0)

    assert seconds(1) == seconds(16) == seconds(17) / 2


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_bf16_and_forward_passes_take_less(kind):
    one = Pass(7e8, 7e6, 5e4)
    full, half = (
        climb_seconds(kind, precision, one, items=16, batch=16, iterations=10) for precision in ("float32", "bf16")
    )
    assert 0 < half < full
    assert 16 * 10 * pass_seconds(kind, one) < full / 2


def test_samples_that_share_a_micro_batch_take_the_time_of_one_and_that_to_store_them():
    single, eight = (ascent_tasks(small_plan(samples, conv1=(0,))) for samples in (1, 8))
    assert len(single) == len(eight) == 1
    assert single[0].seconds < eight[0].seconds < 2 * single[0].seconds


def test_a_small_window_takes_less_of_a_generator():
    card = network_card()
    window = card.layer("conv1").window
    wide = replace(card, layers=tuple(replace(one, window=(0, 0, 32, 32)) for one in card.layers))
    run = replace(RUN, prior=replace(RUN.prior, macs=10**9))
    small, large = (dgn_tasks(Plan(one).asking("dgn", [run], {"conv1": (0,)}))[0].seconds for one in (card, wide))
    assert window == (3, 3, 12, 12)
    assert 0.3 < small / large < 0.6  # sides of 9 and 32 of 40 pixels: 0.34 and 0.83 of the generator's work


def test_iterations_count():
    tasks = [ascent_tasks(small_plan(1))[0]]
    longer = replace(style_record(max_iter=600))
    plan = Plan(network_card()).asking("ascent", [longer], {"conv1": tasks[0].units})
    assert ascent_tasks(plan)[0].seconds > 10 * tasks[0].seconds
