"""Write an open atlas as one whole file: equal content gives equal bytes, in whatever order it was added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.chunks import ChunkFiles, chunk_table
from atlas_viewer.field import GENERAL, Group
from atlas_viewer.seal import seal_all, seal_file
from atlas_viewer.written_file import WrittenFile


def write_whole_atlas(opened: h5py.File, target: Path, advance: Callable[[int], None]) -> None:
    """Copy every group of the schema, in the order of the schema and of names, and every chunk as it is stored.

    opened : an atlas, open or whole.
    target : the new file.
    advance : called with the number of bytes of pictures just copied.
    """
    with format.create(target) as file, ChunkFiles() as chunks:
        for kind in format.SCHEMA:
            for path in kind.paths(opened):
                _copy(kind, path, opened[path], file, chunks, advance)
        seal_all(file)
    seal_file(target)


def _copy(
    kind: Group,
    path: str,
    group: h5py.Group,
    file: WrittenFile,
    chunks: ChunkFiles,
    advance: Callable[[int], None],
) -> None:
    """Copy a group to its path in the atlas, which may be another one than in its part."""
    attributes = {name: _plain(group.attrs[name]) for name in group.attrs if name not in GENERAL}
    copy = kind.create_at(file, path, attributes)
    for field in kind.fields:
        if field.name not in group:
            continue
        dataset = group[field.name]
        if not field.by_picture:
            field.write(copy, dataset.asstr()[...] if field.dtype == "text" else dataset[...])
            continue
        written = field.create(copy, dict(zip(field.axes, dataset.shape, strict=True)))
        table = chunk_table(dataset, field.picture_axes)
        for at in zip(*np.nonzero(table.source >= 0), strict=True):
            chunk = chunks.read(table.sources[table.source[at]], int(table.place[at]))
            written.id.write_direct_chunk((*map(int, at), *(0,) * field.picture_axes), chunk)
            file.check()
            advance(len(chunk))


def _plain(value: object) -> object:
    """An attribute as a value that is written as it was."""
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else value
