"""Find damage in an atlas: compute every digest that it keeps again, over what is stored now.

No picture is decompressed, and those in the parts of an open atlas are read where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.chunks import ChunkFiles, ChunkTable, chunk_table
from atlas_viewer.errors import UNREADABLE, one_line
from atlas_viewer.field import Field, Group, chunk_digest
from atlas_viewer.seal import CONTENT, SEAL, content_digest, group_digest, groups
from atlas_viewer.validator import check, form_faults

REMEDY = "put a whole copy of the atlas in its place, or compute it again in another folder"
SEALING = "make pack with the same OUT writes it with seals, which show damage from then on"


def faults(atlas_file: Path | str) -> Iterator[str]:
    """Yield a line for everything that is not as it was written: its place, and what to do.

    Raises MissingError for a file that does not exist, FormatError for one that is no atlas.
    """
    return map(one_line, _faults(atlas_file))


def _faults(atlas_file: Path | str) -> Iterator[str]:
    with Atlas(atlas_file) as atlas, ChunkFiles() as chunks:
        file = atlas.file
        try:
            unsound = check(file)
            yield from (f"{fault}; {REMEDY}" for fault in unsound)
            there = list(groups(file))
        except UNREADABLE as error:
            yield f"/: cannot be read whole ({error}); {REMEDY}"
            return
        sealed = any(SEAL in group.attrs for _, group, _ in there)
        if not sealed:
            yield f"/: has no seals, so damage to its numbers cannot be found; {SEALING}"
        for path, group, kind in there:
            try:
                if unsound and any(form_faults(kind, group)):
                    continue  # its arrays may state any size, and digests read them whole
                yield from _group_faults(path, group, kind, chunks, sealed)
            except UNREADABLE as error:
                yield f"{path}: cannot be read ({error}); {REMEDY}"
        if sealed and file.attrs.get(CONTENT) != content_digest(file):
            yield f"/: the seals of its groups are not those that it was completed with; {REMEDY}"


def _group_faults(path: str, group: h5py.Group, kind: Group, chunks: ChunkFiles, sealed: bool) -> Iterator[str]:
    """Faults of one group. sealed : whether the groups of the atlas have seals."""
    for field in kind.fields:
        if field.by_picture and field.name in group:
            yield from _picture_faults(f"{path}/{field.name}", kind, field, group, chunks)
    if not sealed:
        return
    if SEAL not in group.attrs:
        yield f"{path}: has no seal, so damage cannot be found; {REMEDY}"
    elif group.attrs[SEAL] != group_digest(group, kind):
        yield f"{path}: its numbers, texts or attributes are not those that were written; {REMEDY}"


def _picture_faults(path: str, kind: Group, field: Field, group: h5py.Group, chunks: ChunkFiles) -> Iterator[str]:
    table = chunk_table(group[field.name], field.picture_axes)
    digests = kind[f"{field.name}_digest"].read(group[f"{field.name}_digest"])
    for at in np.ndindex(*digests.shape):
        place = f"{path}[{', '.join(map(str, at))}]"
        try:
            found = _found(table, at, chunks)
        except UNREADABLE as error:
            yield f"{place}: the picture cannot be read ({error}); {REMEDY}"
            continue
        if found != digests[at]:
            yield f"{place}: the picture is not the one that was written; {REMEDY}"


def _found(table: ChunkTable, at: tuple[int, ...], chunks: ChunkFiles) -> int:
    """The digest of the chunk that is stored now; 0 for none."""
    source = int(table.source[at])
    return 0 if source < 0 else chunk_digest(chunks.read(table.sources[source], int(table.place[at])))
