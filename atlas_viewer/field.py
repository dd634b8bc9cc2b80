"""The parts of a schema: a field (one dataset), an attribute, and a group of both."""

from __future__ import annotations

import enum
import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import h5py
import numpy as np

DEFLATE = 4  # higher levels shrink pictures by less than one percent and take twice the time
CHUNK_BYTES = 256 * 1024  # chunks are read whole; HDF5's cache holds 1 MiB
CONTIGUOUS_BYTES = 4096  # smaller datasets would have a chunk index larger than their data
ROWS_OF_IMAGES = "/dataset/images"  # the one group whose rows other groups name
FIXED_AXES = {"rgb": 3, "side": 4, "plane": 2, "end": 2, "byte": 32}  # a side: top, left, bottom, right
CODE_AXIS = "entry"  # of a code
# Attributes that groups have besides those in their schema: what they are, digests, and the NeXus ones for viewers.
GENERAL = ("meaning", "seal", "content", "NX_class", "default", "signal", "axes")
# How netCDF marks the scale of an axis without coordinates, with the axis's length at the end.
NO_COORDINATES = "This is a netCDF dimension but not a netCDF variable.%10d"


class Status(enum.IntEnum):
    """The outcome of a picture; a unit has the first status of its pictures that is not `ok`."""

    missing = 0  # not computed yet, and the value of an unwritten array
    ok = 1
    zero_gradient = 2
    nan = 3
    never_active = 4
    failed = 5


DTYPES = {
    "text": h5py.string_dtype("utf-8"),
    "status": np.dtype("u1"),  # not an enumeration of HDF5, which netCDF before 4.9.3 leaves out without a word
    "bool": np.dtype("u1"),
    **{name: np.dtype(name) for name in ("u1", "i4", "i8", "u8", "f4", "f8")},
}
FLAGS = {  # type → the names of its numbers, by the CF conventions
    "status": {status.name: status.value for status in Status},
    "bool": {"false": 0, "true": 1},
}
TYPES = {
    "text": (str,),
    "int": (int, np.integer),
    "float": (float, int, np.floating, np.integer),
    "bool": (bool, np.bool_),
}


@dataclass(frozen=True)
class Field:
    """One dataset of a group: its axes, the meaning of its numbers and their unit of measure.

    An axis that has a field of its own name in the group has this field's values as coordinates.

    rows_of : the group whose rows the numbers name, or empty.
    counted : whether the values are 0, 1, 2, …, written as soon as the group has the axis.
    digest_of : the field whose pictures the numbers are digests of, or empty.
    coordinates : the fields of the same group that are coordinates; the group sets them.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    meaning: str
    measure: str = ""
    required: bool = True
    rows_of: str = ""
    counted: bool = False
    digest_of: str = ""
    coordinates: tuple[Field, ...] = field(default=(), repr=False, compare=False)

    @property
    def is_coordinate(self) -> bool:
        """Whether the values are the coordinates of an axis."""
        return self.axes == (self.name,)

    @property
    def is_image(self) -> bool:
        """Whether the dataset holds pictures, one per chunk."""
        return self.axes[-1:] == ("rgb",)

    @property
    def by_picture(self) -> bool:
        """Whether the data of one picture, its pixels or its code, is one chunk."""
        return self.is_image or (self.axes[-1:] == (CODE_AXIS,) and len(self.axes) > 1)

    @property
    def picture_axes(self) -> int:
        """The number of axes of what one chunk holds, where the data of one picture is one chunk: the last ones."""
        return 3 if self.is_image else 1

    @property
    def filters(self) -> tuple[tuple[str, int], ...]:
        """The filter pipeline of a chunked dataset, in writing order: (name, parameter) pairs."""
        size = DTYPES[self.dtype].itemsize
        return ((("shuffle", size),) if size > 1 else ()) + (("deflate", DEFLATE),)

    @property
    def fill(self) -> object:
        """The value of an element that was never written: NaN, -1, or zero."""
        return {"f4": np.nan, "f8": np.nan, "i4": -1, "i8": -1, "text": ""}.get(self.dtype, 0)

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The lengths of the axes, fixed ones or from `sizes`; KeyError for an axis that is in neither."""
        return tuple(FIXED_AXES[axis] if axis in FIXED_AXES else int(sizes[axis]) for axis in self.axes)

    def chunks(self, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
        """The chunk shape, or None where the dataset is contiguous: text, scalars, small or empty arrays."""
        shape, size = self.shape(sizes), DTYPES[self.dtype].itemsize
        if self.dtype == "text" or not shape or math.prod(shape) == 0:
            return None
        if self.by_picture:
            return (1,) * (len(shape) - self.picture_axes) + shape[-self.picture_axes :]
        if math.prod(shape) * size <= CONTIGUOUS_BYTES:
            return None
        rows = CHUNK_BYTES // (math.prod(shape[1:]) * size)
        return (min(max(rows, 1), shape[0]), *shape[1:])

    def create(self, group: h5py.Group, sizes: Mapping[str, int]) -> h5py.Dataset:
        """Create the empty dataset in `group`, with the scales of its axes attached; those that are not there yet too.

        Raises KeyError for an axis without a size, ValueError for one that has another length in the group.
        """
        if self.is_coordinate and self.name in group:  # as the scale of a dataset that came before
            return self._of_length(group, self.name, sizes[self.name])
        options: dict[str, object] = {}
        chunks = self.chunks(sizes)
        if chunks is not None:
            options = self._chunked(chunks)
        if self.dtype != "text":
            options["fillvalue"] = self.fill
        dataset = group.create_dataset(self.name, self.shape(sizes), DTYPES[self.dtype], **options)
        return self._described(dataset)

    def create_virtual(self, group: h5py.Group, layout: h5py.VirtualLayout) -> h5py.Dataset:
        """Create the dataset in `group` as a view of datasets in other files."""
        return self._described(group.create_virtual_dataset(self.name, layout, fillvalue=self.fill))

    def create_growing(self, file: h5py.File, sizes: Mapping[str, int]) -> h5py.Dataset:
        """Create an empty dataset for pictures one after the other; a chunk is what `create` would make it."""
        picture = self.shape(sizes)[-self.picture_axes :]
        options = self._chunked((1, *picture)) | {"fillvalue": self.fill}
        return file.create_dataset(self.name, (0, *picture), DTYPES[self.dtype], maxshape=(None, *picture), **options)

    def _chunked(self, chunks: tuple[int, ...]) -> dict[str, object]:
        shuffle = any(name == "shuffle" for name, _ in self.filters)
        return {"chunks": chunks, "shuffle": shuffle, "compression": DEFLATE}

    def _described(self, dataset: h5py.Dataset) -> h5py.Dataset:
        if self.is_coordinate:
            dataset.make_scale(self.name)
        else:
            for dimension, axis, length in zip(dataset.dims, self.axes, dataset.shape, strict=True):
                dimension.attach_scale(self._scale(dataset.parent, axis, length))
        dataset.attrs["meaning"] = self.meaning
        dataset.attrs["measure"] = self.measure
        if self.dtype in FLAGS:
            dataset.attrs["flag_values"] = np.array(list(FLAGS[self.dtype].values()), np.uint8)
            dataset.attrs["flag_meanings"] = " ".join(FLAGS[self.dtype])
        if self.dtype == "bool":
            dataset.attrs["dtype"] = "bool"  # for xarray
        if self.is_image:  # the HDF5 image convention, which wants fixed strings, and the NeXus one
            for key, value in IMAGE_ATTRIBUTES.items():  # after the scales: HDF5 attaches none to an image
                dataset.attrs[key] = np.bytes_(value)
        return dataset

    def _scale(self, group: h5py.Group, axis: str, length: int) -> h5py.Dataset:
        """The scale of an axis in `group`, created if it is not there."""
        if axis in group:
            return self._of_length(group, axis, length)
        coordinate = next((each for each in self.coordinates if each.name == axis), None)
        if coordinate is None:
            scale = group.create_dataset(axis, (length,), ">f4")  # never written, so it takes no room
            scale.make_scale(NO_COORDINATES % length)
            return scale
        scale = coordinate.create(group, {axis: length})
        if coordinate.counted and length:
            scale[...] = np.arange(length)
        return scale

    @staticmethod
    def _of_length(group: h5py.Group, axis: str, length: int) -> h5py.Dataset:
        if group[axis].shape != (length,):
            raise ValueError(f"{group.name}: axis {axis} has length {group[axis].shape[0]}, got {length}")
        return group[axis]

    def write(self, group: h5py.Group, values: object) -> h5py.Dataset:
        """Create the dataset with the lengths of `values` and fill it; pictures, with their digests.

        Raises ValueError if the axes do not fit.
        """
        array = np.asarray(values, dtype=object if self.dtype == "text" else DTYPES[self.dtype])
        if array.ndim != len(self.axes):
            raise ValueError(f"{group.name}/{self.name}: got {array.ndim} axes, expected {self.axes}")
        sizes = dict(zip(self.axes, array.shape, strict=True))
        if self.shape(sizes) != array.shape:
            fixed = self.shape(sizes)
            raise ValueError(f"{group.name}/{self.name}: got shape {array.shape}, expected {fixed}")
        dataset = self.create(group, sizes)
        if self.by_picture:
            digests = np.zeros(array.shape[: -self.picture_axes], np.uint64)
            for at in np.ndindex(*digests.shape):
                digests[at] = write_picture(dataset, at, self.encode(array[at]))
            self.write_digests(group, digests)
        elif array.size:
            dataset[...] = array if array.ndim else array[()]
        return dataset

    def write_digests(self, group: h5py.Group, digests: np.ndarray) -> h5py.Dataset:
        """Write the digests of the field's pictures, by its leading axes: uint64, 0 where no chunk is stored."""
        return replace(_with_digest(self)[1], coordinates=self.coordinates).write(group, digests)

    def read(self, dataset: h5py.Dataset) -> np.ndarray:
        """The whole dataset: texts as str, yes/no as bool, all else as it is stored.

        Raises ValueError for one over other files that is none of pictures: HDF5 reads one over itself without end.
        """
        if dataset.is_virtual and not self.by_picture:
            raise ValueError(f"{dataset.name}: its values lie in another file")
        if self.dtype == "text":
            return dataset.asstr()[...]
        return dataset[...].astype(bool) if self.dtype == "bool" else dataset[...]

    def encode(self, chunk: np.ndarray) -> bytes:
        """The stored bytes of one whole chunk, ready for `dataset.id.write_direct_chunk`."""
        data = np.ascontiguousarray(chunk, dtype=DTYPES[self.dtype])
        if data.itemsize > 1:  # shuffle: all first bytes, then all second ones, …
            data = np.ascontiguousarray(data.reshape(-1).view("u1").reshape(-1, data.itemsize).T)
        return zlib.compress(data.tobytes(), DEFLATE)

    def decode(self, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
        """The chunk of `shape` whose stored bytes are `data`."""
        dtype = DTYPES[self.dtype]
        flat = np.frombuffer(zlib.decompress(data), "u1")
        if dtype.itemsize > 1:
            flat = np.ascontiguousarray(flat.reshape(dtype.itemsize, -1).T).reshape(-1)
        return flat.view(dtype).reshape(shape)


def chunk_digest(data: bytes) -> int:
    """What the file keeps of a stored chunk, to find damage: the first eight bytes of its SHA-256 as a number."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def write_picture(dataset: h5py.Dataset, at: tuple[int, ...], data: bytes) -> int:
    """Store the encoded data of one picture at its leading indices; return its digest."""
    dataset.id.write_direct_chunk((*at, *(0,) * (dataset.ndim - len(at))), data)
    return chunk_digest(data)


COORDINATES = {  # axis → its coordinates, in every group with this axis and no field of this name
    "unit": Field("unit", "i4", ("unit",), "number of the unit in its layer, rising"),
    "sample": Field("sample", "i4", ("sample",), "number of the sample, from 0", counted=True),
    "rank": Field("rank", "i4", ("rank",), "place among the hits, from 0", counted=True),
    "image": Field("image", "i4", ("image",), "row of the image, from 0", counted=True),
}
IMAGE_ATTRIBUTES = {
    "CLASS": "IMAGE",
    "IMAGE_SUBCLASS": "IMAGE_TRUECOLOR",
    "IMAGE_VERSION": "1.2",
    "INTERLACE_MODE": "INTERLACE_PIXEL",
    "interpretation": "rgb-image",
}


@dataclass(frozen=True)
class Attribute:
    """One attribute of a group; `type` is text, int, float, bool, or any of these with `[]` for a list."""

    name: str
    type: str
    meaning: str
    required: bool = True

    def accepts(self, value: object) -> bool:
        """Whether `value`, as given or as read back, has the type."""
        if self.type.endswith("[]"):
            kind = TYPES[self.type[:-2]]
            return np.ndim(value) == 1 and all(isinstance(item, kind) for item in np.asarray(value).tolist())
        if self.type != "bool" and isinstance(value, (bool, np.bool_)):
            return False
        return isinstance(value, TYPES[self.type]) and _is_plain(value)


@dataclass(frozen=True)
class Group:
    """One kind of group: its path, its meaning, its attributes and its datasets.

    path : absolute, with the parts that vary in angle brackets: /layers/<layer>/ascent/<style>.
    open : whether it may have further attributes, each a number, a text or a yes/no.
    The group adds to the fields given: coordinates of its axes, first, and digests of pictures, after what they are of.
    """

    path: str
    meaning: str
    attributes: tuple[Attribute, ...] = ()
    fields: tuple[Field, ...] = ()
    open: bool = False
    required: bool = True

    def __post_init__(self) -> None:
        """Complete the fields. ValueError for a dataset that has the name of an axis and is not its coordinates."""
        given = [part for each in self.fields if not each.digest_of for part in _with_digest(each)]
        axes, own = {axis for each in given for axis in each.axes}, {each.name for each in given}
        fields = [COORDINATES[axis] for axis in COORDINATES if axis in axes - own] + given
        for each in fields:
            if each.name in axes and not each.is_coordinate:
                raise ValueError(f"{self.path}: {each.name} is the name of an axis and of a dataset with other axes")
        coordinates = tuple(each for each in fields if each.is_coordinate)
        object.__setattr__(self, "fields", tuple(replace(each, coordinates=coordinates) for each in fields))

    @property
    def axes(self) -> frozenset[str]:
        """The axes of all its datasets; each has a scale of its name in the group."""
        return frozenset(axis for each in self.fields for axis in each.axes)

    def __getitem__(self, name: str) -> Field:
        """The field called `name`."""
        return next(each for each in self.fields if each.name == name)

    def at(self, **names: str) -> str:
        """The path with its varying parts filled in: `STYLE.at(layer="conv5", style="sparse")`."""
        path = self.path
        for part in path.split("/"):
            if part.startswith("<"):
                path = path.replace(part, names[part[1:-1]])
        return path

    def within(self, file: h5py.Group) -> Iterator[h5py.Group]:
        """Yield every group of this kind in an open file, by name."""
        yield from (file[path] for path in self.paths(file))

    def paths(self, file: h5py.Group) -> list[str]:
        """The paths of these groups. A group in another file has, as its `name`, its path there.

        Raises KeyError for a group that cannot be read.
        """
        paths = [""]
        for part in filter(None, self.path.split("/")):
            within = [(path, file[path or "/"]) for path in paths]
            if part.startswith("<"):
                paths = [f"{path}/{name}" for path, group in within for name, each in members(group)
                         if isinstance(each, h5py.Group)]  # fmt: skip
            else:
                paths = [f"{path}/{part}" for path, group in within if isinstance(member(group, part), h5py.Group)]
        return [path or "/" for path in paths]

    def create(self, file: h5py.File, attributes: Mapping[str, object] | None = None, **names: str) -> h5py.Group:
        """Create the group with its attributes, without datasets; ValueError names what does not fit."""
        return self.create_at(file, self.at(**names), {} if attributes is None else attributes)

    def create_at(self, file: h5py.File, path: str, attributes: Mapping[str, object]) -> h5py.Group:
        """Create the group at a path, as `create` does."""
        given = dict(attributes)
        faults = self.faults(given)
        if faults:
            raise ValueError(f"{path}: {'; '.join(faults)}")
        group = file.require_group(path)
        group.attrs["meaning"] = self.meaning
        for name in sorted(given):
            group.attrs[name] = given[name]
        return group

    def faults(self, given: Mapping[str, object]) -> list[str]:
        """List attributes that are missing, unknown or of another type."""
        listed = {attribute.name: attribute for attribute in self.attributes}
        wanted = [attribute.name for attribute in self.attributes if attribute.required]
        faults = [f"attribute {name} is missing" for name in wanted if name not in given]
        for name, value in given.items():
            if not isinstance(name, str):  # not UTF-8
                faults.append(f"the name of attribute {name!r} is not text")
            elif name in listed and not listed[name].accepts(value):
                faults.append(f"attribute {name} is {value!r}, expected {listed[name].type}")
            elif name not in listed and not self.open:
                faults.append(f"attribute {name} is not in the schema")
            elif name not in listed and not _is_plain(value):
                faults.append(f"attribute {name} is {value!r}, expected a number, a text or a yes/no")
        return faults


def _is_plain(value: object) -> bool:
    """Whether a value is a number, a yes/no, or a text that can be written as UTF-8: h5py reads any bytes as text."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating))


def members(group: h5py.Group | h5py.Dataset) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield what lies in a group, by name; nothing for a dataset in its place, whose rows h5py would iterate over.

    Raises KeyError as `member` does, and for a name that is not UTF-8, which h5py gives as bytes.
    """
    for name in group if isinstance(group, h5py.Group) else ():
        if not isinstance(name, str):
            raise KeyError(f"{group.name}: the name {name!r} is not text")
        yield name, member(group, name)


def member(group: h5py.Group | h5py.Dataset | None, name: str) -> h5py.Group | h5py.Dataset | None:
    """What has this name in a group; None where nothing has it.

    Raises KeyError for what cannot be read, a part that is missing or a disk that fails; h5py's own get() gives the
    default for it, items() None, and `in` is false, so that an atlas would be taken for one that lacks it.
    """
    if not has_member(group, name):
        return None
    try:
        return group[name]
    except KeyError as error:  # of HDF5, which does not say where
        error.args = (f"{group.name.rstrip('/')}/{name}: {error.args[0]}",)
        raise


def subgroup(group: h5py.Group | None, name: str) -> h5py.Group | None:
    """The group of this name in a group; None where there is none. Raises KeyError as `member` does, and for no group.

    h5py would take the rows of a dataset for what lies in it, and compare each of them with a name.
    """
    found = member(group, name)
    return None if found is None else _as_group(found)


def subgroups(group: h5py.Group, name: str) -> list[h5py.Group]:
    """The groups in the group of this name in a group; none without it. Raises KeyError as `subgroup` does."""
    found = subgroup(group, name)
    return [] if found is None else [_as_group(thing) for _, thing in members(found)]


def _as_group(thing: h5py.Group | h5py.Dataset) -> h5py.Group:
    if not isinstance(thing, h5py.Group):
        raise KeyError(f"{thing.name}: expected a group")
    return thing


def has_member(group: h5py.Group | h5py.Dataset | None, name: str) -> bool:
    """Whether a group has something of this name, also if that cannot be read."""
    return isinstance(group, h5py.Group) and bool(group.id.links.exists(name.encode()))


def _with_digest(one: Field) -> tuple[Field, ...]:
    """A field, and the field of the digests of its pictures if it has any."""
    if not one.by_picture:
        return (one,)
    meaning = f"the first eight bytes, as a number, of the SHA-256 of each stored chunk of {one.name}; 0 for none"
    axes = one.axes[: -one.picture_axes]
    return one, Field(f"{one.name}_digest", "u8", axes, meaning, "", one.required, digest_of=one.name)
