"""A plan.json of version 1 goes on: the same tasks, and more of what it asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.card import LayerCard, NetworkCard
from pipeline.costs import PASSES_PER_STEP
from pipeline.errors import OutputError
from pipeline.methods.ascent import task as ascent_task
from pipeline.methods.ascent.task import AscentTask, ascent_tasks
from pipeline.methods.dgn import task as dgn_task
from pipeline.methods.dgn.settings import RunRecord
from pipeline.methods.dgn.task import DgnTask, combination_tasks, dgn_tasks, prior_tasks
from pipeline.methods.memorisation.settings import MemorisationSettings
from pipeline.methods.memorisation.task import settings_of
from pipeline.methods.registry import read_plan, together
from pipeline.methods.scores.task import score_tasks
from pipeline.methods.tops.result import tops_record
from pipeline.methods.tops.task import mine_tasks, top_units
from pipeline.plan import Plan, SweepPlace
from pipeline.records import record_digest
from pipeline.settings import DeviceSettings
from pipeline.task import Sizes, Task, blocks

pytestmark = pytest.mark.usefixtures("revisions_of_literal_ids", "sizes_of_literal_ids")
# A plan of version 1 with all methods, and the ids of the tasks that the program of that version cut from it.
STORED = json.loads(Path(__file__).with_name("plan_version_1.json").read_text())


@pytest.fixture
def sizes_of_literal_ids(monkeypatch) -> None:
    """Micro-batches were as large as fitted in memory, generators counted whole; a task had one sample."""

    def of(device: DeviceSettings, item_macs: int, item_bytes: int, precision: str = "float32") -> Sizes:
        batch = max(1, min(device.max_batch, device.batch_bytes // (PASSES_PER_STEP * item_bytes)))
        batches = max(1, int(device.task_seconds * device.macs_per_second / (item_macs * batch)))
        return Sizes(batch, batch * batches)

    def single(asked: Mapping[int, Sequence[int]], block: int, batch: int) -> list:
        return [(numbers, (sample,)) for sample in sorted(asked) for numbers in blocks(asked[sample], block)]

    def of_whole_generators(card: NetworkCard, layer: LayerCard, run: RunRecord) -> Sizes:
        return of(run.device, dgn_task._macs(layer, run), layer.bytes["window"] + run.prior.bytes)

    monkeypatch.setattr(Sizes, "of", of)
    monkeypatch.setattr(dgn_task, "_sizes", of_whole_generators)
    for module in (ascent_task, dgn_task):
        monkeypatch.setattr(module, "packed", single)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(STORED["plan"])


@pytest.mark.parametrize(
    ("kind", "tasks"),
    [
        ("ascent", ascent_tasks),
        ("dgn", dgn_tasks),
        ("combinations", lambda plan: [task for tasks in combination_tasks(plan).values() for task in tasks]),
        ("mine", mine_tasks),
        ("priors", prior_tasks),
        ("scores", score_tasks),
    ],
)
def test_tasks_keep_their_ids(plan, kind, tasks):
    assert STORED["ids"][kind]
    assert [then(task).id for task in tasks(plan)] == STORED["ids"][kind]


def then(task: Task) -> Task:
    """The task with the micro-batches of that version, which were as large as its own items filled evenly."""
    if not isinstance(task, AscentTask | DgnTask):
        return task
    rounds = -(-task.count // task.batch)
    return replace(task, batch=-(-task.count // rounds))


def test_what_was_put_together_from_mining_is_taken_again(plan):
    assert record_digest(tops_record(plan, mine_tasks(plan))) == STORED["tops"]


def test_everything_that_was_asked_is_asked(plan):
    assert {method: sorted(asked) for method, asked in plan.settings.items() if method != "scores"} == {
        "ascent": ["blur_1", "low_frequency"],
        "dgn": ["doodlenet_conv5-free", "doodlenet_fc6"],
        "combinations": ["pairs"],
        "tops": ["dataset"],
        "memorisation": ["test"],
    }
    assert plan.sweep == {"ascent": {"blur_1": SweepPlace("blur", 1, "low_frequency")}}
    assert settings_of(plan) == MemorisationSettings(3, 200, 40)
    assert top_units(plan, "conv3") == tuple(range(16))
    assert plan.samples("ascent", "conv3", "low_frequency") == 2


def test_it_is_stored_as_a_plan_of_today_and_joins_what_is_asked_now(plan):
    again = read_plan(json.loads(json.dumps(plan.record())))
    assert again == plan
    assert again.record() == plan.record()
    assert together(plan, plan) == plan


def test_a_version_that_is_not_known_is_refused(plan):
    with pytest.raises(OutputError, match=r"plan\.json: version 3, expected 2; update the program, or choose another"):
        read_plan(plan.record() | {"version": 3})
