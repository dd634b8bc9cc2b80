"""Atlas files, whole and in parts: bytes changed, and whole attributes, datasets and groups replaced."""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import FormatError, MissingError
from atlas_viewer.site.build import build
from atlas_viewer.validator import check
from atlas_viewer.verify import faults
from pipeline.errors import AtlasError
from pipeline.store.held import HeldAtlas
from pipeline.store.publishing import is_open, pack_atlas
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated

_TESTS = Path(__file__).parents[2]
_ODD_TYPES: tuple[Any, ...] = (
    "u1", "i8", "f2", ">f4", "S3", h5py.string_dtype(), h5py.vlen_dtype("i4"), np.dtype([("a", "i4"), ("b", "f8")]),
    h5py.enum_dtype({"ok": 0, "odd": 7}, "u1"), h5py.ref_dtype, h5py.opaque_dtype("V5"),
)  # fmt: skip
_ODD_SHAPES = ((), (0,), (1,), (7,), (0, 3), (2, 3), (1,) * 6, (1 << 40,), (1 << 31, 1 << 31))
_ODD_VALUES: tuple[Any, ...] = (
    0, -1, 10**12, float("nan"), 1e308, "", "x" * 3000, "\n\0"[:1], "../x", b"\xff\xfe", [1, 2, 3], ["a", ""], True,
    np.zeros(0), np.zeros((2, 2)),
)  # fmt: skip


class AtlasFiles(Kind):
    """Whole atlas files, read as the pages and `make verify` read them."""

    expected = (FormatError, MissingError)
    may_crash = True
    costly = 6.0

    def make_seeds(self) -> list[bytes]:
        return [_made_up(self.folder / "seed.h5", mined=True, generated=True)]

    def case(self, random: random.Random) -> bytes:
        if random.random() < 0.5:
            return mutated(self.seeds[0], self.seeds, random)
        path = self.folder / "changed.h5"
        path.write_bytes(self.seeds[0])
        with h5py.File(path, "r+") as file:
            for _ in range(random.choice((1, 1, 2, 4))):
                _change(file, random)
        return path.read_bytes()

    def read(self, case: bytes) -> None:
        path = self.folder / "atlas.h5"
        path.write_bytes(case)
        _read_whole(path)


class OpenAtlases(Kind):
    """Atlases in parts, one file of them damaged or missing: read, verified and packed."""

    expected = (AtlasError,)
    may_crash = True
    costly = 4.0

    def make_seeds(self) -> list[dict[str, bytes]]:
        growing = _module("growing", _TESTS / "pipeline" / "store" / "test_growing.py")
        out = self.folder / "seed"
        plan = growing.asking((1, 2, 5), samples=2)
        growing.grow(plan, out)
        growing.grow(plan.union(growing.asking((2, 3), ("plain", "other"))), out)
        return [{str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.h5"))}]

    def case(self, random: random.Random) -> list[tuple[str, bytes | None]]:
        """The names of the files that are not as they were, with what they hold instead; None for a missing one."""
        seeds = self.seeds[0]
        name = random.choice(sorted(seeds))
        match random.randrange(8):
            case 0:
                return [(name, None)]
            case 1:
                return [(name, seeds[random.choice(sorted(seeds))])]
            case 2 | 3:
                path = self.folder / "changed.h5"
                path.write_bytes(seeds[name])
                with h5py.File(path, "r+") as file:
                    _change(file, random)
                return [(name, path.read_bytes())]
        return [(name, mutated(seeds[name], [*seeds.values()], random))]

    def read(self, case: Sequence[tuple[str, bytes | None]]) -> None:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        for name, data in {**self.seeds[0], **dict(case)}.items():
            if data is not None:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(data)
        path = out / "atlas.h5"
        with suppress(FormatError, MissingError):
            _read_whole(path)
        with HeldAtlas.open(path) as held:
            opened = held.file is not None and is_open(held.file)
        if opened:
            pack_atlas(path)


class Pages(AtlasFiles):
    """The pages of whole atlas files."""

    expected = (AtlasError,)
    costly = 60.0

    def read(self, case: bytes) -> None:
        path = self.folder / "atlas.h5"
        path.write_bytes(case)
        try:
            build(path, self.folder / "site")
        finally:
            shutil.rmtree(self.folder / "site", ignore_errors=True)


def _read_whole(path: Path) -> None:
    """Read an atlas as pages do, check it, and verify it."""
    for line in faults(path):
        assert "\n" not in line
    with Atlas(path) as atlas:
        read_all(atlas)
        check(atlas.file)


def read_all(atlas: Atlas) -> None:
    """Read the tables of an atlas, and one unit of each layer."""
    _ = atlas.model, atlas.settings, atlas.packages, atlas.mean, atlas.labels, atlas.table, atlas.edges
    _ = atlas.dataset, atlas.priors, atlas.runs, atlas.combinations, atlas.memorisation
    for layer in atlas:
        for unit in layer:
            for style in layer.styles:
                unit.pictures(style)
            for kind in layer.kinds:
                unit.tops(kind)
            for name in layer.runs:
                unit.run(name)
            break


def _change(file: h5py.File, random: random.Random) -> None:
    """Change one thing of the structure; some changes are impossible, and leave the file as it is."""
    names: list[str] = []
    file.visit(names.append)
    if not names:
        return
    name = random.choice(names)
    with suppress(OSError, RuntimeError, ValueError, LookupError, TypeError, MemoryError, AttributeError):
        thing = file[name]
        match random.randrange(9):
            case 0:
                del file[name]
            case 1:
                file.move(name, random.choice(names) + random.choice(("", "x", "/x")))
            case 2:  # another name of the same thing, or a loop
                del file[name]
                file[name] = file[random.choice(names)]
            case 3:
                del file[name]
                file[name] = random.choice(
                    (h5py.SoftLink("/" + random.choice(names)), h5py.SoftLink("/" + name), h5py.SoftLink("/nowhere"),
                     h5py.ExternalLink("atlas.h5", "/"), h5py.ExternalLink("/dev/zero", "/x"))
                )  # fmt: skip
            case 4 | 5:
                odd = random.choice((random.choice(_ODD_VALUES), random.choice([*thing.attrs.values(), 0])))
                thing.attrs[random.choice([*thing.attrs, "seal", "more"])] = odd
            case 6:
                del thing.attrs[random.choice([*thing.attrs])]
            case _ if isinstance(thing, h5py.Dataset):
                shape, chunks = random.choice((thing.shape, random.choice(_ODD_SHAPES))), thing.chunks
                kind = random.choice((thing.dtype, random.choice(_ODD_TYPES)))
                del file[name]
                if shape and max(shape) > 1 << 30:
                    chunks = (1 << 10,) * len(shape)
                file.create_dataset(name, shape, kind, chunks=chunks if shape else None)
            case _:
                file.create_dataset(f"{name}/more", (3,), random.choice(_ODD_TYPES))


def _made_up(path: Path, **options: bool) -> bytes:
    _module("made_up_atlas", _TESTS / "atlas_viewer" / "conftest.py")._write_atlas(path, **options)
    return path.read_bytes()


def _module(name: str, path: Path) -> Any:
    """A module of the tests by its file."""
    for folder in ("pipeline", "pipeline/store"):
        if str(_TESTS / folder) not in sys.path:
            sys.path.insert(0, str(_TESTS / folder))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
