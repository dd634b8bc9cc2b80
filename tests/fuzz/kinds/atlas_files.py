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

from atlas_viewer import format
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import FormatError, MissingError
from atlas_viewer.seal import CONTENT, content_digest, seal, seal_all
from atlas_viewer.site.build import build
from atlas_viewer.verify import faults
from pipeline.errors import AtlasError
from pipeline.store.held import HeldAtlas
from pipeline.store.publishing import is_open, pack_atlas
from pipeline.store.whole import write_whole_atlas
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated

_TESTS = Path(__file__).parents[2]
_ODD_TYPES: tuple[Any, ...] = (
    "u1", "i8", "f2", ">f4", "S3", h5py.string_dtype(), h5py.vlen_dtype("i4"), np.dtype([("a", "i4"), ("b", "f8")]),
    h5py.enum_dtype({"ok": 0, "odd": 7}, "u1"), h5py.ref_dtype, h5py.opaque_dtype("V5"),
)  # fmt: skip
_ODD_SHAPES = ((), (0,), (1,), (7,), (0, 3), (2, 3), (1,) * 6, (1 << 40,), (1 << 31, 1 << 31))
_ODD_NUMBERS = (0, -1, 1, 2**31 - 1, -(2**31), 255, 1e30, float("nan"), float("inf"))
_ODD_TEXTS = ("", "../x", "a" * 3000, "\n", "<b>", "ascent/x", "\udcff".encode(errors="surrogateescape"))
_FILES = ("x.h5", "../x.h5", "/dev/zero", "parts/x.h5")  # never itself: HDF5 then ends the process
_IMPOSSIBLE = (OSError, RuntimeError, ValueError, LookupError, TypeError, MemoryError, AttributeError)
_ODD_VALUES: tuple[Any, ...] = (
    0, -1, 10**12, float("nan"), 1e308, "", "x" * 3000, "\n\0"[:1], "../x", b"\xff\xfe", [1, 2, 3], ["a", ""], True,
    np.zeros(0), np.zeros((2, 2)),
)  # fmt: skip


# What each of the small seeds has of the made-up atlas: a case takes as long as its seed has datasets.
_CLASSES, _HIDDEN = "layers/fc8", "layers/mixed.3a"
_SEEDS = {
    "styles": ("numbers/ascent", f"{_CLASSES}/units", f"{_CLASSES}/ascent/sparse", f"{_CLASSES}/scores/squeeze/sparse"),
    "runs": (
        *("dataset", "priors/toy", "combinations/pairs", "memorisation/toy", "numbers/dgn"),
        *(f"{_CLASSES}/units", f"{_CLASSES}/dgn/toy"),
    ),
    "tops": (
        *("dataset", f"{_HIDDEN}/units", f"{_HIDDEN}/statistics", f"{_HIDDEN}/tops/largest"),
        f"{_HIDDEN}/tops/quantile",
    ),
    "pointers": ("dataset", f"{_CLASSES}/units", f"{_CLASSES}/statistics", f"{_CLASSES}/tops/class"),
}


class AtlasFiles(Kind):
    """Whole atlas files, read as the pages and `make verify` read them."""

    expected = (FormatError, MissingError)
    may_crash = True
    costly = 5.0

    def make_seeds(self) -> list[bytes]:
        made_up = _module("made_up_atlas", _TESTS / "atlas_viewer" / "conftest.py")
        seeds = []
        for name, kept in _SEEDS.items():
            path = self.folder / "seed.h5"
            pixels = "pointers" if name == "pointers" else "stored"
            made_up._write_atlas(path, mined=True, generated=True, pixels=pixels)
            seeds.append(_small(path, kept))
        return seeds

    def case(self, random: random.Random) -> bytes:
        seed = random.choice(self.seeds)
        if random.random() < 0.4:
            return mutated(seed, self.seeds, random)
        path = self.folder / "changed.h5"
        path.write_bytes(seed)
        _change_file(path, random)
        return path.read_bytes()

    def read(self, case: bytes) -> None:
        path = self.folder / "atlas.h5"
        path.write_bytes(case)
        _read_whole(path)


class OpenAtlases(Kind):
    """Atlases in parts, one file of them damaged or missing: read, verified and packed."""

    expected = (AtlasError,)
    may_crash = True
    costly = 5.0

    def make_seeds(self) -> list[dict[str, bytes]]:
        growing = _module("growing", _TESTS / "pipeline" / "store" / "test_growing.py")
        out = self.folder / "seed"
        plan = growing.asking((1, 2, 5), samples=2)
        growing.grow(plan, out)
        growing.grow(plan.union(growing.asking((2, 3), ("plain", "other"))), out)
        in_parts = _module("atlas_in_parts", _TESTS / "atlas_viewer" / "atlas_in_parts.py")
        folders = [out]
        for number, whole in enumerate(AtlasFiles(self.folder).make_seeds()):
            path = self.folder / "whole.h5"
            path.write_bytes(whole)
            folders.append(in_parts.write_in_parts(path, self.folder / f"parts-{number}").parent)
        return [
            {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.h5"))}
            for folder in folders
        ]

    def case(self, random: random.Random) -> tuple[int, str, bytes | None]:
        """The number of an atlas, the name of its file that is not as it was, and its bytes; None if it is gone."""
        number = random.randrange(len(self.seeds))
        files = self.seeds[number]
        name = random.choice(("atlas.h5", random.choice(sorted(files))))
        match random.randrange(8):
            case 0:
                return number, name, None
            case 1:
                return number, name, files[random.choice(sorted(files))]
            case 2 | 3 | 4 | 5:
                path = self.folder / "changed.h5"
                path.write_bytes(files[name])
                _change_file(path, random)
                return number, name, path.read_bytes()
        return number, name, mutated(files[name], [*files.values()], random)

    def read(self, case: tuple[int, str, bytes | None]) -> None:
        number, changed, content = case
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        for name, data in {**self.seeds[number], changed: content}.items():
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
    costly = 20.0

    def read(self, case: bytes) -> None:
        path = self.folder / "atlas.h5"
        path.write_bytes(case)
        try:
            build(path, self.folder / "site")
        finally:
            shutil.rmtree(self.folder / "site", ignore_errors=True)


def _read_whole(path: Path) -> None:
    """Verify an atlas, which checks it too, and read it as pages do."""
    for line in faults(path):
        assert line.isprintable()
    with Atlas(path) as atlas:
        read_all(atlas)


def read_all(atlas: Atlas) -> None:
    """Read the tables of an atlas, and all of one unit of each layer."""
    _ = atlas.model, atlas.settings, atlas.packages, atlas.mean, atlas.labels, atlas.table, atlas.edges
    _ = atlas.dataset, atlas.priors, atlas.runs, atlas.combinations, atlas.memorisation
    repr(atlas)
    for layer in atlas:
        _ = layer.status, layer.connections, layer.interpretability, layer.judge_correlations
        for unit in layer:
            str(unit)
            for style in layer.styles:
                _ = unit.pictures(style), unit.trace(style), unit.ascent[style].numbers
            for kind in layer.kinds:
                with suppress(MissingError):  # of an atlas without pixels
                    _ = unit.tops(kind).patches
            for name in layer.runs:
                _ = unit.run(name).best_images, unit.run(name).code, unit.run(name).numbers
            break


def _change_file(path: Path, random: random.Random) -> None:
    """Change one to four things of a file; every other time the seals are those of what it holds then."""
    with h5py.File(path, "r+") as file:
        for _ in range(random.choice((1, 1, 2, 4))):
            _change(file, random)
        if random.random() < 0.5:
            with suppress(*_IMPOSSIBLE):
                seal_all(file)
                for kind in format.UNLINKED:
                    for group in kind.within(file):
                        seal(group, kind)
                file.attrs[CONTENT] = content_digest(file)


def _change(file: h5py.File, random: random.Random) -> None:
    """Change one thing of the structure; some changes are impossible, and leave the file as it is."""
    names: list[str] = []
    file.visit(names.append)
    if not names:
        return
    name = random.choice(names)
    with suppress(*_IMPOSSIBLE):
        thing = file[name]
        match random.randrange(12):
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
            case 7 | 8 if isinstance(thing, h5py.Dataset) and thing.size and thing.dtype.kind in "iuf":
                at = tuple(random.randrange(length) for length in thing.shape)
                with np.errstate(invalid="ignore"):  # not every number is one of the type
                    thing[at] = np.array(random.choice(_ODD_NUMBERS)).astype(thing.dtype)
            case 9 if isinstance(thing, h5py.Dataset) and thing.size and h5py.check_string_dtype(thing.dtype):
                at = tuple(random.randrange(length) for length in thing.shape)
                thing[at] = random.choice(_ODD_TEXTS)
            case 10 if isinstance(thing, h5py.Dataset) and thing.ndim:
                scale = random.choice([*thing.parent.values()])
                scale.make_scale()
                thing.dims[random.randrange(thing.ndim)].attach_scale(scale)
            case 11 if isinstance(thing, h5py.Dataset) and thing.ndim:  # pictures in another file
                layout = h5py.VirtualLayout(thing.shape, thing.dtype)
                layout[...] = h5py.VirtualSource(random.choice(_FILES), random.choice((thing.name, "/x")), thing.shape)
                del file[name]
                file.create_virtual_dataset(name, layout)
            case _ if isinstance(thing, h5py.Dataset):
                shape, chunks = random.choice((thing.shape, random.choice(_ODD_SHAPES))), thing.chunks
                kind = random.choice((thing.dtype, random.choice(_ODD_TYPES)))
                del file[name]
                if shape and max(shape) > 1 << 30:
                    chunks = (1 << 10,) * len(shape)
                file.create_dataset(name, shape, kind, chunks=chunks if shape else None)
            case _:
                file.create_dataset(f"{name}/more", (3,), random.choice(_ODD_TYPES))


def _small(path: Path, kept: Sequence[str]) -> bytes:
    """A whole atlas with what is not at or below these paths left out, but for the network."""
    wanted = ("network", "preprocessing", *kept)
    small = path.with_suffix(".small")
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, thing: names.append(name) if isinstance(thing, h5py.Group) else None)
        for name in names:
            if name in file and not any(
                f"{each}/".startswith(f"{name}/") or name.startswith(f"{each}/") for each in wanted
            ):
                del file[name]
        write_whole_atlas(file, small, lambda count: None)
    assert [*faults(small)] == []
    return small.read_bytes()


def _module(name: str, path: Path) -> Any:
    """A module of the tests by its file."""
    for folder in ("atlas_viewer", "pipeline", "pipeline/store"):
        if str(_TESTS / folder) not in sys.path:
            sys.path.insert(0, str(_TESTS / folder))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
