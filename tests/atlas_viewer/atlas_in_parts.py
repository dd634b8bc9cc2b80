"""The made-up atlas as a merge leaves a large one: what is no network and no unit is in parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py

from atlas_viewer import format
from atlas_viewer.chunks import ChunkFiles, chunk_table
from atlas_viewer.field import GENERAL, Group
from atlas_viewer.seal import groups, seal_file
from pipeline.store.parts import FOLDER, Part, Parts


def write_in_parts(whole: Path, out: Path) -> Path:
    """Write a whole atlas to a folder, in parts; return the path of its atlas.h5."""
    parts, path = Parts(out / FOLDER, synced=False), out / "atlas.h5"
    with h5py.File(whole) as file, ChunkFiles() as chunks:
        listed = [(place, kind) for place, _, kind in groups(file)]
        roots: list[str] = []
        for place, kind in listed:  # by path: a group before those in it
            if kind not in format.UNLINKED and not any(place.startswith(f"{root}/") for root in roots):
                roots.append(place)
        for root in roots:
            with parts.part(root) as part:
                for place, kind in listed:
                    if f"{place}/".startswith(f"{root}/"):
                        _copy(kind, file[place], part.file, part, chunks)
        with format.create(path) as linked:
            for place, kind in listed:
                if kind in format.UNLINKED:
                    _copy(kind, file[place], linked, None, chunks)
            parts.write_links(linked)
    seal_file(path)
    return path


def _copy(kind: Group, group: h5py.Group, file: h5py.File, part: Part | None, chunks: ChunkFiles) -> None:
    attributes: Mapping[str, object] = {name: group.attrs[name] for name in group.attrs if name not in GENERAL}
    copy = kind.create_at(file, group.name, attributes)
    for field in kind.fields:
        if field.name not in group:
            continue
        dataset = group[field.name]
        if not field.by_picture:
            if not field.digest_of:  # a part writes them with the pictures
                field.write(copy, dataset.asstr()[...] if field.dtype == "text" else dataset[...])
            continue
        assert part is not None, f"{dataset.name}: pictures are in parts alone"
        array = part.chunks(field, copy, dict(zip(field.axes, dataset.shape, strict=True)))
        table = chunk_table(dataset, field.picture_axes)
        for at in zip(*(table.source >= 0).nonzero(), strict=True):
            at = tuple(map(int, at))
            array.write(at, chunks.read(table.sources[table.source[at]], int(table.place[at])))
