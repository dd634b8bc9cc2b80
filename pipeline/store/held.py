"""What an atlas file holds already. The next merge takes it over, so that no result is computed or needed twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.chunks import ChunkTable, chunk_table
from atlas_viewer.errors import UNREADABLE
from atlas_viewer.field import GENERAL, Field, Group, Status, member, members
from atlas_viewer.validator import check
from pipeline.errors import AtlasError, OutputError, disk_fault, of_hdf5
from pipeline.work import KnownImage

UNFINISHED = (Status.missing, Status.failed)


class HeldAtlas:
    """An atlas that results are added to, open for reading. A folder without one holds nothing."""

    def __init__(self, file: h5py.File | None) -> None:
        self.file = file

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[HeldAtlas]:
        """Open the atlas in a folder, if there is one.

        Raises OutputError if it cannot be read: its results may be nowhere else, so nothing is written over it.
        """
        try:
            file = h5py.File(path, "r")
        except FileNotFoundError:
            yield cls(None)
            return
        except UNREADABLE as error:
            raise _unreadable(path, error) from None
        with file, reading(path, file):
            if file.attrs.get("version") != format.VERSION:
                raise OutputError(
                    f"{path}: schema {file.attrs.get('version')}, this program writes {format.VERSION}; move the file "
                    f"away to make it again from its shards, as far as it has any, or choose another folder with OUT=…"
                )
            yield cls(file)

    @cached_property
    def layer_groups(self) -> dict[str, str]:
        """Layer → path of its group, for the layers that have units."""
        layers = self.group("/layers")
        groups = () if layers is None else members(layers)
        return {str(group.attrs["layer"]): f"/layers/{key}" for key, group in groups if "layer" in group.attrs}

    def units(self, layer: str) -> np.ndarray:
        """The units of a layer in this atlas, ascending; row i of its arrays belongs to the i-th."""
        group = self.layer_groups.get(layer)
        return np.zeros(0, np.int32) if group is None else self.file[f"{group}/units/unit"][...]

    def group(self, path: str) -> h5py.Group | None:
        """The group at a path, or None; KeyError if it is there and cannot be read."""
        group = self.file
        for name in filter(None, path.split("/")):
            group = member(group, name)
        return group

    def named(self, parent: str, attribute: str, name: str) -> h5py.Group | None:
        """The group below `parent` whose attribute has this value: settings of other names may have moved its own."""
        within = self.group(parent)
        for _, group in () if within is None else members(within):
            if group.attrs.get(attribute) == name:
                return group
        return None

    def pictures(
        self, layer: str, kind: Group, attribute: str, name: str, revision: int | None = None
    ) -> HeldPictures | None:
        """The pictures that a layer has in one setting; None if it has none.

        attribute : the attribute of the group that holds the setting's name.
        revision : of the program that makes such pictures; None where it was checked before.
        Raises OutputError if another revision made them.
        """
        parent = self.layer_groups.get(layer)
        if parent is None:
            return None
        method = kind.path.split("/")[3]
        group = self.named(f"{parent}/{method}", attribute, name)
        if group is None:
            return None
        if revision is not None:
            check_revision(group, revision)
        return HeldPictures(kind, group, self.units(layer))

    @property
    def images(self) -> dict[int, KnownImage]:
        """Number → image, for all images of the dataset that results refer to."""
        images = self.group("/dataset/images")
        if images is None:
            return {}
        columns = (images["number"][...].tolist(), images["key"].asstr()[...], images["hash"][...], images["label"])
        return {
            number: KnownImage(str(key), content.tobytes(), int(label))
            for number, key, content, label in zip(*columns, strict=True)
        }

    @property
    def packages(self) -> set[str]:
        """The packages that computed what is held."""
        return set() if self.file is None else set(self.file["packages"].asstr()[()].splitlines())


@dataclass(frozen=True)
class HeldPictures:
    """A group of pictures that an atlas holds.

    keys : what each row belongs to: the number of a unit, or of a combination.
    """

    kind: Group
    group: h5py.Group
    keys: np.ndarray

    @cached_property
    def status(self) -> np.ndarray:
        """uint8 (row, sample)."""
        return self.group["status"][...]

    @property
    def samples(self) -> int:
        return self.status.shape[1]

    def finished(self, sample: int) -> frozenset[int]:
        """The keys whose pictures of a sample need not be computed again."""
        if sample >= self.samples:
            return frozenset()
        return frozenset(self.keys[~np.isin(self.status[:, sample], UNFINISHED)].tolist())

    def picture(self, key: int, sample: int, size: tuple[int, ...]) -> tuple[np.ndarray, bool]:
        """The pixels of one picture, and whether there is one to be judged. size : its shape."""
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key or sample >= self.samples:
            return np.zeros(size, np.uint8), False
        shown = self.status[row, sample] in (Status.ok, Status.never_active)
        return (self.group["pixels"][row, sample] if shown else np.zeros(size, np.uint8)), shown

    def rows(self, keys: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(indices into `keys`, rows here) of the keys that are held."""
        _, there, here = np.intersect1d(np.asarray(keys), self.keys, return_indices=True)
        return there, here

    def shows(self, failures: Iterable[tuple[Iterable[tuple[int, int]], str]]) -> bool:
        """Whether the pictures of failed tasks are marked so, with the reason; those made before stay as they are.

        failures : (row, sample) of each picture of a task, and the reason, in the order in which they are written.
        """
        wanted: dict[int, str] = {}
        for places, reason in failures:
            for place in places:
                if self.status[place] == Status.missing:
                    return False
                if self.status[place] == Status.failed:
                    wanted[place[0]] = reason
        reasons = self.group["reason"].asstr()[...] if wanted and "reason" in self.group else {}
        return all(row < len(reasons) and reasons[row] == reason for row, reason in wanted.items())

    def small(self, name: str) -> np.ndarray | None:
        """A whole array, or None if it was not recorded."""
        return self.group[name][...] if name in self.group else None

    def table(self, field: Field) -> ChunkTable:
        """Where the pictures of a field are."""
        return chunk_table(self.group[field.name], field.picture_axes)


@contextmanager
def reading(path: Path, file: h5py.File) -> Iterator[None]:
    """Turn errors into OutputErrors whose reason is the atlas that is read: HDF5 cannot read it, or it is unsound."""
    try:
        yield
    except (AtlasError, ImportError):  # a missing package says nothing about the file
        raise
    except Exception as error:
        if of_hdf5(error, path):
            raise _unreadable(path, error) from error
        fault = _first_fault(file) if disk_fault(error) is None else None
        if fault is not None:
            raise _unreadable(path, ValueError(fault)) from error
        raise


def _first_fault(file: h5py.File) -> str | None:
    try:
        return next(iter(check(file)), None)
    except Exception as error:
        return str(error)


def _unreadable(path: Path, error: Exception) -> OutputError:
    fault = disk_fault(error)
    if fault is not None:  # which says nothing about the file
        return OutputError(f"{fault.path or path}: cannot be read ({fault.reason}); {fault.remedy}")
    return OutputError(
        f"{path}: damaged ({error}), and its results may be nowhere else; move it away to compute them again, "
        f"or put a whole copy in its place"
    )


def check_revision(
    group: h5py.Group, revision: int, attribute: str = "revision", absent: int | None = None, noun: str = "method"
) -> None:
    """Raise OutputError if another revision made a group: its numbers would be mixed with others, or be lost.

    attribute : the one that states the revision.
    absent : the revision that is meant where the group lacks the attribute.
    noun : what the revision is of.
    """
    made_by = group.attrs.get(attribute, absent)
    if made_by != revision:
        raise OutputError(
            f"{group.file.filename}: {group.name} was computed by revision {made_by} of its {noun}, which gives other "
            f"numbers than revision {revision} of this program; go on with the program of then, or choose another "
            f"folder with OUT=…"
        )


def same_attributes(group: h5py.Group, given: Mapping[str, object]) -> bool:
    """Whether a group has exactly these attributes, besides those that the format gives every group."""
    own = {name for name in group.attrs if name not in GENERAL}
    return own == set(given) and all(np.array_equal(group.attrs[name], value) for name, value in given.items())
