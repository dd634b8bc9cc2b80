"""A file on a disk that is full: the error is raised once, and HDF5 ends without a crash."""

from __future__ import annotations

import errno

import h5py
import numpy as np
import pytest

from atlas_viewer import written_file
from atlas_viewer.written_file import WrittenFile


class Full:
    """A file of which only the first writes succeed. left : how many."""

    def __init__(self, file, left):
        self._file, self.left = file, left

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_what_is_written_is_read_by_anyone(tmp_path):
    with WrittenFile(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(5)
    with WrittenFile(tmp_path / "a.h5", "r+") as file:
        file.attrs["more"] = 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"][...].tolist() == [0, 1, 2, 3, 4] and file.attrs["more"] == 1


@pytest.mark.parametrize("left", range(0, 12, 2))
def test_a_full_disk_is_an_error_of_closing_at_the_latest(tmp_path, monkeypatch, left):
    real = open
    monkeypatch.setattr(written_file, "open", lambda *at, **how: Full(real(*at, **how), left), raising=False)
    file = WrittenFile(tmp_path / "a.h5", "w")
    for name in map(str, range(50)):
        file[name] = np.arange(500)
    file.flush()
    with pytest.raises(OSError, match="No space left on device.*a.h5"):
        file.check()
    with pytest.raises(OSError, match="No space left on device"):
        file.close()
    assert not file.id.valid


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        WrittenFile(tmp_path / "nowhere" / "a.h5", "w")
