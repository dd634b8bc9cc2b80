"""Judge an atlas's class pictures. The verdicts are stored as shards; a merge puts them into the atlas."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.methods.scores.settings import ScoreRecord
from pipeline.methods.scores.task import ScoreTask
from pipeline.plan import Plan
from pipeline.store.shard import ShardFolder


def judge_settings(
    plan: Plan, out: Path, name: str, judge: object, layer: str, method: str, settings: Sequence[str]
) -> Plan:
    """Judge the pictures of a method's settings in a layer of classes with one judge.

    name : the judge's name in the atlas.
    judge : a Network.
    Returns the plan with the scores. Scores that are stored already are not computed again.
    Raises SettingsError if the judge has none of the classes.
    """
    from pipeline.methods.scores.compute import score
    from pipeline.methods.scores.pictures import read_pictures
    from pipeline.methods.scores.store import held_judge, held_score
    from pipeline.resources import package_versions
    from pipeline.store.held import HeldAtlas

    shards = ShardFolder(out / "shards")
    units = plan.layer_units(layer)
    classes = judged_classes(plan, judge, layer)
    for setting in settings:
        pictures = read_pictures(out / "atlas.h5", plan, layer, method, setting)
        asked = ScoreRecord(
            name, judge.digest, layer, setting, pictures.digest, units, classes, made_by=method  # type: ignore[attr-defined]
        )  # fmt: skip
        task, warned = ScoreTask(asked), []
        plan = plan.asking("scores", [asked])
        with HeldAtlas.open(out / "atlas.h5") as atlas:
            held = held_score(held_judge(atlas, layer, judge.digest), asked) is not None  # type: ignore[attr-defined]
        if not held and shards.take(task.id, task.record(), warned) is None:
            shards.write(task.id, score(task, judge, pictures, package_versions()))  # type: ignore[arg-type]
        for problem in warned:
            print(f"warning: {problem}", file=sys.stderr)
    return plan


def judged_classes(plan: Plan, judge: object, layer: str) -> tuple[int, ...]:
    """For each requested unit of a layer of classes, the number of its class in the judge, or −1.

    Raises SettingsError if the judge is not the atlas's own network and has none of the classes.
    """
    from pipeline.methods.scores.compute import matching_classes

    units = plan.layer_units(layer)
    if judge.digest == plan.card.digest:  # type: ignore[attr-defined]
        return units
    return tuple(matching_classes([plan.card.label(layer, unit) for unit in units], judge))  # type: ignore[arg-type]
