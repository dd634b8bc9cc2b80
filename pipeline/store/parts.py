"""The parts of an open atlas: files that never change once they have a name, and the small file that links them.

OUT/atlas.h5 of an open atlas has the network and the units itself; every further group is an external link to
OUT/parts/<name>.h5. A group's small arrays are in its part; its pictures are in files of pictures, one for each merge
that added some, and the group's array of pictures is a virtual dataset over these. An addition writes new files, then
atlas.h5 anew, which takes their place in one rename; so readers see the atlas before it or after it, and a part of an
atlas is written once. The old whole file, where there was one, becomes a part as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.chunks import ChunkTable, Source
from atlas_viewer.field import DTYPES, Field, chunk_digest
from atlas_viewer.seal import seal_all

FOLDER = "parts"
_NAME = 24  # characters of a hash in the name of a part


@dataclass
class Parts:
    """The parts of an atlas while a merge adds to it.

    folder : where they are.
    synced : whether each file is on the disk before it gets its name; needless for parts that are packed at once.
    links : path of a group → (name of its file, path in the file).
    added : number of parts that were written.
    """

    folder: Path
    synced: bool
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    added: int = 0

    @contextmanager
    def part(self, root: str) -> Iterator[Part]:
        """A new part with everything at and below a path; it is linked when the context ends without an error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = Part(self, root)
        try:
            yield part
            self.links[root] = (part.close(), root)
            self.added += 1
        except BaseException:
            part.discard()
            raise

    def keep(self, root: str, group: h5py.Group) -> None:
        """Link a group of the atlas before, at a path of the new one. The whole file that it is in becomes a part."""
        self.links[root] = (self.part_name(Path(group.file.filename)), group.name)

    def adopt(self, whole: Path) -> Path:
        """The path of a whole atlas file as a part: a second name of the same file, so that it needs no room."""
        status = whole.stat()
        adopted = self.folder / f"whole-{status.st_ino:x}-{status.st_mtime_ns:x}.h5"
        if not adopted.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                os.link(whole, adopted)
            except OSError:  # a file system without hard links
                temporary = adopted.with_name(f".{adopted.name}.part")
                shutil.copyfile(whole, temporary)
                temporary.replace(adopted)
        return adopted

    @contextmanager
    def opened(self, root: str) -> Iterator[h5py.Group]:
        """A group of the new atlas that is in a part, for reading."""
        name, path = self.links[root]
        with h5py.File(self.folder / name, "r") as file:
            yield file[path]

    def part_name(self, file: Path) -> str:
        """The name of the part that a file is, or becomes."""
        return file.name if file.parent.name == FOLDER else self.adopt(file).name

    def write_links(self, file: h5py.File) -> None:
        """Link all parts into the new atlas."""
        for root in sorted(self.links):
            name, path = self.links[root]
            file[root] = h5py.ExternalLink(f"{FOLDER}/{name}", path)

    def finish(self, temporary: Path, name: str | None = None, salt: str = "") -> str:
        """Give a complete file its name: `name`, or one that follows from its bytes. Returns the name."""
        with open(temporary, "rb") as file:
            if name is None:
                total = hashlib.sha256(salt.encode())
                for block in iter(lambda: file.read(1 << 20), b""):
                    total.update(block)
                name = f"{total.hexdigest()[:_NAME]}.h5"
            if self.synced:
                os.fsync(file.fileno())
        temporary.replace(self.folder / name)
        return name


class Part:
    """A group of the atlas in a file of its own, while it is written. `file` takes what a whole atlas would."""

    def __init__(self, parts: Parts, root: str) -> None:
        self.parts, self.root = parts, root
        self._path = parts.folder / f".{_hash(root)}.part"
        self._pictures = _PictureFile(parts, root)
        self._arrays: list[_Array] = []
        self.file = format.create(self._path)

    def chunks(self, kind: Field, group: h5py.Group, sizes: Mapping[str, int]) -> ChunkArray:
        """An array of pictures or codes in `group`, which is written when the part is complete."""
        array = _Array(self.parts, kind, group, dict(sizes), ChunkTable.blank(_lead(kind, sizes)))
        self._arrays.append(array)
        return ChunkArray(array, self._pictures)

    def close(self) -> str:
        """Complete the part, and return the name of its file."""
        own = self._pictures.close()
        for array in self._arrays:
            array.write(own)
        seal_all(self.file)
        self.file.close()
        return self.parts.finish(self._path, salt=self.root)

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(Exception):
            self.file.close()
        self._pictures.discard()
        self._path.unlink(missing_ok=True)


class ChunkArray:
    """Takes the chunks of one array, new ones and those of an earlier part."""

    def __init__(self, array: _Array, pictures: _PictureFile) -> None:
        self._array, self._pictures = array, pictures

    def write(self, at: tuple[int, ...], chunk: bytes) -> None:
        """Store the new chunk of the picture at these indices."""
        table = self._array.table
        table.source[at], table.place[at] = (
            table.number(_OWN),
            self._pictures.add(self._array.kind, self._array.sizes, chunk),
        )
        table.digest[at] = chunk_digest(chunk)

    def take(self, rows: np.ndarray, held: ChunkTable, held_rows: np.ndarray) -> None:
        """Refer to chunks that the atlas has. rows, held_rows : indices of the same pictures, here and there."""
        self._array.table.take(rows, held, held_rows)


@dataclass
class _Array:
    parts: Parts
    kind: Field
    group: h5py.Group
    sizes: dict[str, int]
    table: ChunkTable

    def write(self, own: tuple[str, Mapping[str, int]] | None) -> None:
        """Create the dataset, virtual over the files of its chunks or empty, and that of its digests.

        own : the name of the part's new file of pictures, and the number of chunks of each field in it.
        """
        self.kind.write_digests(self.group, self.table.digest)
        runs = list(self.table.runs())
        if not runs:
            self.kind.create(self.group, self.sizes)
            return
        shape = self.kind.shape(self.sizes)
        picture = shape[self.table.source.ndim :]
        layout = h5py.VirtualLayout(shape, DTYPES[self.kind.dtype])
        sources: dict[Source, h5py.VirtualSource] = {}
        for here, source, there in runs:
            if source not in sources:
                if source == _OWN:
                    name, dataset, lead = own[0], f"/{self.kind.name}", (own[1][self.kind.name],)
                else:
                    name, dataset, lead = self.parts.part_name(source.file), source.dataset, source.lead
                sources[source] = h5py.VirtualSource(name, dataset, shape=(*lead, *picture))
            layout[here] = sources[source][there]
        self.kind.create_virtual(self.group, layout)


_OWN = Source(Path(), "", (1 << 62,))  # the part's new file of pictures, whose name is known when it is complete


class _PictureFile:
    """The new chunks of one part, in the order of their arrival; no file without chunks."""

    def __init__(self, parts: Parts, root: str) -> None:
        self._parts, self._root, self._file = parts, root, None
        self._path = parts.folder / f".{_hash(root)}.pictures.part"
        self._datasets: dict[str, h5py.Dataset] = {}
        self._counts: dict[str, int] = {}
        self._hash = hashlib.sha256(root.encode())

    def add(self, kind: Field, sizes: Mapping[str, int], chunk: bytes) -> int:
        """Store a chunk of a field; return its place."""
        if self._file is None:
            self._file = format.create(self._path)
        dataset = self._datasets.get(kind.name)
        if dataset is None:
            dataset = self._datasets[kind.name] = kind.create_growing(self._file, sizes)
            self._counts[kind.name] = 0
        at = self._counts[kind.name]
        if at == len(dataset):
            dataset.resize(2 * at + 16, axis=0)
        dataset.id.write_direct_chunk((at,) + (0,) * (dataset.ndim - 1), chunk)
        self._file.check()
        self._hash.update(chunk)
        self._counts[kind.name] = at + 1
        return at

    def close(self) -> tuple[str, Mapping[str, int]] | None:
        """Complete the file; return its name and the number of chunks of each field, or None."""
        if self._file is None:
            return None
        for name, dataset in self._datasets.items():
            dataset.resize(self._counts[name], axis=0)
        self._file.close()
        self._file = None
        return self._parts.finish(self._path, f"{self._hash.hexdigest()[:_NAME]}.h5"), self._counts

    def discard(self) -> None:
        if self._file is not None:
            with suppress(Exception):
                self._file.close()
        self._path.unlink(missing_ok=True)


def _lead(kind: Field, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return kind.shape(sizes)[: -kind.picture_axes]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_NAME]
