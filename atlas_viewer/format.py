"""The format of an atlas as one value: writer, reader, validator and docs/format.md follow SCHEMA.

The groups of each kind of evidence lie in its module in `evidence`; the groups of the network and its units lie here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from atlas_viewer.evidence.numbers import NUMBERS
from atlas_viewer.evidence.registry import GROUPS
from atlas_viewer.field import FIXED_AXES, Attribute, Field, Group, Status
from atlas_viewer.written_file import WrittenFile

FORMAT = "visualization atlas"
VERSION = 2

ROOT = Group(
    "/",
    "a visualization atlas: for every unit of a network, the images that it prefers",
    (
        Attribute("format", "text", f'always "{FORMAT}"'),
        Attribute("version", "int", "version of this schema"),
        Attribute("model", "text", "name of the network"),
        Attribute("model_digest", "text", "SHA-256 of the network's definition and weights, in hexadecimal"),
    ),
    (
        Field("settings", "text", (), "the settings that decide results, as YAML"),
        Field("packages", "text", (), "the packages that computed the results, one per line: name version"),
    ),
)
PREPROCESSING = Group(
    "/preprocessing",
    "how pixels become the network's input: (pixel level - mean) * gain, channels in the network's order",
    (
        Attribute("height", "int", "height of the input in pixels"),
        Attribute("width", "int", "width of the input in pixels"),
        Attribute("channels", "text", "channel order of the input: BGR, RGB or L (grey)"),
        Attribute("interpolation", "text", "the filter that resized photos to the input, if it was not bilinear: "
                  "nearest, bicubic, lanczos, box or hamming", required=False),
    ),
    (
        Field("mean", "f4", ("channel", "mean_y", "mean_x"),
              "the mean that is subtracted, in the network's channel order; a length of 1 applies to every row or "
              "column", "pixel levels, 0 to 255"),
        Field("gain", "f4", ("channel",), "factor after the mean is subtracted",
              "input per pixel level"),
    ),
)  # fmt: skip
NETWORK = Group(
    "/network",
    "the network that the atlas shows",
    (),
    (Field("labels", "text", ("class",), "names of the classes, in the order of the class layer's units"),),
)
LAYERS = Group(
    "/network/layers",
    "the layer table, inputs first; a window is the part of the input that one position of a layer depends on: row i "
    "of a layer, for example, depends on `size` rows, from offset + i * stride on",
    (),
    (
        Field("name", "text", ("layer",), "name of the layer, as its publisher spells it"),
        Field("kind", "text", ("layer",), "operation that the layer is"),
        Field("channels", "i4", ("layer",), "channels of the layer", "channels"),
        Field("height", "i4", ("layer",), "rows of the layer", "positions"),
        Field("width", "i4", ("layer",), "columns of the layer", "positions"),
        Field("window_size", "i4", ("layer", "plane"), "size of a window, rows and columns", "pixels"),
        Field("window_stride", "i4", ("layer", "plane"),
              "distance of neighbouring windows; 0 where all are equal", "pixels"),
        Field("window_offset", "i4", ("layer", "plane"),
              "first row and column of position 0's window; negative outside the image", "pixels"),
        Field("window_status", "text", ("layer",),
              "what is known of the windows: exact; probed (what some operators read was measured); whole image; or "
              "upper bound (the whole image, though the layer may depend on less)", required=False),
        Field("measure", "text", ("layer",), "the value that an activation of the layer is", required=False),
        Field("shown", "bool", ("layer",), "whether an atlas shows the layer's units by default", required=False),
        Field("same_as", "text", ("layer",), "the layer of which this is another name, or empty", required=False),
        Field("has_units", "bool", ("layer",), "whether the layer has units that can be shown"),
        Field("class_layer", "bool", ("layer",), "whether the layer's units are the classes"),
    ),
)  # fmt: skip
GRAPH = Group(
    "/network/graph",
    "how values flow through the network",
    (),
    (
        Field(
            "nodes",
            "text",
            ("node",),
            "names of the nodes, inputs first; layers have the names of the layer table",
        ),
        Field("edges", "i4", ("edge", "end"), "each edge as two node numbers: from, to"),
    ),
)
LAYER = Group(
    "/layers/<layer>",
    "one layer: its units, and the evidence about them",
    (Attribute("layer", "text", "original name of the layer; the group's own has . for /"),),
    required=False,
)
UNITS = Group(
    "/layers/<layer>/units",
    "the units that were asked for; row i of every array with the axis unit belongs to unit[i]",
    (),
    (
        Field("label", "text", ("unit",), "name of the unit: its class, or empty"),
        Field("status", "status", ("unit",),
              "ok, or the first status of its pictures that is not; those of a sweep do not count"),
        Field("window", "i4", ("side",), "window of the position shown, cut at the image's border: top, "
              "left, bottom, right; bottom and right are the first outside", "pixels"),
        Field("window_unclipped", "i4", ("side",), "the same window where it may stick out of the image",
              "pixels"),
    ),
)  # fmt: skip

_NETWORK = (ROOT, PREPROCESSING, NETWORK, LAYERS, GRAPH)
_FIRST = next(place for place, group in enumerate(GROUPS) if group.path.startswith(f"{LAYER.path}/"))
SCHEMA: tuple[Group, ...] = (*_NETWORK, *GROUPS[:_FIRST], LAYER, UNITS, *GROUPS[_FIRST:])
UNLINKED = (ROOT, PREPROCESSING, NETWORK, LAYERS, GRAPH, LAYER, UNITS, NUMBERS)  # in atlas.h5 itself, also while open


LONGEST_NAME = 200  # bytes of a group's name: file systems take 255, and ~2 or .tops.csv may follow


def create(path: Path | str) -> WrittenFile:
    """Create an empty file, open for writing, in which equal content gives equal bytes: no creation order, no times."""
    return WrittenFile(path, "w", libver=("earliest", "v110"), track_order=False)


def group_name(layer: str) -> str:
    """The group name of one layer (style, judge); `group_names` keeps several distinct."""
    name = "".join(letter if letter.isprintable() else "_" for letter in layer.replace("/", "."))
    if len(name.encode()) > LONGEST_NAME:
        name = name.encode()[:LONGEST_NAME].decode(errors="ignore")
    return name if name.strip(".") else "_" + name  # "." is not a valid name in HDF5, nor ".." in a folder


def group_names(layers: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """The group name of each layer, in this order: a later one that collides gets ~2, ~3, …

    Names that differ in case alone collide too, because the pages have a folder for each layer.
    """
    names: dict[str, str] = {}
    used = {name.casefold() for name in taken}
    for layer in layers:
        name, count = group_name(layer), 1
        while name.casefold() in used:
            count += 1
            name = f"{group_name(layer)}~{count}"
        used.add(name.casefold())
        names[layer] = name
    return names


@lru_cache(maxsize=4096)
def is_foreseen(path: str) -> bool:
    """Whether the schema has a group at a path or below it.

    Whoever walks over a file enters such groups alone: a damaged file may have groups that contain themselves.
    """
    parts = path.split("/")
    return any(_leads(parts, kind.path.split("/")) for kind in SCHEMA)


def _leads(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    pairs = zip(parts, wanted, strict=False)
    return len(parts) <= len(wanted) and all(part == want or want.startswith("<") for part, want in pairs)


def describe() -> str:
    """The text of docs/format.md."""
    lines = [PREAMBLE]
    for kind in SCHEMA:
        lines += [f"## `{kind.path}`\n", kind.meaning[0].upper() + kind.meaning[1:] + ".\n"]
        if kind.attributes or kind.open:
            lines += ["| attribute | type | meaning |", "| --- | --- | --- |"]
            lines += [f"| `{a.name}` | {a.type} | {a.meaning}{_optional(a)} |" for a in kind.attributes]
            if kind.open:
                lines.append("| … | number, text or yes/no | further settings by their own names |")
            lines.append("")
        if kind.fields:
            lines += ["| dataset | type | axes | meaning | measure |", "| --- | --- | --- | --- | --- |"]
            for f in kind.fields:
                row = (f"`{f.name}`", f.dtype, ", ".join(f.axes), f.meaning + _optional(f), f.measure)
                lines.append(f"| {' | '.join(row)} |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _optional(part: Attribute | Field) -> str:
    return "" if part.required else " (optional)"


PREAMBLE = f"""# The atlas file

Written by `atlas_viewer.format.describe()`; change the schema there, not this page.

An atlas is one HDF5 file, format "{FORMAT}", version {VERSION}. It needs no plug-in: filters are shuffle (for
types wider than a byte) and deflate. Every dataset has an attribute `meaning` and an attribute `measure`; every
group has an attribute `meaning`. Each axis of a dataset has a dimension scale of its name in the same group: the
dataset of this name, or one without values, as netCDF writes it; so netCDF4 and xarray open the file as it is,
and in h5py `dataset.dims[i][0].name` ends in the name of axis i. Equal content gives equal bytes: there are no
times, paths, host names or creation orders in it.

Names with `/` (layers of some networks) have `.` in the group's name; where two would collide, the later one
has `~2`, `~3`, … after it, and names that differ in case alone collide. The attribute (`layer`, `style`,
`judge`) holds the original name.

Types: `u1`, `i4`, `i8` are integers of 1, 4, 8 bytes (`u` unsigned), `f4`, `f8` floats of 4, 8 bytes, `text` UTF-8
of any length, `bool` and `status` are `u1` with the attributes `flag_values` and `flag_meanings`: 0 false, 1 true;
{", ".join(f"{status.value} {status.name}" for status in Status)}.
Values that were never written read as NaN, as -1 (integers with a sign), or as 0 (`missing`).
Axes of fixed length: {", ".join(f"`{axis}` {length}" for axis, length in FIXED_AXES.items())};
`side` is top, left, bottom, right, `plane` rows, columns. Each picture is one chunk and carries the HDF5
image attributes, and each code is one chunk; the digests of these chunks are a dataset of their own, NAME_digest.
Text, scalars and arrays of at most 4 KiB are not chunked;
other arrays are cut along their first axis into chunks of at most 256 KiB.

A group's attribute `seal` is the SHA-256 over all else in it except the pictures, and `content` of `/` that over the
seals of all groups by path; `make verify OUT=…` computes them and the digests of the pictures again, and says what
is not as it was written. For NeXus viewers, such as h5web and silx, a group of pictures is an `NXdata` with
`signal` and `axes`, and the attributes `default` lead from `/` to one: the class layer's first style, else what it
or the last layer has.
"""
