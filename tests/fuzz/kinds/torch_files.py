"""Weights of torch modules: all forms, pickles that call things, and indices of several parts."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from pipeline.nets.torch_modules.state_dict import load_state
from pipeline.nets.torch_modules.weights import read_state
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated, mutated_json

_INDEX = {"metadata": {}, "weight_map": {"conv.weight": "a.bin", "fc.weight": "a.bin"}}


class _Calls:
    """A pickle of it calls a function that must never run."""

    def __reduce__(self) -> tuple:
        return _mark, ("called",)


def _mark(text: str) -> str:
    raise SystemExit("a pickle was executed")


class TorchFiles(Kind):
    """Files of weights, loaded into a small module."""

    def make_seeds(self) -> list[bytes]:
        self.module = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 2, 3), norm=nn.BatchNorm2d(2), fc=nn.Linear(4, 3)))
        state = self.module.state_dict()
        made = []
        for content in (state, {"epoch": 3, "state_dict": state, "optimizer": [1, (2, {"a": None})]}, self.module):
            for zipped in (True, False):
                file = io.BytesIO()
                torch.save(content, file, _use_new_zipfile_serialization=zipped)
                made.append(file.getvalue())
        arrays = {name: value.numpy() for name, value in state.items()}
        for protocol in (2, 3, 4, 5):
            made.append(pickle.dumps(arrays, protocol))
            made.append(pickle.dumps({"a": _Calls(), "b": {1, 2}, "c": (1.5, "x", 10**30)}, protocol))
        for write in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            write(file, **arrays)
            made.append(file.getvalue())
        self.safe = save(state)
        return [*made, self.safe]

    def case(self, random: random.Random) -> bytes:
        kind = random.random()
        if kind < 0.1:
            return b"i" + mutated_json(_INDEX, random).encode()
        if kind < 0.2:
            (length,) = struct.unpack("<Q", self.safe[:8])
            head = mutated_json(json.loads(self.safe[8 : 8 + length]), random).encode()
            return b"f" + struct.pack("<Q", len(head)) + head + self.safe[8 + length :]
        if kind < 0.5:  # of an archive, the pickle alone, packed again
            return b"f" + self._repacked(random)
        return b"f" + mutated(random.choice(self.seeds), self.seeds, random)

    def _repacked(self, random: random.Random) -> bytes:
        old, file = zipfile.ZipFile(io.BytesIO(self.seeds[random.choice((0, 2, 4))])), io.BytesIO()
        method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(file, "w", method) as new:
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, mutated(data, self.seeds, random) if name.endswith("data.pkl") else data)
        return file.getvalue()

    def read(self, case: bytes) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        if case[:1] == b"i":
            path = self.folder / "model.index.json"
            (self.folder / "a.bin").write_bytes(self.seeds[0])
        else:
            path = self.folder / "model.pt"
        path.write_bytes(case[1:])
        load_state(self.module, read_state(path), path)
        assert "antigravity" not in sys.modules
