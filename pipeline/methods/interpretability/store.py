"""Write the groups of machine interpretability scores."""

from __future__ import annotations

from itertools import groupby

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.interpretability import INTERPRETABILITY
from pipeline.methods.interpretability.pictures import group_digest
from pipeline.methods.interpretability.settings import INTERPRETABILITY_REVISION, InterpretabilityRecord
from pipeline.methods.interpretability.task import InterpretabilityTask, interpretability_tasks
from pipeline.records import record_digest
from pipeline.store.held import HeldAtlas
from pipeline.store.merging import Writer


class InterpretabilityWriter(Writer):
    """Writes every layer's scores that have a shard or are held, unless the pictures have changed since."""

    def write_rest(self) -> None:
        tasks = interpretability_tasks(self.merge.plan)
        judges = format.group_names(sorted({task.asked.judge for task in tasks}))
        for layer, asked in groupby(tasks, key=lambda task: task.asked.layer):
            for task in asked:
                if self._is_current(task.asked):
                    self._write(layer, judges[task.asked.judge], task)

    def _is_current(self, asked: InterpretabilityRecord) -> bool:
        """Whether units and pictures are those that were scored; `make interpretability` scores others."""
        if asked.units != self.merge.plan.layer_units(asked.layer):
            return False
        parent = f"/layers/{self.merge.groups[asked.layer]}"
        for path, digest in asked.pictures:
            with self.merge.parts.opened(f"{parent}/{path}") as group:
                if group is None or group_digest(group) != digest:
                    return False
        return True

    def _write(self, layer: str, judge: str, task: InterpretabilityTask) -> None:
        merge, asked = self.merge, task.asked
        names = {"layer": merge.groups[layer], "judge": judge}
        held = held_scores(merge.held, asked)
        if held is not None and not merge.news([task]):
            merge.keep(INTERPRETABILITY.at(**names), held)
            return
        shard, _ = merge.shard(task)
        if shard is None:
            return
        settings = asked.settings
        about = {
            "judge": asked.judge,
            "judge_digest": asked.judge_digest,
            "embedding": asked.embedding,
            "images": shard.facts["images"],
            "trials": shard.facts["trials"],
            "shown": settings.shown,
            "temperature": settings.temperature,
            "seed": settings.seed,
            "asked": record_digest(asked.record()),
            "revision": INTERPRETABILITY_REVISION,
        }
        with merge.parts.part(INTERPRETABILITY.at(**names)) as part:
            group = INTERPRETABILITY.create(part.file, about, **names)
            INTERPRETABILITY["pictures"].write(group, list(shard.facts["pictures"]))
            INTERPRETABILITY["unit"].write(group, np.array(asked.units, np.int32))
            for name in ("score", "accuracy"):
                INTERPRETABILITY[name].write(group, shard.array(name))


def held_scores(held: HeldAtlas, asked: InterpretabilityRecord) -> h5py.Group | None:
    """The scores that a record asks for, if an atlas has them."""
    path = held.layer_groups.get(asked.layer)
    group = None if path is None else held.named(f"{path}/interpretability", "judge", asked.judge)
    about = {"asked": record_digest(asked.record()), "revision": INTERPRETABILITY_REVISION}
    same = group is not None and all(group.attrs.get(name) == value for name, value in about.items())
    return group if same else None


WRITERS = {"interpretability": InterpretabilityWriter}
