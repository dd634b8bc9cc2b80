"""Shards: with a wrong digest, and with a digest that is right for what was changed."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np

from pipeline.store.shard import Pieces, Shard, encode_shard
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated, mutated_json

_START, _PROOF = 16, 32


class Shards(Kind):
    """Shards, read to the last piece."""

    costly = 0.3

    def make_seeds(self) -> list[bytes]:
        arrays = {
            "activation": np.arange(6, dtype="f4").reshape(2, 3),
            "reason": np.zeros((0, 4), "i8"),
            "pixels": Pieces("|u1", (3, 2), [b"abc", None, b"defg"]),
        }
        return [encode_shard({"method": "ascent", "units": [1, 2]}, arrays, {"halved": 0}), encode_shard({}, {}, {})]

    def case(self, random: random.Random) -> bytes:
        whole = random.choice(self.seeds)
        if random.random() < 0.3:
            return mutated(whole, self.seeds, random)
        body = whole[:-_PROOF]
        if random.random() < 0.7:
            length = int.from_bytes(body[8:_START], "little")
            header = mutated_json(json.loads(body[_START : _START + length]), random).encode()
            body = body[:8] + len(header).to_bytes(8, "little") + header + body[_START + length :]
        else:
            body = body[:8] + mutated(body[8:], self.seeds, random)
        return body + hashlib.sha256(body).digest()

    def read(self, case: bytes) -> None:
        shard = Shard(case, "x.shard")
        for name in shard.names:
            entry = shard._table[name]
            if entry["form"] == "whole":
                assert shard.array(name).shape == shard.shape(name)
            else:
                for index in range(len(entry["spans"])):
                    shard.chunk(name, index)
