"""Ids of tasks of every kind, as literal values: a shard that was stored under one is not computed again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cards import DEVICE, asking_styles, network_card, small_plan, style_record

from pipeline.card import PriorCard
from pipeline.dataset_settings import DatasetRecord
from pipeline.methods.ascent import task as ascent
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.dgn import task as dgn
from pipeline.methods.dgn.settings import CombinationRecord, RunRecord, RunSettings
from pipeline.methods.dgn.task import combination_tasks, dgn_tasks, prior_tasks
from pipeline.methods.memorisation.settings import MemorisationSettings
from pipeline.methods.memorisation.task import MemorisationTask
from pipeline.methods.scores.settings import ScoreRecord
from pipeline.methods.scores.task import ScoreTask
from pipeline.methods.tops import task as tops
from pipeline.methods.tops.result import tops_record
from pipeline.methods.tops.settings import MiningRecord, TopsSettings
from pipeline.methods.tops.task import backproject_tasks, image_tasks, mine_tasks
from pipeline.plan import Plan
from pipeline.records import record_digest

pytestmark = pytest.mark.usefixtures("revisions_of_literal_ids")
PRIOR = PriorCard("tiny", "d" * 64, "toy", "a" * 64, "fc8", (6,), True, 40, 41, "BGR", macs=500, bytes=3000)
SETTINGS = RunSettings(
    iterations=12, unit="entry", step_start=0.5, step_end=1e-10, sigmas=3.0, clip=False, shrink=0.99, penalty=0.0,
    jitter=0.0, start="noise", image=None, fresh_starts=1, trace_points=4,
)  # fmt: skip
RUN = RunRecord("tiny", PRIOR, SETTINGS, None, 3, DEVICE)
CLASSES = ("goldfish", "tench", "school bus", "odd")
DATASET = DatasetRecord("noise", "folder", "c" * 64, 70, CLASSES, True, "resize", False, 32)
TOPS = TopsSettings(
    2, True, False, True, True, 9, ("deconvnet", "gradient"), ("deconvnet",), "derivative", "stored", 16
)
MINING = MiningRecord(DATASET, TOPS, DEVICE)


def ids(tasks) -> list[str]:
    return [task.id for task in tasks]


def mined_plan() -> Plan:
    return Plan(network_card()).asking("tops", [MINING], {"conv1": (0, 3), "fc8": (1,)})


def run_ids(record: RunRecord) -> list[str]:
    units = {"conv1": (0, 1, 9), "fc8": (2,)}
    return ids(dgn_tasks(Plan(network_card()).asking("dgn", [record], units)))


def test_ids_of_gradient_ascent():
    assert ids(ascent_tasks(small_plan(2))) == [
        "0093c8d9f9e3134c0582e841b4955770",
        "d58be3f6e55e42621f6d644235715020",
        "bedba173f77319e5e6fda83ea066670c",  # the last units, with both samples
        "35542eb92d8754a75530d5a3c7309974",
        "59cbcd87d06fb13592306990cf2dd0b3",
        "db847d669e6a425094b905506d2df2e6",
        "c9474a99ce97b30e71d950444408a86f",
    ]
    other = style_record("other", decay=0.1, small_norm_percentile=20.0, direction="minimize")
    assert ids(ascent_tasks(asking_styles({"conv1": (1, 2)}, [other], 1))) == ["eeed8b6918036e82a83bb3ff0f0a8b9d"]


def test_ids_of_runs_through_priors():
    assert run_ids(RUN) == [
        "c040693a120f51057faa2f39f03a5274",
        "e3071f1ad3321c339f72b1ea9059007b",
        "60d16b5f0ebd8b84fd9ec09f8a3cd7ef",
    ]
    assert run_ids(replace(RUN, settings=replace(SETTINGS, jitter=0.125))) == [
        "aea4385e8daeb39b2d0f1059b3f325dd",
        "4206b19879e032303f2265acaf2a1c1d",
        "b26c0b18e95c38790f85ee45a71d9274",
    ]
    photo = replace(SETTINGS, start="image", image="photo.png", sigmas=None)
    assert run_ids(replace(RUN, settings=photo, start_code="e" * 64)) == [
        "9c23470d16b275592a251eafee9b1cbe",
        "b51bd28b6cd629c8e765ceaaf6a1edfe",
        "c5e6b586498ff598d6e859d161a70827",
    ]


def test_ids_of_combinations_and_priors():
    pairs = (((0, 1.0), (2, 0.5)), ((1, 1.0), (3, 1.0)))
    plan = Plan(network_card()).asking("dgn", [RUN], {"fc8": (2,)})
    plan = plan.asking("combinations", [CombinationRecord("pairs", "fc8", pairs, 0.5, 2, RUN)])
    assert ids(combination_tasks(plan)["pairs"]) == [
        "0ae02fab5036b25e46f57b885f15b0e2",
        "2213305cbb70130c76b5b6cd2e34102c",
    ]
    assert ids(prior_tasks(plan)) == ["cd3d3d689e905c991ae0d2eac9e6595d"]


def test_ids_of_mining_and_of_what_is_put_together_from_it():
    plan = mined_plan()
    assert ids(mine_tasks(plan)) == [
        "c84d7db07d3a35b326204607a6f01430",
        "dd5a944939162b6690ced8a70ba0d6cd",
        "f6e112a8b444dbe28cd10e6f6a096c3f",
    ]
    assert record_digest(tops_record(plan, mine_tasks(plan))) == "9f5804b0b4ef94e4c85af42765c27414"


def test_ids_of_images():
    assert ids(image_tasks(mined_plan(), [0, 3, 300], [7])) == [
        "7e68c3f044ea0d6b1b3461e3e5d3691e",
        "18c2f274563355590d3a5deade03754e",
        "b91ba91a1af841f9a6ff81e2e100d402",
    ]


def test_ids_of_back_projections():
    hits = {
        "conv1": {0: ((0, 5, 1, 2, 0.5), (0, 6, 0, 0, 0.25)), 3: ((3, 1, 4, 4, 1.5),)},
        "fc8": {1: ((1, 9, 0, 0, 2.0),)},
    }
    assert ids(backproject_tasks(mined_plan(), hits)) == [
        "1db71761f69e64a1ceeb7e413e99d681",
        "bc0889a1cf6ded7ae736c4d02eedf373",
    ]


def test_id_of_a_memorisation_test():
    task = MemorisationTask(
        model="a" * 64,
        dataset=DATASET,
        device=DEVICE,
        batch=TOPS.batch,
        settings=MemorisationSettings(2, 50, 10),
        run="tiny",
        layer="fc8",
        layers=("conv1", "fc8"),
        unit=2,
        window=(3, 3, 12, 12),
        digest="f" * 64,
        shown=(True, False),
        seconds=1.0,
        pixels=np.zeros((2, 9, 9, 3), np.uint8),
    )
    assert task.id == "17f7e5aba9a06db545fdcd3d4eb4aa90"


def test_ids_of_scores():
    styled = ScoreRecord("judge", "b" * 64, "fc8", "plain", "f" * 64, (0, 2), (5, -1))
    run = replace(styled, setting="tiny", made_by="dgn")
    assert ids([ScoreTask(styled), ScoreTask(run)]) == [
        "61405f9c084efb43c9b93aca47ce421f",
        "0039a0bb074ee3029ea145aca4afb085",
    ]


@pytest.mark.parametrize(
    ("module", "name", "made"),
    [
        (ascent, "ASCENT_REVISION", lambda: ids(ascent_tasks(small_plan(2)))),
        (dgn, "DGN_REVISION", lambda: run_ids(RUN)),
        (tops, "MINE_REVISION", lambda: ids(mine_tasks(mined_plan()))),
    ],
)
def test_a_raised_revision_changes_every_id(monkeypatch, module, name, made):
    before = made()
    monkeypatch.setattr(module, name, 99)
    assert before and not set(before) & set(made())
