"""Estimates of time: arithmetic on a table of measured steps, and no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cards import network_card, small_plan, style_record
from test_ids import RUN

from pipeline import costs
from pipeline.costs import Pass, climb_seconds, pass_seconds, rates
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.dgn.task import dgn_tasks
from pipeline.plan import Plan

# Flags of a CPU, layer, precision, micro-batch; multiply-accumulates, bytes of the maps that count and pixels of an
# item; measured seconds of a step.
AMX, AVX2 = "avx2 avx512f amx_bf16", "fma avx2"
MEASURED = [
    (AMX, "doodlenet conv1", "float32", 20, 0, 0, 36, 1.3e-3),
    (AMX, "doodlenet conv3", "float32", 32, 1.6e6, 0.21e6, 5184, 2.0e-2),
    (AMX, "doodlenet fc8", "float32", 28, 7.2e6, 0.48e6, 9216, 3.4e-2),
    (AMX, "tinynet conv4", "float32", 32, 18.0e6, 0.54e6, 3249, 4.8e-2),
    (AMX, "squeezenet fire9/concat", "float32", 8, 122.2e6, 14.4e6, 41209, 0.196),
    (AMX, "googlenet inception_5a/1x1", "float32", 4, 1180.2e6, 28.5e6, 50176, 0.435),
    (AMX, "caffenet conv3", "float32", 32, 33.5e6, 0.61e6, 9801, 0.118),
    (AMX, "caffenet fc8", "float32", 16, 720.3e6, 5.56e6, 51529, 0.702),
    (AMX, "tinynet fc6", "bf16", 32, 118.2e6, 1.11e6, 4096, 6.2e-2),
    (AMX, "caffenet conv3", "bf16", 32, 33.5e6, 0.61e6, 9801, 5.8e-2),
    (AMX, "caffenet fc8", "bf16", 16, 720.3e6, 5.56e6, 51529, 0.264),
    (AVX2, "doodlenet fc8", "float32", 28, 7.2e6, 0.44e6, 9216, 0.032),
    (AVX2, "doodlevgg bn4_2", "float32", 32, 20.8e6, 1.23e6, 9216, 0.075),
    (AVX2, "tinynet conv5", "float32", 32, 40.2e6, 0.83e6, 4096, 0.099),
    (AVX2, "squeezenet fire5/concat", "float32", 32, 5.8e6, 0.93e6, 3969, 0.036),
    (AVX2, "caffenet conv5", "float32", 32, 150.2e6, 2.00e6, 26569, 0.372),
    (AVX2, "caffenet fc8", "float32", 16, 720.3e6, 5.51e6, 51529, 0.717),
    (AVX2, "googlenet inception_4c/output", "float32", 4, 918.2e6, 23.86e6, 50176, 0.313),
    (AVX2, "resnet50 res3d", "float32", 8, 133.8e6, 8.50e6, 9801, 0.135),
]


@pytest.fixture
def cpu(monkeypatch):
    """Let this machine's CPU state the given flags."""
    return lambda flags: monkeypatch.setattr(costs, "instructions", lambda: frozenset(flags.split()))


@pytest.mark.parametrize("measured", MEASURED, ids=lambda row: f"{row[1]} {row[2]} {row[0].split()[-1]}")
def test_the_table_gives_measured_steps_within_a_third(measured, cpu):
    flags, _, precision, batch, macs, maps, pixels, seconds = measured
    cpu(flags)
    one = Pass(macs, maps, pixels)
    long, short = (climb_seconds("cpu", precision, one, items=batch, batch=batch, iterations=n) for n in (101, 1))
    assert seconds / 1.5 < (long - short) / 100 < 1.5 * seconds


def test_the_row_follows_from_the_flags_of_the_cpu(cpu):
    def row(flags: str, precision: str = "float32") -> costs.Rates:
        cpu(flags)
        return rates("cpu", precision)

    table = costs.RATES
    assert row(AMX) == table["amx"]["float32"] and row(AMX, "bf16") == table["amx"]["bf16"]
    assert row("avx2 avx512f avx512_bf16", "bf16") == table["avx512"]["bf16"]
    assert row(AVX2) == row("") == table["avx2"]["float32"]
    assert row(AVX2, "bf16") == table["amx"]["bf16"], "computed by other machines, which have it"
    assert rates("cuda", "bf16") == table["cuda"]["bf16"]


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
