"""Where the stored bytes of pictures are: each picture is one chunk, in a dataset of this file or of another one.

Pictures are never decompressed on their way from a shard through the parts of an atlas into one whole file.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

_OPEN_FILES = 32  # far below the smallest limit of open files in use, 256


@dataclass(frozen=True)
class Source:
    """A dataset that holds chunks.

    lead : lengths of its axes before those of a picture.
    """

    file: Path
    dataset: str
    lead: tuple[int, ...]


@dataclass
class ChunkTable:
    """The place of every chunk of an array of pictures, by the axes that come before those of a picture.

    source : int32, index into `sources`; −1 where no chunk is stored.
    place : int64, flat index into the leading axes of that source.
    digest : uint64, the digest that the atlas keeps of the chunk; 0 where no chunk is stored.
    """

    source: np.ndarray
    place: np.ndarray
    digest: np.ndarray
    sources: list[Source] = field(default_factory=list)

    @classmethod
    def blank(cls, lead: Sequence[int]) -> ChunkTable:
        return cls(np.full(lead, -1, np.int32), np.zeros(lead, np.int64), np.zeros(lead, np.uint64))

    def number(self, source: Source) -> int:
        """The index of a source, which is added if it is new."""
        if source not in self.sources:
            self.sources.append(source)
        return self.sources.index(source)

    def take(self, rows: np.ndarray, other: ChunkTable, other_rows: np.ndarray) -> None:
        """Take over rows of another table, whose further axes are not longer than this one's."""
        at = (rows, slice(0, other.source.shape[1])) if self.source.ndim > 1 else rows
        translated = np.array([self.number(source) for source in other.sources] + [-1], np.int32)
        self.source[at] = translated[other.source[other_rows]]
        self.place[at] = other.place[other_rows]
        self.digest[at] = other.digest[other_rows]

    def runs(self) -> Iterator[tuple[tuple[slice | int, ...], Source, tuple[slice | int, ...]]]:
        """Yield (selection here, source, selection there): first runs of whole rows, then of evenly spaced places.

        HDF5 takes long to open a virtual dataset of many strided selections, so rows whose pictures follow one another
        in their source are one selection.
        """
        left = self.source.reshape(len(self.source), -1).copy()
        for first, stop in self._runs_of_rows():
            origin = self.sources[left[first, 0]]
            place = int(self.place[first].flat[0])
            yield (slice(first, stop),), origin, _selection(origin, place, (stop - first) * left.shape[1], 1)
            left[first:stop] = -1
        for number, column in enumerate(np.ndindex(*self.source.shape[1:])):
            source, place = left[:, number], self.place[(slice(None), *column)]
            rows = np.flatnonzero(source >= 0)
            start = 0
            while start < len(rows):
                stop = _run_length(rows, source, place, start)
                first, last = int(rows[start]), int(rows[stop - 1])
                origin = self.sources[source[first]]
                step = int(place[first + 1] - place[first]) if stop - start > 1 else 1
                yield (
                    (slice(first, last + 1), *column),
                    origin,
                    _selection(origin, int(place[first]), stop - start, step),
                )
                start = stop

    def _runs_of_rows(self) -> list[tuple[int, int]]:
        """First and stop of adjacent rows of several pictures that follow one another in a source of one axis."""
        source, place = (array.reshape(len(array), -1) for array in (self.source, self.place))
        width = source.shape[1]
        if width < 2 or not len(source):
            return []
        flat = np.array([len(origin.lead) == 1 for origin in self.sources] + [False])
        whole = (source == source[:, :1]).all(axis=1) & flat[source[:, 0]]
        whole &= (place == place[:, :1] + np.arange(width)).all(axis=1)
        follows = whole[1:] & whole[:-1] & (source[1:, 0] == source[:-1, 0]) & (place[1:, 0] == place[:-1, 0] + width)
        starts = np.flatnonzero(whole & ~np.concatenate([[False], follows]))
        stops = np.flatnonzero(whole & ~np.concatenate([follows, [False]])) + 1
        return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _run_length(rows: np.ndarray, source: np.ndarray, place: np.ndarray, start: int) -> int:
    """The end of the run that begins at rows[start]: adjacent rows of one source, places rising by one step."""
    rest = rows[start:]
    if len(rest) == 1:
        return start + 1
    step = np.diff(place[rest])
    same = (np.diff(rest) == 1) & (source[rest[1:]] == source[rest[0]]) & (step == step[0]) & (step > 0)
    broken = np.flatnonzero(~same)
    return start + (int(broken[0]) + 1 if len(broken) else len(rest))


def _selection(source: Source, first: int, count: int, step: int) -> tuple[slice | int, ...]:
    """The flat places first, first + step, … as a selection along the first axis of the source."""
    row, *column = np.unravel_index(first, source.lead)
    width = math.prod(source.lead[1:])
    if count > 1 and step % width:
        raise ValueError(f"{source.dataset}: pictures {step} apart do not follow an axis of {source.lead}")
    stride = max(1, step // width)
    return slice(int(row), int(row) + (count - 1) * stride + 1, stride), *map(int, column)


def chunk_table(dataset: h5py.Dataset, picture_axes: int) -> ChunkTable:
    """Where the chunks of a dataset are, whether it is virtual or holds them itself.

    picture_axes : number of axes of one picture, the last ones.
    Raises ValueError, or an error of h5py, where the parts of a virtual one do not make it up.
    """
    lead = dataset.shape[: dataset.ndim - picture_axes]
    table, folder = ChunkTable.blank(lead), Path(dataset.file.filename).parent
    if f"{dataset.name}_digest" in dataset.file:
        table.digest[...] = dataset.file[f"{dataset.name}_digest"][...]
    if dataset.is_virtual:
        mappings, leads = dataset.virtual_sources(), {}
        for mapping in mappings:  # each states the axes of its source as far as it selects them
            there = mapping.src_space.get_simple_extent_dims()
            key, lead_there = (mapping.file_name, mapping.dset_name), there[: len(there) - picture_axes]
            leads[key] = tuple(map(max, leads.get(key, lead_there), lead_there))
        for mapping in mappings:
            key = (mapping.file_name, mapping.dset_name)
            origin = Source(folder / mapping.file_name, mapping.dset_name, leads[key])
            here, there = _chosen(mapping.vspace, len(lead)), _chosen(mapping.src_space, len(origin.lead))
            if _count(here) != _count(there):
                raise ValueError(f"{_count(there)} pictures of {origin.dataset} for {_count(here)}")
            at = np.ix_(*map(_indices, here))
            places = np.ravel_multi_index(np.ix_(*map(_indices, there)), origin.lead)
            table.source[at] = table.number(origin)
            table.place[at] = places.reshape(table.place[at].shape)
        return table
    own = table.number(Source(Path(dataset.file.filename), dataset.name, lead))
    stored: list[tuple[int, ...]] = []
    if dataset.chunks is not None:
        dataset.id.chunk_iter(lambda info: stored.append(info.chunk_offset[: len(lead)]))
    if stored:
        at = tuple(np.array(stored, np.int64).T)
        table.source[at], table.place[at] = own, np.ravel_multi_index(at, lead)
    return table


def _chosen(space: h5py.h5s.SpaceID, axes: int) -> list[tuple[int, int, int, int]]:
    """What a selection chooses along each of the first axes: start, stride, count and block, as HDF5 has it."""
    return list(zip(*(part[:axes] for part in space.get_regular_hyperslab()), strict=True))


def _count(chosen: Sequence[tuple[int, int, int, int]]) -> int:
    """The number of places that a selection chooses."""
    return math.prod(count * block for _, _, count, block in chosen)


def _indices(chosen: tuple[int, int, int, int]) -> np.ndarray:
    """The indices that a selection chooses along one axis."""
    start, stride, count, block = chosen
    return (start + stride * np.arange(count)[:, None] + np.arange(block)).reshape(-1)


class ChunkFiles:
    """Reads chunks as they are stored, with a bounded number of open files."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, h5py.File] = OrderedDict()
        self._datasets: dict[tuple[Path, str], h5py.Dataset] = {}

    def __enter__(self) -> ChunkFiles:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            self._close_oldest()

    def read(self, source: Source, place: int) -> bytes:
        """The stored bytes of one picture. Raises OSError where the file or the chunk is missing."""
        dataset = self._dataset(source)
        at = tuple(map(int, np.unravel_index(place, source.lead)))
        return dataset.id.read_direct_chunk((*at, *(0,) * (dataset.ndim - len(at))))[1]

    def _dataset(self, source: Source) -> h5py.Dataset:
        if source.file not in self._files:
            if len(self._files) >= _OPEN_FILES:
                self._close_oldest()
            self._files[source.file] = h5py.File(source.file, "r")
        self._files.move_to_end(source.file)
        key = (source.file, source.dataset)
        if key not in self._datasets:
            name = source.dataset.encode(errors="surrogateescape")
            self._datasets[key] = h5py.Dataset(h5py.h5d.open(self._files[source.file].id, name))  # never a group
        return self._datasets[key]

    def _close_oldest(self) -> None:
        path, file = self._files.popitem(last=False)
        self._datasets = {key: dataset for key, dataset in self._datasets.items() if key[0] != path}
        file.close()
