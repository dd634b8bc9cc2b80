from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cards import asking_styles, network_card, small_plan, style_record
from hypothesis import given
from hypothesis import strategies as st

from jobs.console import compose_config
from jobs.request import read_device
from pipeline.errors import OutputError
from pipeline.methods.ascent.settings import StyleRecord
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.memorisation.settings import MemorisationSettings
from pipeline.methods.memorisation.task import settings_of
from pipeline.methods.registry import read_plan, together
from pipeline.plan import Plan
from pipeline.records import of_record, to_record
from pipeline.task import Sizes

UNITS = st.sets(st.integers(0, 19), min_size=1).map(lambda units: tuple(sorted(units)))


def items(plan: Plan) -> list[tuple[str, str, int, int]]:
    return [(t.layer, t.style.name, sample, unit) for t in ascent_tasks(plan) for unit, sample in t.pictures]


@given(units=UNITS, samples=st.integers(1, 3))
def test_tasks_cover_each_picture_once(units, samples):
    plan = small_plan(samples, conv1=units)
    assert sorted(items(plan)) == sorted(("conv1", "plain", s, unit) for s in range(samples) for unit in units)


@given(first=UNITS, second=UNITS, samples=st.integers(1, 3))
def test_union_does_not_depend_on_the_order_of_asking(first, second, samples):
    a, b = small_plan(samples, conv1=first), small_plan(1, conv1=second, fc8=(1,))
    assert a.union(b).record() == b.union(a).record()
    assert [t.id for t in ascent_tasks(a.union(b))] == [t.id for t in ascent_tasks(b.union(a))]
    assert a.union(a).record() == a.record()


def test_more_samples_or_styles_keep_every_task_of_a_whole_block():
    plan = small_plan(2, conv1=tuple(range(16)), fc8=(0, 1, 2, 3))
    more = plan.union(small_plan(5)).union(asking_styles({"conv1": (1,)}, [style_record("other", decay=0.1)], 1))
    assert {task.id for task in ascent_tasks(plan)} < {task.id for task in ascent_tasks(more)}


def test_few_units_share_a_micro_batch_with_their_samples():
    tasks = ascent_tasks(small_plan(9, conv1=(0, 1, 8)))
    assert [(task.units, task.samples, task.batch) for task in tasks] == [
        ((0, 1), (0, 1, 2, 3), 8),
        ((8,), (0, 1, 2, 3, 4, 5, 6, 7), 8),
        ((0, 1), (4, 5, 6, 7), 8),
        ((0, 1), (8,), 8),
        ((8,), (8,), 8),
    ]
    assert tasks[0].pictures[:3] == [(0, 0), (1, 0), (0, 1)]
    assert tasks[0].count == 8 and tasks[0].words == "conv1, plain, samples 0-3"


def test_samples_that_are_left_are_in_the_same_tasks_as_before():
    plan = small_plan(12, conv1=(0, 1))
    done, *left = ascent_tasks(plan)
    held = {("ascent", "conv1", "plain", sample): done.units for sample in done.samples}
    assert ascent_tasks(plan.without(held)) == tuple(left)


def test_units_with_other_samples_are_in_tasks_of_their_own():
    plan = small_plan(1, conv1=(0, 1)).union(small_plan(3, conv1=(1,)))
    assert [(task.units, task.samples) for task in ascent_tasks(plan)] == [((0, 1), (0,)), ((1,), (1, 2))]


def test_more_units_keep_whole_blocks():
    few, all_units = small_plan(1, conv1=tuple(range(8))), small_plan(1, conv1=tuple(range(20)))
    whole = [task for task in ascent_tasks(few) if len(task.units) == 8]
    assert whole
    assert {task.id for task in whole} <= {task.id for task in ascent_tasks(few.union(all_units))}


def test_a_record_read_back_is_the_plan():
    plan = small_plan()
    assert read_plan(json.loads(json.dumps(plan.record()))) == plan
    tested = plan.asking("memorisation", [MemorisationSettings(2, 50, 10)])
    assert read_plan(json.loads(json.dumps(tested.record()))) == tested


def test_the_memorisation_test_that_was_asked_for_last_counts():
    plan = small_plan()
    old, new = (plan.asking("memorisation", [MemorisationSettings(samples, 50, 10)]) for samples in (1, 2))
    assert settings_of(together(old, new)).samples == 2
    assert settings_of(together(new, plan)) == settings_of(new)


def test_id_changes_with_everything_that_decides_the_result_and_with_nothing_else():
    task = ascent_tasks(small_plan())[0]
    device = replace(task.style.device, threads=2)
    others = [
        replace(task, model="b" * 64),
        replace(task, units=task.units[:-1]),
        replace(task, samples=(1,)),
        replace(task, batch=task.batch + 1),
        replace(task, style=style_record(decay=0.5)),
        replace(task, style=replace(task.style, seed=1)),
        replace(task, style=replace(task.style, device=device)),
    ]
    assert len({task.id, *(other.id for other in others)}) == 1 + len(others)
    assert replace(task, seconds=1.0).id == task.id


def test_micro_batches_of_a_task_have_equal_rounds():
    for task in ascent_tasks(small_plan(1)):
        assert task.batch <= task.style.device.max_batch
        assert -(-len(task.units) // task.batch) * task.batch - len(task.units) < task.batch


CAFFENET = {"conv3": (33_494_528, 740_000), "conv5": (150_220_000, 2_430_000), "fc8": (720_310_000, 6_860_000)}


@pytest.mark.parametrize(("layer", "least"), [("conv3", 32), ("conv5", 32), ("fc8", 16)])
def test_micro_batches_share_the_reads_of_the_weights(layer, least):
    """The costs are those of CaffeNet's layers; the generator's are those of the published one for fc6."""
    device = read_device(compose_config("atlas", []), "cpu")
    macs, maps = CAFFENET[layer]
    assert Sizes.of(device, 3 * 1000 * macs, maps).batch >= least
    through_generator = Sizes.of(device, 3 * 200 * (macs + 1_006_632_960), maps + 10_731_520)
    assert through_generator.batch >= 8
    assert through_generator.block == through_generator.batch  # a killed task loses one micro-batch
    for cost in (maps, maps + 10_731_520):  # maps in bf16 take half the bytes
        exact, lowered = (Sizes.of(device, 1, cost, precision).batch for precision in ("float32", "bf16"))
        assert lowered == min(device.max_batch, 2 * exact)


@pytest.mark.parametrize(("layer", "precision"), [("conv1", "float32"), ("fc8", "bf16")])
def test_layers_with_large_cones_climb_in_bf16_and_their_tasks_say_so(layer, precision):
    device = replace(style_record().device, bf16_macs=2000)
    card = network_card()
    layers = tuple(replace(one, macs={"window": 2000}) if one.name == "fc8" else one for one in card.layers)
    style = replace(style_record(), device=device, precision="bf16")
    (task,) = ascent_tasks(asking_styles({layer: (0,)}, [style], 1, replace(card, layers=layers)))
    assert task.precision == precision
    assert task.record().get("precision", "float32") == precision


def test_float32_leaves_no_trace_in_records():
    assert "precision" not in style_record().record() and "bf16_macs" not in style_record().record()["device"]
    assert replace(style_record(), precision="bf16").record()["precision"] == "bf16"


def test_the_same_name_with_other_numbers_is_refused_and_the_difference_named():
    changed = asking_styles({"conv1": (1,)}, [style_record(max_iter=7)], 1)
    with pytest.raises(OutputError, match=r"max_iter: 6, now 7.*style\.plain\.name"):
        together(small_plan(), changed)


def test_an_atlas_of_other_weights_is_refused():
    other = asking_styles({"conv1": (1,)}, [style_record()], 1, network_card("b" * 64))
    with pytest.raises(OutputError, match="another definition or other weights"):
        together(small_plan(), other)


def test_a_style_record_survives_json():
    record = style_record(decay=0.25)
    assert of_record(StyleRecord, json.loads(json.dumps(to_record(record))), "style plain") == record


def test_the_order_of_asking_leads_and_the_order_in_the_record_is_canonical():
    first, second = (asking_styles({"conv1": (1,)}, [style_record(name)], 1) for name in ("zebra", "ape"))
    both = together(first, second)
    assert both.order["ascent"] == ("ape", "zebra")
    assert together(second, first).order["ascent"] == ("zebra", "ape")
    assert list(both.record()["settings"]["ascent"]) == ["ape", "zebra"] == list(both.of("ascent"))
    assert both.place("ascent", "ape") == 0


def test_a_method_that_is_not_known_is_refused():
    record = small_plan().record()
    with pytest.raises(OutputError, match="plan.json: method dreams is not known to this version; update the program"):
        read_plan(record | {"settings": {**record["settings"], "dreams": {}}})


@pytest.mark.parametrize("pairs", [[[0, 10**12]], [[-1, 2]], [[3, 2]], [[0, 1, 2]], [0], [["0", 1]]])
def test_units_that_the_layer_lacks_are_refused_before_they_are_counted_out(pairs):
    record = small_plan().record()
    record["parts"][0][4] = pairs
    with pytest.raises((ValueError, TypeError)):
        read_plan(record)


@pytest.mark.parametrize(
    ("name", "value"), [("channels", "20"), ("height", 5.5), ("centre", [1]), ("shown", 3), ("macs", [])]
)
def test_a_card_with_a_value_of_another_type_is_refused(name, value):
    record = json.loads(json.dumps(small_plan().record()))
    record["network"]["layers"][0][name] = value
    with pytest.raises(ValueError, match=f"conv1 has {name}"):
        read_plan(record)
