"""Hashes of everything that decides the files of a site: files with equal ones are taken over from the site before."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.evidence.registry import shown_beside
from atlas_viewer.field import GENERAL, ROWS_OF_IMAGES, Field, Group
from atlas_viewer.format import SCHEMA, is_foreseen
from atlas_viewer.layer import Layer
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.pieces import BLOCK, Page, kinds, panels

HERE = Path(__file__).parent
DIGEST = "digest"  # attribute of a group: of its content
OF_PICTURES = "_digest"  # after the name of a dataset of pictures: that of the dataset with the digest of each


@dataclass(frozen=True)
class LayerKeys:
    """What decides the pages of a layer: a hash of what its units share, and one of each block of BLOCK units."""

    around: str
    blocks: tuple[str, ...]

    def of(self, rows: range, more: object = "") -> str:
        """The key of files that show these units, and whatever `more` says."""
        within = self.blocks[rows.start // BLOCK : -(-rows.stop // BLOCK)] if rows else ()
        return hashlib.sha256(repr((self.around, within, rows, more)).encode()).hexdigest()


def layer_keys(outline: Outline, layer: Layer) -> LayerKeys:
    """The keys of a layer. Each dataset is read once, in the order of its rows."""
    around = hashlib.sha256(repr(_around(outline, layer)).encode())
    around.update(outline.atlas.mean.tobytes())
    around.update(layer.units.tobytes())
    blocks = [hashlib.sha256(repr(_neighbours(layer, start)).encode()) for start in range(0, len(layer), BLOCK)]
    for name, thing in _walk(layer.group):
        if isinstance(thing, h5py.Group):
            _take_in_attributes(around, name, thing)
            continue
        if _is_left_out(thing):
            continue
        if not _has_rows_of_units(thing, layer):
            around.update(name.encode())
            _take_in_values(around, thing)
            continue
        for start, block in zip(range(0, len(layer), BLOCK), blocks, strict=True):
            block.update(name.encode())
            _take_in_rows(block, thing, start, min(start + BLOCK, len(layer)), layer)
    for group in shown_beside(layer):
        for name, thing in _walk(group):
            if isinstance(thing, h5py.Group):
                _take_in_attributes(around, name, thing)
            else:
                around.update(name.encode())
                _take_in_rows(around, thing, 0, len(thing) if thing.shape else 0, layer)
    return LayerKeys(around.hexdigest(), tuple(block.hexdigest() for block in blocks))


def units_key(keys: LayerKeys, outline: Outline, layer: Layer, rows: range) -> str:
    """The key of what pages draw of a block of units alone."""
    return keys.of(rows, [piece.depends(outline, layer) for piece in (*kinds_of_units(), *panels())])


def kinds_of_units() -> tuple[Page, ...]:
    """The pages that have files of a block of units alone."""
    return tuple(page for page in kinds() if type(page).draw_units is not Page.draw_units)


def groups_key(around: object, groups: list[h5py.Group]) -> str:
    """A hash of the drawing code, of what lies around, and of groups of the atlas."""
    digest = hashlib.sha256(_code().encode())
    digest.update(repr(around).encode())
    for group in groups:
        if DIGEST in group.attrs:
            digest.update(repr(group.attrs[DIGEST]).encode())
        for name, thing in _walk(group):
            if isinstance(thing, h5py.Group):
                _take_in_attributes(digest, name, thing)
            elif DIGEST not in group.attrs and not _is_left_out(thing):
                digest.update(name.encode())
                _take_in_values(digest, thing)
    return digest.hexdigest()


def _around(outline: Outline, layer: Layer) -> tuple[object, ...]:
    """What all files of a layer show beside its evidence."""
    atlas = outline.atlas
    about: list[object] = [_code(), outline.full, atlas.cited, atlas.model, atlas.input_size, layer.info]
    about += [outline.plate(layer.name), outline.neighbours(layer.name)]
    if atlas.dataset is not None:  # the pixels of its images follow from content, preprocessing and packages
        about += [[(name, repr(value)) for name, value in sorted(atlas.dataset.group.attrs.items())]]
        about += [atlas.dataset.classes, atlas.packages]
    return tuple(about)


def _neighbours(layer: Layer, start: int) -> tuple[object, ...]:
    """The units before and after a block, which its pages link to."""
    beside = [row for row in (start - 1, start + BLOCK) if 0 <= row < len(layer)]
    return start, [(int(layer.units[row]), layer.labels[row]) for row in beside]


def _walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """A group and everything of the schema in it by name, in order of names; links to other files are followed."""
    yield from _below(group, "", str(group.name))


def _below(group: h5py.Group, name: str, path: str) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """A group, whose path in the atlas is given, and everything in it, with `name` before each name."""
    yield name, group
    for inner in sorted(group) if is_foreseen(path) else ():
        thing = group[inner]
        if isinstance(thing, h5py.Group):
            yield from _below(thing, f"{name}{inner}/", f"{path}/{inner}")
        else:
            yield f"{name}{inner}", thing


def _field(dataset: h5py.Dataset) -> Field | None:
    """The field of the schema that a dataset is; None if it is in none of its groups."""
    path, _, name = dataset.name.rpartition("/")
    return next((kind[name] for kind in _kinds(path) if any(each.name == name for each in kind.fields)), None)


@lru_cache(maxsize=1024)
def _kinds(path: str) -> tuple[Group, ...]:
    """The kinds of groups whose path this may be."""
    parts = path.split("/")
    return tuple(
        kind
        for kind, pattern in ((kind, kind.path.split("/")) for kind in SCHEMA)
        if len(pattern) == len(parts)
        and all(wanted == part or wanted.startswith("<") for wanted, part in zip(pattern, parts, strict=True))
    )


def _is_left_out(dataset: h5py.Dataset) -> bool:
    """Whether no page shows it: codes, and pictures that have a digest each."""
    field = _field(dataset)
    return field is not None and (
        field.axes[-1:] == ("entry",) or (field.is_image and f"{field.name}{OF_PICTURES}" in dataset.parent)
    )


def _has_rows_of_units(dataset: h5py.Dataset, layer: Layer) -> bool:
    """Whether row i of a dataset belongs to the i-th unit of its layer."""
    field = _field(dataset)
    return field is not None and field.axes[:1] == ("unit",) and dataset.shape[0] == len(layer)


def _take_in_attributes(digest: hashlib._Hash, name: str, group: h5py.Group) -> None:
    """Take in the attributes that pages show. The seal is none of them: it changes with any picture of the group.

    Those of datasets follow from the schema, which is part of the drawing code.
    """
    about = [(key, repr(group.attrs[key])) for key in sorted(group.attrs) if key not in GENERAL]
    digest.update(repr((name, about)).encode())


def _take_in_values(digest: hashlib._Hash, dataset: h5py.Dataset) -> None:
    digest.update(repr((dataset.shape, str(dataset.dtype))).encode())
    if dataset.shape and _is_by_chunk(dataset):
        _take_in_chunks(digest, dataset, 0, dataset.shape[0])
    else:
        _take_in(digest, dataset[()])


def _take_in_rows(digest: hashlib._Hash, dataset: h5py.Dataset, start: int, stop: int, layer: Layer) -> None:
    digest.update(repr((dataset.shape[1:], str(dataset.dtype), stop - start)).encode())
    if not dataset.shape:
        _take_in(digest, dataset[()])
    elif (field := _field(dataset)) is not None and field.rows_of == ROWS_OF_IMAGES:
        _take_in_images(digest, dataset[start:stop], layer)
    elif _is_by_chunk(dataset):
        _take_in_chunks(digest, dataset, start, stop)
    else:
        _take_in(digest, dataset[start:stop])


def _is_by_chunk(dataset: h5py.Dataset) -> bool:
    """Whether a dataset has a chunk for each picture, so that it can be hashed as it is stored, without unpacking."""
    return dataset.chunks is not None and dataset.chunks[0] == 1 and dataset.ndim > 2 and not dataset.is_virtual


def _take_in_chunks(digest: hashlib._Hash, dataset: h5py.Dataset, start: int, stop: int) -> None:
    steps = [range(0, length, step) for length, step in zip(dataset.shape[1:], dataset.chunks[1:], strict=True)]
    for corner in itertools.product(range(start, stop), *steps):
        written = dataset.id.get_chunk_info_by_coord(corner).byte_offset is not None
        stored = dataset.id.read_direct_chunk(corner)[1] if written else b""
        digest.update(repr((corner[1:], len(stored))).encode())
        digest.update(stored)


def _take_in_images(digest: hashlib._Hash, rows: np.ndarray, layer: Layer) -> None:
    """Take in what is shown of images of the dataset; their rows shift with the hits of other layers."""
    dataset = layer.atlas.dataset
    if dataset is None:
        return
    used = np.unique(rows[rows >= 0])
    for part in (dataset.number, dataset.hash, dataset.label, dataset.placement):
        digest.update(part[used].tobytes())
    digest.update(repr([dataset.key[row] for row in used.tolist()]).encode())
    digest.update(np.where(rows >= 0, dataset.number[rows], -1).tobytes())


def _take_in(digest: hashlib._Hash, values: object) -> None:
    array = np.asarray(values)
    digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of everything that draws: our code, templates and style sheets, and the libraries that draw."""
    digest = hashlib.sha256(f"{version('pillow')} {version('jinja2')} {version('numpy')}".encode())
    for path in sorted(HERE.parent.rglob("*")):
        if path.suffix in (".py", ".html", ".css", ".js"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
