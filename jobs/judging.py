"""What a judge says of an atlas's pictures of the classes, kept as shards and asked for in the plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.plan import Plan
from pipeline.store.score_groups import read_pictures
from pipeline.store.shard import ShardFolder
from pipeline.tasks import ScoreTask


def judge_styles(
    plan: Plan, out: Path, name: str, judge: object, layer: str, styles: Sequence[str], made_by: str = "ascent"
) -> Plan:
    """Have one judge look at these styles of a layer of classes; return the plan with what it was asked.

    styles : or searches, with made_by "dgn". name : what the atlas calls the judge. judge : a Network. What was judged
    before is read again.
    Raises SettingsError if the judge has none of the classes.
    """
    from pipeline.compute import package_versions
    from pipeline.score import score

    shards = ShardFolder(out / "shards")
    units = plan.layer_units(layer)
    classes = judged_classes(plan, judge, layer)
    for style in styles:
        pictures = read_pictures(out / "atlas.h5", plan, layer, made_by, style)
        task = ScoreTask(name, judge.digest, layer, style, pictures.digest, units, classes, made_by)  # type: ignore[attr-defined]
        plan = plan.with_score(task)
        if shards.take(task.id, task.record(), warned := []) is None:
            shards.write(task.id, score(task, judge, pictures, package_versions()))  # type: ignore[arg-type]
        for problem in warned:
            print(f"warning: {problem}", file=sys.stderr)
    return plan


def judged_classes(plan: Plan, judge: object, layer: str) -> tuple[int, ...]:
    """For each unit that is asked for of a layer of classes, the judge's class that stands for it, or −1.

    Raises SettingsError if the judge, not being the atlas's own network, has none of the classes.
    """
    from pipeline.score import matching_classes

    units = plan.layer_units(layer)
    if judge.digest == plan.card.digest:  # type: ignore[attr-defined]
        return units
    return tuple(matching_classes([plan.card.label(layer, unit) for unit in units], judge))  # type: ignore[arg-type]
