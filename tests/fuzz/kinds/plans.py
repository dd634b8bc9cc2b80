"""plan.json of an atlas folder."""

from __future__ import annotations

import json
import random

from jobs.folder import read_plan
from pipeline.card import LayerCard, NetworkCard
from pipeline.methods.memorisation.settings import MemorisationSettings
from pipeline.methods.registry import METHODS
from pipeline.plan import Plan
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated, mutated_json, mutated_text


class Plans(Kind):
    """Plans, read and asked for what a merge asks."""

    def make_seeds(self) -> list[dict]:
        layer = LayerCard(
            "conv1", "conv", 20, 5, 5, (2, 2), (9, 9), (2, 2), (-1, -1), (3, 3, 12, 12), (3, 3, 12, 12), "conv1", True,
            {"window": 1000, "image": 9000}, {"window": 4000, "image": 40000}, True,
        )  # fmt: skip
        card = NetworkCard(
            "toy", "a" * 64, (layer,), ("image", "conv1"), (("image", "conv1"),), ("tench",), None, 32, 32, "RGB",
            (((100.0,),), ((110.0,),), ((120.0,),)), (1.0, 1.0, 1.0),
        )  # fmt: skip
        asked = Plan(card).asking("memorisation", [MemorisationSettings(2, 50, 10)]).record()
        mined = {**asked, "parts": [["tops", "conv1", "dataset", 0, [[0, 20]]]], "order": {"tops": ["dataset"]}}
        return [Plan(card).record(), asked, mined]

    def case(self, random: random.Random) -> bytes:
        record = random.choice(self.seeds)
        data = mutated_json(record, random).encode()
        if random.random() < 0.2:
            data = mutated_text(data.decode(), [json.dumps(record)], random).encode()
        elif random.random() < 0.2:
            data = mutated(data, [data], random)
        return data

    def read(self, case: bytes) -> None:
        (self.folder / "plan.json").write_bytes(case)
        plan = read_plan(self.folder)
        assert plan is not None
        plan.record()
        plan.layers()
        for method in METHODS:
            plan.method_parts(method.name)
