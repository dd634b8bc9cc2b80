"""The parts of a schema: a field (one dataset), an attribute, and a group of both."""

from __future__ import annotations

import enum
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py
import numpy as np

DEFLATE = 4  # higher levels shrink pictures by less than one percent and take twice the time
CHUNK_BYTES = 256 * 1024  # chunks are read whole; HDF5's cache holds 1 MiB
CONTIGUOUS_BYTES = 4096  # smaller datasets would have a chunk index larger than their data
ROWS_OF_IMAGES = "/dataset/images"  # the one group whose rows other groups name
FIXED_AXES = {"rgb": 3, "side": 4, "plane": 2, "end": 2, "byte": 32}  # a side: top, left, bottom, right


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
    "status": h5py.enum_dtype({status.name: status.value for status in Status}, basetype="u1"),
    "bool": np.dtype(bool),
    **{name: np.dtype(name) for name in ("u1", "i4", "i8", "u8", "f4", "f8")},
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

    rows_of : the group whose rows the numbers name, or empty.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    meaning: str
    measure: str = ""
    required: bool = True
    rows_of: str = ""

    @property
    def is_image(self) -> bool:
        """Whether the dataset holds pictures, one per chunk."""
        return self.axes[-1:] == ("rgb",)

    @property
    def by_picture(self) -> bool:
        """Whether the data of one picture, its pixels or its code, is one chunk."""
        return self.is_image or (self.axes[-1:] == ("code",) and len(self.axes) > 1)

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
        """Create the empty dataset in `group`, with named dimensions; KeyError for an axis without a size."""
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
        for dimension, axis in zip(dataset.dims, self.axes, strict=True):
            dimension.label = axis
        dataset.attrs["meaning"] = self.meaning
        dataset.attrs["measure"] = self.measure
        if self.is_image:  # the HDF5 image convention, which wants fixed strings, and the NeXus one
            for key, value in IMAGE_ATTRIBUTES.items():
                dataset.attrs[key] = np.bytes_(value)
        return dataset

    def write(self, group: h5py.Group, values: object) -> h5py.Dataset:
        """Create the dataset with the lengths of `values` and fill it. ValueError if the axes do not fit."""
        array = np.asarray(values, dtype=object if self.dtype == "text" else DTYPES[self.dtype])
        if array.ndim != len(self.axes):
            raise ValueError(f"{group.name}/{self.name}: got {array.ndim} axes, expected {self.axes}")
        sizes = dict(zip(self.axes, array.shape, strict=True))
        if self.shape(sizes) != array.shape:
            fixed = self.shape(sizes)
            raise ValueError(f"{group.name}/{self.name}: got shape {array.shape}, expected {fixed}")
        dataset = self.create(group, sizes)
        if array.size:
            dataset[...] = array if array.ndim else array[()]
        return dataset

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
        return isinstance(value, TYPES[self.type])


@dataclass(frozen=True)
class Group:
    """One kind of group: its path, its meaning, its attributes and its datasets.

    path : absolute, with the parts that vary in angle brackets: /layers/<layer>/ascent/<style>.
    open : whether it may have further attributes, each a number, a text or a yes/no.
    """

    path: str
    meaning: str
    attributes: tuple[Attribute, ...] = ()
    fields: tuple[Field, ...] = ()
    open: bool = False
    required: bool = True

    def __getitem__(self, name: str) -> Field:
        """The field called `name`."""
        return next(field for field in self.fields if field.name == name)

    def at(self, **names: str) -> str:
        """The path with its varying parts filled in: `STYLE.at(layer="conv5", style="sparse")`."""
        path = self.path
        for part in path.split("/"):
            if part.startswith("<"):
                path = path.replace(part, names[part[1:-1]])
        return path

    def within(self, file: h5py.Group) -> Iterator[h5py.Group]:
        """Yield every group of this kind in an open file, by name."""
        groups = [file]
        for part in filter(None, self.path.split("/")):
            if part.startswith("<"):
                groups = [each for group in groups for each in group.values() if isinstance(each, h5py.Group)]
            else:
                groups = [group[part] for group in groups if part in group]
        yield from groups

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
            if name in listed and not listed[name].accepts(value):
                faults.append(f"attribute {name} is {value!r}, expected {listed[name].type}")
            elif name not in listed and not self.open:
                faults.append(f"attribute {name} is not in the schema")
            elif name not in listed and not isinstance(value, (str, bool, int, float, np.generic)):
                faults.append(f"attribute {name} is {value!r}, expected a number, a text or a yes/no")
        return faults
