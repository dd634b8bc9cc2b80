"""The folder of a prior: prior.json, the generator's weights and the statistics of codes."""

from __future__ import annotations

import json
import random
import struct

import torch
from safetensors.torch import save

from pipeline.priors.generator import Generator, GeneratorShape
from pipeline.priors.prior import HEAD, STATISTICS, WEIGHTS, read_prior, trained_prior, write_prior
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated, mutated_json, mutated_text

_FILES = (HEAD, WEIGHTS, STATISTICS)


class Priors(Kind):
    """Priors with one of their files changed."""

    costly = 4.0

    def make_seeds(self) -> list[dict[str, bytes]]:
        shape = GeneratorShape((4,), (8, 8), 6, 4, 2, 0, 0.2, 1.0)
        torch.manual_seed(0)
        codes = torch.ones(4).numpy()
        prior = trained_prior(
            name="toy", network="toynet", network_digest="a" * 64, code_layer="fc", generator=Generator(shape),
            code_mean=codes, code_deviation=codes + 1, trained_on={"images": 1}, licence="CC0", card="# toy",
        )  # fmt: skip
        write_prior(self.folder, prior, half=False)
        return [{name: (self.folder / name).read_bytes() for name in _FILES}]

    def case(self, random: random.Random) -> bytes:
        name = random.choice((HEAD, HEAD, WEIGHTS, STATISTICS))
        data = self.seeds[0][name]
        if name == HEAD and random.random() < 0.8:
            data = mutated_json(json.loads(data), random).encode()
        elif name == HEAD:
            data = mutated_text(data.decode(), [data.decode()], random).encode()
        elif random.random() < 0.5:
            (length,) = struct.unpack("<Q", data[:8])
            head = mutated_json(json.loads(data[8 : 8 + length]), random).encode()
            data = struct.pack("<Q", len(head)) + head + data[8 + length :]
        else:
            data = mutated(data, [*self.seeds[0].values(), save({"mean": torch.zeros(2)})], random)
        return name.encode() + b"\0" + data

    def read(self, case: bytes) -> None:
        changed, _, data = case.partition(b"\0")
        for name, whole in self.seeds[0].items():
            (self.folder / name).write_bytes(data if name == changed.decode() else whole)
        read_prior(self.folder)
