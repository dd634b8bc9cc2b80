"""Write the groups of scores."""

from __future__ import annotations

from itertools import groupby

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.scores import JUDGE, SCORES
from atlas_viewer.field import members
from pipeline.methods.registry import METHODS
from pipeline.methods.scores.pictures import pictures_group
from pipeline.methods.scores.settings import SCORE_REVISION, ScoreRecord
from pipeline.methods.scores.task import ScoreTask, score_tasks
from pipeline.store.held import HeldAtlas
from pipeline.store.merging import Writer
from pipeline.store.pictures import pictures_digest
from pipeline.store.shard import Shard

FIELDS = ("target", "top1", "top1_probability", "target_probability", "target_rank")


class ScoresWriter(Writer):
    """Writes every score that has a shard or is held, unless its pictures have changed since they were judged."""

    def write_rest(self) -> None:
        tasks = score_tasks(self.merge.plan)
        judges = format.group_names(sorted({task.asked.judge for task in tasks}))
        for (layer, judge), asked in groupby(tasks, key=lambda task: (task.asked.layer, task.asked.judge)):
            self._write_judge(layer, judge, judges[judge], list(asked))

    def _write_judge(self, layer: str, judge: str, judge_group: str, tasks: list[ScoreTask]) -> None:
        merge, layer_group = self.merge, self.merge.groups[layer]
        held = held_judge(merge.held, layer, tasks[0].asked.judge_digest)
        scores = {task.asked: held_score(held, task.asked) for task in tasks}
        settings = [name for method in METHODS if method.makes_pictures
                    for name in merge.plan.layer_names(method.name, layer)]  # fmt: skip
        names, root = format.group_names(settings), JUDGE.at(layer=layer_group, judge=judge_group)
        tasks = [task for task in tasks if self._is_current(task.asked)]
        groups = {names[task.asked.setting] for task in tasks if scores[task.asked] is not None}
        same = held is not None and groups == {name for name, one in members(held) if isinstance(one, h5py.Group)}
        if same and not merge.news(tasks):
            merge.keep(root, held)
            return
        results = [(task, scores[task.asked] or self.merge.shard(task)[0]) for task in tasks]
        results = [(task, result) for task, result in results if result is not None]
        if not results:
            return
        with merge.parts.part(root) as part:
            about = {"judge": judge, "judge_digest": tasks[0].asked.judge_digest}
            group = JUDGE.create(part.file, about, layer=layer_group, judge=judge_group)
            labels = next((result.facts["labels"] for _, result in results if isinstance(result, Shard)), None)
            JUDGE["labels"].write(group, held["labels"].asstr()[...] if labels is None else list(labels))
            for task, result in results:
                _write_score(part.file, task.asked, result, self._pictures(task.asked), layer_group, judge_group,
                             names[task.asked.setting])  # fmt: skip

    def _pictures(self, asked: ScoreRecord) -> str | None:
        return pictures_group(self.merge.plan, asked.layer, asked.made_by, asked.setting)

    def _is_current(self, asked: ScoreRecord) -> bool:
        """Whether the pictures are those that were judged; `make score` judges added samples and units."""
        pictures = self._pictures(asked)
        if pictures is None:
            return False
        root = f"/layers/{self.merge.groups[asked.layer]}/{pictures}"
        with self.merge.parts.opened(root) as group:
            return pictures_digest(group["pixels"]) == asked.pictures


def held_judge(held: HeldAtlas, layer: str, digest: str) -> h5py.Group | None:
    """The scores of a judge for a layer in an atlas."""
    path = held.layer_groups.get(layer)
    return None if path is None else held.named(f"{path}/scores", "judge_digest", digest)


def held_score(judge: h5py.Group | None, asked: ScoreRecord) -> h5py.Group | None:
    """The score that a record asks for, if a judge's group has it."""
    about = {"judged_pictures": asked.pictures, "revision": SCORE_REVISION}
    for _, group in () if judge is None else members(judge):
        same = all(group.attrs.get(name) == value for name, value in about.items())
        if same and isinstance(group, h5py.Group) and np.array_equal(group["target"], asked.classes):
            return group
    return None


def _write_score(
    file: h5py.File, asked: ScoreRecord, result: Shard | h5py.Group, pictures: str, layer: str, judge: str, setting: str
) -> None:
    read = result.array if isinstance(result, Shard) else lambda name: result[name][...]
    ranks = read("target_rank")
    judged = ranks >= 0
    rates = {}
    if judged.any():
        rates = {"top1_rate": float((ranks[judged] == 0).mean()), "top5_rate": float((ranks[judged] < 5).mean())}
    about = {"pictures": pictures, "judged_pictures": asked.pictures, "revision": SCORE_REVISION, **rates}
    scores = SCORES.create(file, about | {"judged": int(judged.sum())}, layer=layer, judge=judge, setting=setting)
    for name in FIELDS:
        SCORES[name].write(scores, np.asarray(read(name)))


WRITERS = {"scores": ScoresWriter}
