"""Hashes of everything that decides a folder of a site: equal ones are taken over from the site before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.evidence.registry import shown_beside
from atlas_viewer.field import ROWS_OF_IMAGES
from atlas_viewer.format import SCHEMA
from atlas_viewer.layer import Layer
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.pieces import kinds, panels

HERE = Path(__file__).parent


def layer_key(outline: Outline, atlas_path: Path, layer: Layer) -> str:
    """A hash of everything that decides the files of a layer's folder."""
    atlas = outline.atlas
    digest = hashlib.sha256(_code().encode())
    around = (
        atlas.cited,
        atlas.model,
        atlas.input_size,
        outline.plate(layer.name),
        outline.neighbours(layer.name),
    )
    digest.update(repr((around, layer.info)).encode())
    digest.update(repr([piece.depends(outline, layer) for piece in (*kinds(), *panels())]).encode())
    digest.update(atlas.mean.tobytes())
    groups = [layer.group, *shown_beside(layer)]
    _hash_images(digest, layer, groups)
    hash_groups(digest, atlas_path, groups)
    return digest.hexdigest()


def folder_key(atlas_path: Path, around: object, groups: list[h5py.Group]) -> str:
    """A hash of the drawing code, of what lies around a folder, and of groups of the atlas."""
    digest = hashlib.sha256(_code().encode())
    digest.update(repr(around).encode())
    hash_groups(digest, atlas_path, groups)
    return digest.hexdigest()


def hash_groups(digest: hashlib._Hash, atlas_path: Path, groups: list[h5py.Group]) -> None:
    """Take in whole groups of the atlas, except rows of images, which shift with the hits of other layers."""
    with atlas_path.open("rb") as raw:
        for group in groups:
            rows = {dataset.name for dataset in _rows_of_images(group)}
            _hash_object(digest, raw, "", group)
            group.visititems(lambda name, thing, rows=rows: _hash_object(digest, raw, name, thing, thing.name in rows))


def _rows_of_images(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """The datasets in a group of the atlas whose numbers are rows of /dataset/images."""
    for kind in SCHEMA:
        names = [field.name for field in kind.fields if field.rows_of == ROWS_OF_IMAGES]
        for each in kind.within(group.file) if names else ():
            if each == group or each.name.startswith(f"{group.name}/"):
                yield from (each[name] for name in names)


def _hash_images(digest: hashlib._Hash, layer: Layer, groups: list[h5py.Group]) -> None:
    """Take in what the layer's pages show of the dataset; the pixels follow from content, preprocessing, packages."""
    dataset = layer.atlas.dataset
    if dataset is None:
        return
    about = [(name, repr(value)) for name, value in sorted(dataset.group.attrs.items())]
    digest.update(repr((about, dataset.classes, layer.atlas.packages)).encode())
    for rows in (stored[...] for group in groups for stored in _rows_of_images(group)):
        used = np.unique(rows[rows >= 0])
        for part in (dataset.number, dataset.hash, dataset.label, dataset.placement):
            digest.update(part[used].tobytes())
        digest.update(repr([dataset.key[row] for row in used.tolist()]).encode())
        digest.update(np.where(rows >= 0, dataset.number[rows], -1).tobytes())


def _code() -> str:
    """A hash of everything that draws: our code, templates and style sheets, and the libraries that draw."""
    digest = hashlib.sha256(f"{version('pillow')} {version('jinja2')} {version('numpy')}".encode())
    for path in sorted(HERE.parent.rglob("*")):
        if path.suffix in (".py", ".html", ".css", ".js"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _hash_object(
    digest: hashlib._Hash, raw: object, name: str, thing: h5py.Group | h5py.Dataset, rows_of_images: bool = False
) -> None:
    """Take in a group's attributes, or a dataset; chunks as they are stored, so that nothing is unpacked."""
    about = [(key, repr(thing.attrs[key])) for key in sorted(thing.attrs)]
    digest.update(repr((name, about)).encode())
    if isinstance(thing, h5py.Group) or rows_of_images:
        return
    digest.update(repr((thing.shape, str(thing.dtype))).encode())
    if thing.chunks is None:
        values = thing[()]
        digest.update(repr(values.tolist()).encode() if thing.dtype == object else values.tobytes())
        return
    stored = []
    thing.id.chunk_iter(lambda chunk: stored.append((chunk.chunk_offset, chunk.byte_offset, chunk.size)))
    for offset, at, size in sorted(stored):
        digest.update(repr((offset, size)).encode())
        raw.seek(at)
        digest.update(raw.read(size))
