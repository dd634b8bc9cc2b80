"""The groups of an atlas that say what judges see in its pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from pipeline.plan import Plan
from pipeline.store.shard import Shard, ShardFolder
from pipeline.tasks import ScoreTask

FIELDS = ("target", "top1", "top1_probability", "target_probability", "target_rank")


@dataclass(frozen=True)
class StoredPictures:
    """The pictures of one style of a layer.

    pixels : uint8 (unit, sample, y, x, rgb). shown : bool (unit, sample), which pictures there are.
    digest : SHA-256 of the pixels.
    """

    pixels: np.ndarray
    shown: np.ndarray
    digest: str


def read_pictures(atlas: Path, plan: Plan, layer: str, made_by: str, style: str) -> StoredPictures:
    """The pictures of a style ("ascent") or a search ("dgn") of a layer as an atlas has them."""
    layer_group = format.group_names(part.name for part in plan.card.layers)[layer]
    with h5py.File(atlas) as file:
        group = file[f"/layers/{layer_group}/{_pictures_groups(plan, layer)[made_by, style]}"]
        shown = np.isin(group["status"][:], (format.Status.ok, format.Status.never_active))
        return StoredPictures(group["pixels"][:], shown, pictures_digest(group["pixels"]))


def pictures_digest(pixels: h5py.Dataset | np.ndarray) -> str:
    """SHA-256 of the pictures of a style, picture by picture: what a score or a memorisation test was made of."""
    total = hashlib.sha256(repr(pixels.shape).encode())
    for row in range(pixels.shape[0]):
        total.update(pixels[row].tobytes())
    return total.hexdigest()


def _pictures_groups(plan: Plan, layer: str) -> dict[tuple[str, str], str]:
    """(method, name of a style or search) → its group below the layer's."""
    own = {"ascent": plan.layer_styles(layer), "dgn": plan.layer_searches(layer)}
    return {
        (method, name): f"{method}/{group}"
        for method, names in own.items()
        for name, group in format.group_names(names).items()
    }


def write_scores(file: h5py.File, plan: Plan, shards: ShardFolder, groups: dict[str, str], problems: list[str]) -> None:
    """Write every score whose shard is there and whose pictures are still those that were judged.

    problems : gets a line for every bad shard.
    """
    judges = format.group_names(sorted({task.judge for task in plan.scores}))
    for task in sorted(plan.scores, key=lambda task: (task.layer, task.judge, task.made_by, task.style)):
        layer, pictures = groups[task.layer], _pictures_groups(plan, task.layer).get((task.made_by, task.style))
        shard = shards.take(task.id, task.record(), problems)
        if pictures is None or shard is None:
            continue
        if pictures_digest(file[f"/layers/{layer}/{pictures}/pixels"]) != task.pictures:
            continue  # more samples or units since: `score` judges the new ones
        own = format.group_names([*plan.layer_styles(task.layer), *plan.layer_searches(task.layer)])
        _write_score(file, task, shard, layer, pictures, own[task.style], judges[task.judge])


def _write_score(
    file: h5py.File, task: ScoreTask, shard: Shard, layer: str, pictures: str, style: str, judge: str
) -> None:
    if f"/layers/{layer}/scores/{judge}" not in file:
        group = format.JUDGE.create(
            file, {"judge": task.judge, "judge_digest": task.judge_digest}, layer=layer, judge=judge
        )
        format.JUDGE["labels"].write(group, list(shard.facts["labels"]))
    ranks = shard.array("target_rank")
    judged = ranks >= 0
    rates = {}
    if judged.any():
        rates = {"top1_rate": float((ranks[judged] == 0).mean()), "top5_rate": float((ranks[judged] < 5).mean())}
    scores = format.SCORES.create(
        file,
        {"pictures": pictures, **rates, "judged": int(judged.sum())},
        layer=layer,
        judge=judge,
        style=style,
    )
    for name in FIELDS:
        format.SCORES[name].write(scores, np.asarray(shard.array(name)))
