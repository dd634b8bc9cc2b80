"""Settings that get one more number: what was recorded before stays valid, and everything that reads them follows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from cards import ASCENT, DEVICE, STYLE, asking_styles, network_card, small_plan, style_record
from tiny_prior import SETTINGS, run_record

from pipeline.errors import OutputError
from pipeline.methods.ascent.settings import StyleRecord, StyleSettings
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.dgn.settings import CombinationRecord, RunRecord, RunSettings
from pipeline.methods.dgn.task import dgn_tasks
from pipeline.methods.registry import METHODS, read_plan, together
from pipeline.plan import Plan
from pipeline.records import axes, neutral, number, numbers, of_record, stored_numbers, to_record
from pipeline.sweep import SweepDraws, SweepRows, swept_settings


@dataclass(frozen=True)
class LaterStyle(StyleSettings):
    """A style of a version that has one regularizer more."""

    variation: float = number(title="Total variation", axis="variation", neutral=0.0, absent=0.0)


@dataclass(frozen=True)
class LaterStyleRecord(StyleRecord):
    style: LaterStyle


@dataclass(frozen=True)
class LaterRun(RunSettings):
    """A run of a version that has one constraint more."""

    variation: float = number(title="Total variation", axis="variation", neutral=0.0, absent=0.0)


@dataclass(frozen=True)
class LaterRunRecord(RunRecord):
    settings: LaterRun


def later_style(**changes: object) -> LaterStyleRecord:
    return LaterStyleRecord(LaterStyle(**{**vars(STYLE), **changes}), ASCENT, 0, DEVICE)


def later_run(**changes: object) -> LaterRunRecord:
    before = vars(run_record())
    return LaterRunRecord(**{**before, "settings": LaterRun(**{**vars(SETTINGS), **changes})})


RANGES = {
    StyleSettings: {"decay": (0.001, 0.5), "blur_radius": (0.3, 4.0), "blur_every": (2, 6)},
    RunSettings: {"step_start": (0.25, 8.0), "sigmas": (1.0, 6.0), "jitter": (0.02, 0.25)},
}
UNITS = {"conv1": (1, 2)}
# Settings class, the same with one more number, its record now and later, method, the function that cuts its tasks.
KINDS = pytest.mark.parametrize(
    ("kind", "later_kind", "now", "later", "method", "tasks"),
    [
        (StyleSettings, LaterStyle, style_record, later_style, "ascent", ascent_tasks),
        (RunSettings, LaterRun, run_record, later_run, "dgn", dgn_tasks),
    ],
    ids=["style", "run"],
)


def later_kinds() -> dict[str, type]:
    """The settings class of each method, in a version with one more number."""
    return {method.name: method.setting for method in METHODS} | {"ascent": LaterStyleRecord, "dgn": LaterRunRecord}


@KINDS
def test_a_number_at_its_absent_value_is_in_no_record_and_moves_no_id(kind, later_kind, now, later, method, tasks):
    before, after = (Plan(network_card()).asking(method, [one], UNITS) for one in (now(), later()))
    assert before.record() == after.record()
    ids = [task.id for task in tasks(before)]
    assert ids
    assert [task.id for task in tasks(after)] == ids


@KINDS
def test_a_number_at_another_value_is_in_the_record_and_decides_the_id(kind, later_kind, now, later, method, tasks):
    before, after = (Plan(network_card()).asking(method, [one], UNITS) for one in (now(), later(variation=0.5)))
    assert '"variation": 0.5' in json.dumps(after.record())
    ids = [{task.id for task in tasks(plan)} for plan in (before, after)]
    assert ids[0].isdisjoint(ids[1])


@KINDS
def test_a_plan_from_before_is_read_and_goes_on(kind, later_kind, now, later, method, tasks):
    record = json.loads(json.dumps(Plan(network_card()).asking(method, [now()], UNITS).record()))
    plan = Plan.of_record(record, later_kinds())
    assert plan.settings[method] == {later().name: later()}
    assert together(plan, Plan(network_card()).asking(method, [later()], UNITS)) == plan


@KINDS
def test_a_plan_with_a_later_number_comes_back_as_it_was(kind, later_kind, now, later, method, tasks):
    plan = Plan(network_card()).asking(method, [later(variation=0.5)], UNITS)
    assert Plan.of_record(json.loads(json.dumps(plan.record())), later_kinds()) == plan


@KINDS
def test_a_number_that_this_version_does_not_know_gives_one_clear_line(kind, later_kind, now, later, method, tasks):
    record = Plan(network_card()).asking(method, [later(variation=0.5)], UNITS).record()
    with pytest.raises(OutputError) as caught:
        read_plan(json.loads(json.dumps(record)))
    said = str(caught.value)
    assert said.startswith(f"plan.json: {method} {now().name}.")
    assert ".variation: not known to this version" in said
    assert said.endswith("; update the program, or choose another folder with OUT=…")
    assert "\n" not in said


@KINDS
def test_the_same_name_with_another_later_number_is_refused(kind, later_kind, now, later, method, tasks):
    before, after = (Plan(network_card()).asking(method, [one], UNITS) for one in (now(), later(variation=0.5)))
    with pytest.raises(OutputError, match=r"the atlas has it with other numbers \(.*variation: None, now 0.5\)"):
        together(before, after)


@KINDS
def test_the_atlas_states_a_number_only_where_it_is_used(kind, later_kind, now, later, method, tasks):
    def settings(record):
        return record.style if method == "ascent" else record.settings

    assert stored_numbers(settings(later())) == stored_numbers(settings(now()))
    assert stored_numbers(settings(later(variation=0.5))) == {**stored_numbers(settings(now())), "variation": 0.5}


@KINDS
def test_a_sweep_switches_the_number_off_raises_it_and_draws_it(kind, later_kind, now, later, method, tasks):
    rows = SweepRows(later_kind, {"variation": (0.1, 0.2)})
    draws = SweepDraws(later_kind, 50, 0, 0.5, {**RANGES[kind], "variation": (0.01, 0.4)})
    settings = {one.name: one for one in swept_settings(rows, draws)}
    assert settings["none"].changes == {**neutral(kind), "variation": 0.0}
    assert settings["variation_2"].changes == {**neutral(kind), "variation": 0.2}
    drawn = [one.changes["variation"] for one in settings.values() if one.axis == "random"]
    assert len(drawn) == 50
    assert 0.0 in drawn
    assert all(value == 0.0 or 0.01 <= value <= 0.4 for value in drawn)
    assert len(set(drawn)) > 10


@KINDS
def test_draws_without_the_number_stay_as_they_were(kind, later_kind, now, later, method, tasks):
    one, other = (
        swept_settings(SweepRows(of, {}), SweepDraws(of, 20, 0, 0.5, RANGES[kind])) for of in (kind, later_kind)
    )
    assert [{**each.changes, "variation": 0.0} for each in one] == [dict(each.changes) for each in other]


@KINDS
def test_the_number_needs_no_list_of_fields(kind, later_kind, now, later, method, tasks):
    assert numbers(later_kind)["variation"].title == "Total variation"
    assert axes(later_kind) == {**axes(kind), "variation": "variation"}
    assert replace(later(), seed=later().seed) == later()


def test_records_from_before_names_changed_keep_their_keys():
    combination = CombinationRecord("pairs", "fc8", (((0, 1.0), (2, 0.5)),), 0.5, 1, run_record())
    record = json.loads(json.dumps(to_record(combination)))
    assert "search" in record and "run" not in record
    assert of_record(CombinationRecord, record, "combinations pairs") == combination


def test_a_start_image_is_in_no_record():
    photo = replace(SETTINGS, start="image", image="photo.png")
    record = json.loads(json.dumps(to_record(photo)))
    assert "image" not in record
    assert of_record(RunSettings, record, "run") == replace(photo, image=None)


def test_what_is_missing_or_no_settings_at_all_is_named():
    record = to_record(style_record())
    del record["style"]["decay"]
    with pytest.raises(OutputError, match=r"plan\.json: ascent plain\.style\.decay: missing; choose another folder"):
        of_record(StyleRecord, record, "plan.json: ascent plain")
    with pytest.raises(OutputError, match=r"ascent plain: got 3, expected settings"):
        of_record(StyleRecord, 3, "ascent plain")


def test_a_whole_number_is_read_as_the_float_that_its_field_declares():
    record = json.loads(json.dumps(to_record(style_record(decay=0.0))).replace('"decay": 0.0', '"decay": 0'))
    back = of_record(StyleRecord, record, "style plain")
    assert back.style.decay == 0.0 and isinstance(back.style.decay, float)
    plan = asking_styles({"conv1": tuple(range(20)), "fc8": (0, 1, 2, 3)}, [back], 2)
    assert [task.id for task in ascent_tasks(plan)] == [task.id for task in ascent_tasks(small_plan(2))]
