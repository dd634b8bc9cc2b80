"""Write the groups of scores."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.scores import JUDGE, SCORES
from pipeline.methods.registry import METHODS
from pipeline.methods.scores.pictures import pictures_group
from pipeline.methods.scores.settings import ScoreRecord
from pipeline.methods.scores.task import score_tasks
from pipeline.store.merging import Writer
from pipeline.store.pictures import pictures_digest
from pipeline.store.shard import Shard

FIELDS = ("target", "top1", "top1_probability", "target_probability", "target_rank")


class ScoresWriter(Writer):
    """Writes every score that has a shard, unless its pictures have changed since they were judged."""

    def write_rest(self) -> None:
        merge, plan = self.merge, self.merge.plan
        tasks = score_tasks(plan)
        judges = format.group_names(sorted({task.asked.judge for task in tasks}))
        for task in tasks:
            asked = task.asked
            pictures = pictures_group(plan, asked.layer, asked.made_by, asked.setting)
            shard, _ = merge.shard(task)
            if pictures is None or shard is None:
                continue
            if pictures_digest(merge.file[f"/layers/{merge.groups[asked.layer]}/{pictures}/pixels"]) != asked.pictures:
                continue  # samples or units were added; `make score` judges them
            settings = [name for method in METHODS if method.makes_pictures
                        for name in plan.layer_names(method.name, asked.layer)]  # fmt: skip
            setting = format.group_names(settings)[asked.setting]
            self._write_score(asked, shard, pictures, setting, judges[asked.judge])

    def _write_score(self, asked: ScoreRecord, shard: Shard, pictures: str, setting: str, judge: str) -> None:
        file, layer = self.merge.file, self.merge.groups[asked.layer]
        if f"/layers/{layer}/scores/{judge}" not in file:
            about = {"judge": asked.judge, "judge_digest": asked.judge_digest}
            group = JUDGE.create(file, about, layer=layer, judge=judge)
            JUDGE["labels"].write(group, list(shard.facts["labels"]))
        ranks = shard.array("target_rank")
        judged = ranks >= 0
        rates = {}
        if judged.any():
            rates = {"top1_rate": float((ranks[judged] == 0).mean()), "top5_rate": float((ranks[judged] < 5).mean())}
        about = {"pictures": pictures, **rates, "judged": int(judged.sum())}
        scores = SCORES.create(file, about, layer=layer, judge=judge, setting=setting)
        for name in FIELDS:
            SCORES[name].write(scores, np.asarray(shard.array(name)))


WRITERS = {"scores": ScoresWriter}
