"""What a user types: addresses of units, and overrides of the configuration."""

from __future__ import annotations

import copy
import random
from typing import Any
from unittest.mock import patch

from hydra._internal.core_plugins.file_config_source import FileConfigSource

from jobs.console import compose_config
from pipeline.card import LayerCard, NetworkCard
from pipeline.units import select_units
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated_text

_ADDRESSES = [
    "conv1", "conv1:*", "conv1:0-3,7", "fc8:tench", "fc8:goldfish, Carassius auratus", "*", "fire?/expand*:0",
    "[cf]*:1",
    "relu:1:0-2", "fc8:0-1", "conv1:3-3,", "prob:tench",
]  # fmt: skip
_OVERRIDES = [
    "model=doodlenet", "units=[conv1:0-3,fc6]", "samples=2", "style.low_frequency.max_iter=5", "out=atlases/x",
    "experiment=null", "+style.mine.rate=1", "styles=[low_frequency,sparse]", "dataset=tar", "dataset.root=/x/y.tar",
    "~experiment", "model.size=[227,227]", "model.mean=[1,2.5,3e2]", "out='${oc.env:HOME}'", "out=${model.name}",
    "out='a b=c'", "model.build_arguments.depth=18", "+model.build_arguments.x={a:1,b:[2,3]}", "seed=7",
    "+_target_=os.system", "model._target_=os.system", "out=${oc.decode:x}", "out=${oc.env:UNSET,default}",
    "style@x=sparse", "model@judge=doodlejudge", "samples=1,2", "samples=range(1,4)", "samples=choice(1,2)",
    "out=\"a\\\"b\"", "hydra.run.dir=x", "cluster=ray", "devices.batch_bytes=1e9", "out=${out}",
    "out=${seed}${samples}",
]  # fmt: skip


class Addresses(Kind):
    """Addresses of units in a small network."""

    costly = 0.3

    def make_seeds(self) -> list[str]:
        return _ADDRESSES

    def case(self, random: random.Random) -> list[str]:
        return [mutated_text(random.choice(self.seeds), self.seeds, random) for _ in range(random.choice((1, 1, 2)))]

    def read(self, case: list[str]) -> None:
        chosen = select_units(_card(), case)
        for layer, units in chosen.items():
            channels = _card().layer(layer).channels
            assert all(0 <= unit < channels for unit in units)


class Overrides(Kind):
    """Overrides of the configuration of make atlas."""

    costly = 2.5

    def make_seeds(self) -> list[str]:
        self.files: dict[str, Any] = {}
        return _OVERRIDES

    def case(self, random: random.Random) -> list[str]:
        return [mutated_text(random.choice(self.seeds), self.seeds, random) for _ in range(random.choice((1, 1, 2)))]

    def read(self, case: list[str]) -> None:
        with patch.object(FileConfigSource, "load_config", self._load_config(FileConfigSource.load_config)):
            compose_config("atlas", case)

    def _load_config(self, read: Any) -> Any:
        """What reads a file of conf/: each once, for they are the same in every case, and parsing takes most time."""

        def load_config(source: FileConfigSource, config_path: str) -> Any:
            path = f"{source.path}/{config_path}"
            if path not in self.files:
                self.files[path] = read(source, config_path)
            return copy.deepcopy(self.files[path])

        return load_config


def _card() -> NetworkCard:
    layers = tuple(
        LayerCard(
            name, kind, channels, 5, 5, (2, 2), (9, 9), (2, 2), (-1, -1), (3, 3, 12, 12), (3, 3, 12, 12), name, True,
            {"window": 1000, "image": 9000}, {"window": 4000, "image": 40000}, True,
        )
        for name, kind, channels in (
            ("conv1", "conv", 20), ("fire2/expand", "conv", 7), ("relu:1", "relu", 4), ("fc8", "fc", 4),
            ("prob", "softmax", 4),
        )
    )  # fmt: skip
    return NetworkCard(
        "toy", "a" * 64, layers, ("image",), (), ("goldfish, Carassius auratus", "tench", "school bus", "<b>odd</b>"),
        "fc8", 32, 32, "RGB", (((100.0,),), ((110.0,),), ((120.0,),)), (1.0, 1.0, 1.0),
    )  # fmt: skip
