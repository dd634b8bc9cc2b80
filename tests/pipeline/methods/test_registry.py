"""Two requests of one atlas: what joins, and what is refused with the difference named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cards import DEVICE, network_card, small_plan
from tiny_prior import SETTINGS, run_record

from pipeline.dataset_settings import DatasetRecord
from pipeline.errors import OutputError
from pipeline.methods.dgn.settings import CombinationRecord
from pipeline.methods.registry import METHODS, described, together
from pipeline.methods.scores.settings import ScoreRecord
from pipeline.methods.scores.task import score_tasks
from pipeline.methods.tops.settings import MiningRecord, TopsSettings
from pipeline.plan import Plan, SweepPlace

DATASET = DatasetRecord("noise", "folder", "c" * 64, 70, (), False, "resize", False, 32)
TOPS = TopsSettings(2, True, False, True, True, 9, ("deconvnet",), ("deconvnet",), "derivative", "stored", 16)
PAIRS = CombinationRecord("pairs", "fc8", (((0, 1.0), (2, 1.0)),), 0.5, 1, run_record())
SCORE = ScoreRecord("judge", "b" * 64, "fc8", "plain", "f" * 64, (0, 2), (5, -1))
UNITS = {"fc8": (0, 1)}


def asking(method: str, *settings) -> Plan:
    return Plan(network_card()).asking(method, settings, UNITS if method in ("ascent", "dgn", "tops") else None)


def mining(dataset=DATASET, tops=TOPS) -> Plan:
    return asking("tops", MiningRecord(dataset, tops, DEVICE))


def test_nothing_before_and_the_same_again_change_nothing():
    for plan in (small_plan(), mining(), asking("dgn", run_record()), asking("combinations", PAIRS)):
        assert together(None, plan) == plan
        assert together(plan, plan) == plan


@pytest.mark.parametrize(
    ("before", "later", "said"),
    [
        (
            asking("dgn", run_record()),
            asking("dgn", run_record(replace(SETTINGS, iterations=13))),
            r"run tiny: the atlas has it with other numbers \(settings.iterations: 12, now 13\); make this a variant",
        ),
        (
            asking("combinations", PAIRS),
            asking("combinations", replace(PAIRS, balance=0.7, items=(((1, 1.0), (2, 1.0)),))),
            r"combinations pairs: the atlas has them with other numbers \(balance: 0.5, now 0.7; other units\); give",
        ),
        (
            asking("combinations", PAIRS),
            asking("dgn", run_record(replace(SETTINGS, shrink=0.9))),
            "run tiny: the atlas has it with other numbers",
        ),
        (
            asking("dgn", run_record()),
            asking("dgn", replace(run_record(), name="other", prior=replace(run_record().prior, digest="e" * 64))),
            "prior tiny: the atlas has another prior of this name .dddddddddddd, now eeeeeeeeeeee.; give this one a "
            "name of",
        ),
        (
            mining(),
            mining(tops=replace(TOPS, k=3)),
            r"dataset noise: the atlas has been mined with other settings or another dataset \(top.k: 2, now 3\)",
        ),
        (mining(), mining(replace(DATASET, digest="d" * 64)), r"dataset noise: .* \(other images\)"),
    ],
)
def test_other_numbers_under_one_name_are_refused_and_named(before, later, said):
    with pytest.raises(OutputError, match=said):
        together(before, later)


def test_a_swept_setting_is_not_told_to_take_a_name_of_its_own():
    before = small_plan()
    record = before.settings["ascent"]["plain"]
    later = Plan(network_card()).asking("ascent", [replace(record, seed=1)], UNITS)
    with pytest.raises(OutputError, match=r"\(seed: 0, now 1\); give this variant a name of its own by style"):
        together(before, later)
    with pytest.raises(OutputError, match=r"\(seed: 0, now 1\); choose another folder with OUT="):
        together(before, later.with_sweep("ascent", {"plain": SweepPlace("none", 0, "low")}))


def test_the_latest_question_about_the_same_pictures_counts():
    later = replace(SCORE, pictures="e" * 64)
    plan = together(asking("scores", SCORE), asking("scores", later, replace(SCORE, setting="tiny", made_by="dgn")))
    assert [task.asked.pictures for task in score_tasks(plan)] == ["e" * 64, "f" * 64]


def test_every_method_has_a_name_of_its_own():
    assert len({method.name for method in METHODS}) == len(METHODS)


def test_the_settings_of_a_file_state_swept_settings_by_their_places_alone():
    plan = small_plan().asking("ascent", [replace(small_plan().settings["ascent"]["plain"])], UNITS)
    swept = plan.with_sweep("ascent", {"plain": SweepPlace("none", 0, "low")})
    assert described(plan) == {"ascent": {"plain": plan.settings["ascent"]["plain"].record()}}
    assert described(swept) == {"sweep": {"ascent": {"plain": "none 0"}}}
