"""What the folders of a site were made from, as hashes: equal ones are taken over from the site before."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.evidence.memorisation import Memorisation
from atlas_viewer.layer import Layer
from atlas_viewer.site.combination_page import groups
from atlas_viewer.site.comparison_page import shown_rows
from atlas_viewer.site.outline import Outline, runs

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
    found = [(run.name, outline.prior_link(run.prior)) for run in runs(layer)]
    together = [group.link() for group in groups(outline) if group.layer == layer.name]
    digest.update(repr((found, shown_rows(outline, layer), together)).encode())
    digest.update(atlas.mean.tobytes())
    _hash_images(digest, layer)
    with atlas_path.open("rb") as raw:
        layer.group.visititems(lambda name, thing: _hash_object(digest, raw, name, thing))
        for test in _tests(layer):
            _hash_object(digest, raw, "", test.group)
            test.group.visititems(lambda name, thing: _hash_object(digest, raw, name, thing))
    return digest.hexdigest()


def combinations_key(outline: Outline, atlas_path: Path, layers: dict[str, str]) -> str:
    """A hash of everything that decides the pages of combined units. layers : the keys of the layers."""
    digest = hashlib.sha256(_code().encode())
    shown = groups(outline)
    around = [(group.layer, layers.get(group.layer), group.name(1)) for group in shown]
    links = [outline.prior_link(each.prior) for group in shown for each in group.sets]
    digest.update(repr((outline.atlas.cited, around, links)).encode())
    with atlas_path.open("rb") as raw:
        for each in (each for group in shown for each in group.sets):
            _hash_object(digest, raw, "", each.group)
            each.group.visititems(lambda name, thing: _hash_object(digest, raw, name, thing))
    return digest.hexdigest()


def _tests(layer: Layer) -> list[Memorisation]:
    """The memorisation tests that the layer's pages show."""
    return [test for test in layer.atlas.memorisation.values() if test.layer == layer.name]


def _hash_images(digest: hashlib._Hash, layer: Layer) -> None:
    """Take in what the layer's pages show of the dataset; the pixels follow from content, preprocessing, packages."""
    dataset = layer.atlas.dataset
    if dataset is None:
        return
    about = [(name, repr(value)) for name, value in sorted(dataset.group.attrs.items())]
    digest.update(repr((about, dataset.classes, layer.atlas.packages)).encode())
    for rows in (*(layer.tops(kind).image for kind in layer.kinds), *(test.nearest for test in _tests(layer))):
        used = np.unique(rows[rows >= 0])
        for part in (dataset.number, dataset.hash, dataset.label, dataset.placement):
            digest.update(part[used].tobytes())
        digest.update(repr([dataset.key[row] for row in used.tolist()]).encode())
        digest.update(np.where(rows >= 0, dataset.number[rows], -1).tobytes())


def _code() -> str:
    """A hash of what draws: our code, templates and styles, and the libraries that draw."""
    digest = hashlib.sha256(f"{version('pillow')} {version('jinja2')} {version('numpy')}".encode())
    for path in sorted(HERE.parent.rglob("*")):
        if path.suffix in (".py", ".html", ".css", ".js"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _hash_object(digest: hashlib._Hash, raw: object, name: str, thing: h5py.Group | h5py.Dataset) -> None:
    """Take in a group's attributes, or a dataset; chunks as they are stored, so that nothing is unpacked."""
    about = [(key, repr(thing.attrs[key])) for key in sorted(thing.attrs)]
    digest.update(repr((name, about)).encode())
    if isinstance(thing, h5py.Group) or (name.startswith("tops/") and name.endswith("/image")) or name == "nearest":
        return  # rows of images shift with the hits of other layers; which images they are is taken in elsewhere
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
