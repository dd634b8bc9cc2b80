"""Seals: digests of what an atlas holds, kept in it, so that damage is found later; and the way to its first picture.

Every dataset of pictures has a dataset of its chunks' digests beside it. A group's seal covers everything else in the
group, these digests included, and the attribute `content` of / covers the seals of all groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.field import Group, has_member, members
from atlas_viewer.format import LAYER, SCHEMA, UNLINKED
from atlas_viewer.written_file import WrittenFile

SEAL, CONTENT = "seal", "content"
UNSEALED = (SEAL, CONTENT, "default")  # attributes that a seal does not cover: itself, and what follows from all groups
_METHODS = ("ascent", "dgn", "tops")  # where the picture is looked for that viewers show first
_CLASSES = ("NXroot", "NXentry", "NXsubentry", "NXcollection")  # of /, /layers, a layer, and the groups of a method


def seal(group: h5py.Group, kind: Group) -> None:
    """Seal a group that is complete. A group with pictures tells NeXus viewers of them first."""
    pictures = next((field for field in kind.fields if field.is_image and field.name in group), None)
    if pictures is not None:
        coordinates = {field.name for field in pictures.coordinates}
        axes = [axis if axis in coordinates else "." for axis in pictures.axes]
        for name, value in {"NX_class": "NXdata", "signal": pictures.name, "axes": axes}.items():
            group.attrs[name] = value
    group.attrs[SEAL] = group_digest(group, kind)


def seal_all(file: h5py.Group) -> None:
    """Seal every complete group of the schema in a file, except those that `seal_file` seals."""
    for kind in SCHEMA:
        for group in kind.within(file) if kind not in UNLINKED else ():
            seal(group, kind)


def seal_file(path: Path) -> None:
    """Seal an atlas whose groups in other files are sealed: its own groups, its content, and the way to a picture.

    It is read first and written then, because a file that is open for writing opens linked ones for writing too.
    """
    with h5py.File(path, "r") as file:
        way = _way_to_picture(file)
    with WrittenFile(path, "r+", libver=("earliest", "v110")) as file:
        for place, (name, nexus) in enumerate(zip(way, _CLASSES, strict=False)):
            group = file["/" + "/".join(way[:place])]
            group.attrs["NX_class"], group.attrs["default"] = nexus, name
        for kind in UNLINKED:
            for group in kind.within(file):
                seal(group, kind)
    with h5py.File(path, "r") as file:
        content = content_digest(file)
    with WrittenFile(path, "r+", libver=("earliest", "v110")) as file:
        file.attrs[CONTENT] = content


def is_sealed(file: h5py.File) -> bool:
    """Whether an atlas has seals: its content is stated."""
    return CONTENT in file.attrs


def group_digest(group: h5py.Group, kind: Group) -> str:
    """SHA-256, in hexadecimal, of a group's attributes and of its datasets in the order of the schema.

    Of each dataset its name, type and shape, and its values: row-major, little-endian; of a text its length in
    UTF-8, then it. Pictures are left out, for their digests are a dataset of their own.
    """
    total = hashlib.sha256()
    for name in sorted(set(group.attrs) - {*UNSEALED}):
        total.update(_framed(name.encode(), _attribute_bytes(group.attrs[name])))
    for field in kind.fields:
        if field.name in group:
            dataset = group[field.name]
            total.update(_framed(field.name.encode(), field.dtype.encode(), repr(dataset.shape).encode()))
            if not field.by_picture:
                total.update(_value_bytes(field.read(dataset)))
    return total.hexdigest()


def content_digest(file: h5py.File) -> str:
    """SHA-256 of the seals of all groups of an atlas, in the order of their paths; a group without one counts as ''."""
    total = hashlib.sha256()
    for path, group, _ in groups(file):
        total.update(
            _framed(
                path.encode(errors="surrogateescape"), str(group.attrs.get(SEAL, "")).encode(errors="surrogateescape")
            )
        )
    return total.hexdigest()


def groups(file: h5py.File) -> Iterator[tuple[str, h5py.Group, Group]]:
    """Yield the path, the group and its kind for every group of the schema in an atlas, by path."""
    found = [(path, kind) for kind in SCHEMA for path in kind.paths(file)]
    for path, kind in sorted(found, key=lambda each: each[0]):
        yield path, file[path], kind


def _framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _value_bytes(values: np.ndarray) -> bytes:
    if values.dtype.kind in "OUT":
        return _framed(*(str(text).encode() for text in values.reshape(-1).tolist()))
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()


def _attribute_bytes(value: object) -> bytes:
    array = np.asarray(value)
    kind = "text" if array.dtype.kind in "OUST" else array.dtype.newbyteorder("<").str
    return _framed(kind.encode(), repr(array.shape).encode()) + _value_bytes(array)


def _way_to_picture(file: h5py.File) -> tuple[str, ...]:
    """The names from / to the pictures to show first: of the class layer or the last one that has any."""
    table = file["network/layers"]
    names, classes = table["name"].asstr()[...].tolist(), table["class_layer"][...].tolist()
    by_name = {str(group.attrs["layer"]): group for group in LAYER.within(file)}
    order = sorted(range(len(names)), key=lambda row: (not classes[row], -row))
    for layer in (by_name[names[row]] for row in order if names[row] in by_name):
        for method in _METHODS:
            settings = members(layer[method]) if has_member(layer, method) else ()
            shown = [name for name, one in settings if str(one.attrs.get("NX_class")) == "NXdata"]
            asked = [name for name in shown if "sweep" not in layer[method][name].attrs]
            if shown:
                return "layers", layer.name.rsplit("/", 1)[1], method, (asked or shown)[0]
    return ()
