"""Judge an atlas's class pictures. The verdicts are stored as shards; a merge puts them into the atlas."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atlas_viewer.field import members
from jobs.folder import merge_atlas, write_plan
from pipeline.errors import SettingsError
from pipeline.methods.registry import METHODS
from pipeline.methods.scores.settings import ScoreRecord
from pipeline.methods.scores.task import ScoreTask
from pipeline.plan import Plan
from pipeline.store.shard import ShardFolder
from pipeline.work import Work

if TYPE_CHECKING:
    from pipeline.nets.network import Network


def class_layers(plan: Plan) -> list[str]:
    """The layers of a plan whose units are the classes: the class layer, and softmaxes of it."""
    return [layer.name for layer in plan.layers() if plan.card.names_classes(layer.name)]


def check_judge(plan: Plan, network: Network, judge: Network) -> None:
    """Raise SettingsError if a judge of a plan's class pictures has the network's name, or none of the classes."""
    if judge.name == network.name and judge.digest != network.digest:
        raise SettingsError(f"judge.name: got {judge.name}, which is the atlas's own network; set it by judge.name=…")
    for layer in class_layers(plan):
        judged_classes(plan, judge, layer)


def judge_atlas(work: Work, out: Path, network: Network, judge: Network) -> Plan:
    """Have an atlas's own network and a judge classify all pictures of its class units; merge the verdicts.

    Returns the plan with the scores. Raises SettingsError if the judge does not fit.
    """
    plan = work.plan
    check_judge(plan, network, judge)
    for name, one in {network.name: network, judge.name: judge}.items():
        for layer, method, settings in _class_pictures(plan):
            plan = judge_settings(plan, out, name, one, layer, method, settings)
    write_plan(plan, out)
    merge_atlas(work.asking(plan), out)
    return plan


def lacks_scores(plan: Plan, out: Path, judge: str) -> bool:
    """Whether an atlas has pictures of class units that no judge of this name has classified."""
    from pipeline.methods.scores.pictures import pictures_group
    from pipeline.store.held import HeldAtlas

    with HeldAtlas.open(out / "atlas.h5") as held:
        for layer, method, settings in _class_pictures(plan):
            scores = held.named(f"{held.layer_groups[layer]}/scores", "judge", judge)
            groups = () if scores is None else members(scores)
            judged = {group.attrs.get("pictures") for _, group in groups}
            if any(pictures_group(plan, layer, method, setting) not in judged for setting in settings):
                return True
    return False


def _class_pictures(plan: Plan) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each layer of classes with each method that makes pictures, and the settings that the plan has of it there."""
    for layer in class_layers(plan):
        for method in METHODS:
            if method.makes_pictures:
                yield layer, method.name, plan.layer_names(method.name, layer)


def judge_settings(
    plan: Plan, out: Path, name: str, judge: Network, layer: str, method: str, settings: Sequence[str]
) -> Plan:
    """Judge the pictures of a method's settings in a layer of classes with one judge.

    name : the judge's name in the atlas.
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
            name, judge.digest, layer, setting, pictures.digest, units, classes, made_by=method
        )  # fmt: skip
        task, warned = ScoreTask(asked), []
        plan = plan.asking("scores", [asked])
        with HeldAtlas.open(out / "atlas.h5") as atlas:
            held = held_score(held_judge(atlas, layer, judge.digest), asked) is not None
        if not held and shards.take(task.id, task.record(), warned) is None:
            shards.write(task.id, score(task, judge, pictures, package_versions()))
        for problem in warned:
            print(f"warning: {problem}", file=sys.stderr)
    return plan


def judged_classes(plan: Plan, judge: Network, layer: str) -> tuple[int, ...]:
    """For each requested unit of a layer of classes, the number of its class in the judge, or −1.

    Raises SettingsError if the judge is not the atlas's own network and has none of the classes.
    """
    from pipeline.methods.scores.compute import matching_classes

    units = plan.layer_units(layer)
    if judge.digest == plan.card.digest:
        return units
    return tuple(matching_classes([plan.card.label(layer, unit) for unit in units], judge))
