"""A table of chunks, written as a virtual dataset and read back, is the same table."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from atlas_viewer.chunks import ChunkTable, Source, chunk_table

PICTURE = (2, 3)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, list[Source]]:
    """Pictures in two files of one axis, and in one of two axes; each has its own number."""
    folder, sources = tmp_path_factory.mktemp("chunks"), []
    for number, lead in enumerate(((40,), (25,), (6, 5))):
        path = folder / f"{number}.h5"
        with h5py.File(path, "w") as file:
            values = 1000 * number + np.arange(np.prod(lead)).reshape(*lead, 1, 1) + np.zeros(PICTURE)
            file.create_dataset("pixels", data=values.astype(np.int32), chunks=(*(1,) * len(lead), *PICTURE))
        sources.append(Source(path, "pixels", lead))
    return folder, sources


def written(folder: Path, table: ChunkTable) -> tuple[np.ndarray, ChunkTable, int]:
    """The values of the virtual dataset, its table, and the number of its selections."""
    layout, runs = h5py.VirtualLayout((*table.source.shape, *PICTURE), "i4"), list(table.runs())
    for here, source, there in runs:
        layout[here] = h5py.VirtualSource(source.file.name, source.dataset, shape=(*source.lead, *PICTURE))[there]
    with h5py.File(folder / "table.h5", "w") as file:
        virtual = file.create_virtual_dataset("pixels", layout, fillvalue=-1)
        return virtual[...][..., 0, 0], chunk_table(virtual, len(PICTURE)), len(runs)


def values(table: ChunkTable) -> np.ndarray:
    """The number of each picture, −1 for none."""
    base = np.array([1000 * int(source.file.stem) for source in table.sources] + [0])
    return np.where(table.source < 0, -1, base[table.source] + table.place)


@given(data=some.data(), rows=some.integers(1, 7), columns=some.integers(1, 3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_read_back(sources, data, rows, columns):
    folder, known = sources
    table = ChunkTable.blank((rows, columns))
    for row in range(rows):
        for column in range(columns):
            number = data.draw(some.sampled_from([-1, 0, 1]))
            if number >= 0:
                table.source[row, column] = table.number(known[number])
                table.place[row, column] = data.draw(some.integers(0, known[number].lead[0] - 1))
    seen, again, _ = written(folder, table)
    np.testing.assert_array_equal(seen, values(table))
    np.testing.assert_array_equal(values(again), values(table))


@given(starts=some.lists(some.integers(0, 9), min_size=1, max_size=4), holes=some.sets(some.integers(0, 11)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_follow_one_another_are_read_back(sources, starts, holes):
    """Runs of three rows of three pictures, from any places, with single pictures missing."""
    folder, known = sources
    table = ChunkTable.blank((3 * len(starts), 3))
    for number, start in enumerate(starts):
        rows = slice(3 * number, 3 * number + 3)
        table.source[rows] = table.number(known[number % 2])
        table.place[rows] = start + np.arange(9).reshape(3, 3)
    table.source.flat[[hole for hole in holes if hole < table.source.size]] = -1
    seen, again, _ = written(folder, table)
    np.testing.assert_array_equal(seen, values(table))
    np.testing.assert_array_equal(values(again), values(table))


def test_rows_that_follow_one_another_are_one_selection(sources):
    folder, known = sources
    table = ChunkTable.blank((12, 3))
    table.source[...] = table.number(known[0])
    table.place[...] = np.arange(36).reshape(12, 3)
    assert written(folder, table)[2] == 1
    table.place[6:] += 2
    assert written(folder, table)[2] == 2


def test_columns_of_a_source_with_two_axes_are_read_back(sources):
    folder, known = sources
    table = ChunkTable.blank((6, 5))
    table.source[...] = table.number(known[2])
    table.place[...] = np.arange(30).reshape(6, 5)
    table.source[2, 1] = -1
    seen, again, _ = written(folder, table)
    np.testing.assert_array_equal(seen, values(table))
    np.testing.assert_array_equal(values(again), values(table))
