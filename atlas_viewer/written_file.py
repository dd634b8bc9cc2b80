"""An HDF5 file that is written, on a disk that may be full or fail.

HDF5 cannot close a file of which it cannot write everything, and then crashes when the process ends. So it never learns
that a write failed: the first error is kept, what follows is not written, and closing the file raises the error.
"""

from __future__ import annotations

import io
from pathlib import Path

import h5py


class WrittenFile(h5py.File):
    """An HDF5 file open for writing. A file that could not be written raises its OSError in `check` and in `close`."""

    def __init__(self, path: Path | str, mode: str, **options: object) -> None:
        """mode : "w" for a new file, "r+" for one that exists. options : of h5py.File."""
        self._disk = _Disk(path, {"w": "w+b", "r+": "r+b"}[mode])
        try:
            super().__init__(self._disk, mode, **options)
        except BaseException:
            self._disk.close()
            self.check()
            raise

    def check(self) -> None:
        """Raise the error for which the file cannot be written, if there is one: a long work may end early."""
        if self._disk.error is not None:
            raise self._disk.error

    def close(self) -> None:
        """Close the file. Raises OSError if it is not whole on the disk."""
        super().close()
        self._disk.close()
        self.check()


class _Disk(io.RawIOBase):
    """A file whose calls never fail. error : the first one that did."""

    def __init__(self, path: Path | str, mode: str) -> None:
        self._path, self.error = str(path), None
        self._file = open(path, mode, buffering=0)  # noqa: SIM115 - closed by WrittenFile

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        try:
            while done < len(view) and self.error is None:
                count = self._file.readinto(view[done:])
                if not count:
                    break
                done += count
        except OSError as error:
            self._failed(error)
        view[done:] = bytes(len(view) - done)
        return len(view)

    def write(self, data: memoryview) -> int:
        view, done = memoryview(data).cast("B"), 0
        try:
            while done < len(view) and self.error is None:
                done += self._file.write(view[done:])
        except OSError as error:
            self._failed(error)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return self._file.truncate(size)
        except OSError as error:
            self._failed(error)
        return self.tell() if size is None else size

    def flush(self) -> None:
        """Nothing waits: the file has no buffer."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            try:
                self._file.close()
            except OSError as error:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self.error is None:
            self.error = OSError(error.errno, error.strerror, self._path)
