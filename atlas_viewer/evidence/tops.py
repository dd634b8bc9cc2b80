"""Tops: the images of a dataset that excite the units of a layer most: hits, patches, back-projections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from atlas_viewer.errors import MissingError, nearest
from atlas_viewer.evidence.climb import MEASURE
from atlas_viewer.evidence.dataset import Dataset, input_size
from atlas_viewer.extras import require
from atlas_viewer.field import ROWS_OF_IMAGES, Attribute, Field, Group, subgroup
from atlas_viewer.table import write

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

KINDS = ("largest", "quantile", "smallest", "class")  # of hits, as pages show them
RULES = ("deconvnet", "guided", "gradient")  # back-projections, as pages show them
BACKPROJECTED = "backprojection_revision"
ZERO_BYTE = 128  # the stored byte of a back-projection of zero

COLUMNS = ("layer", "unit", "label", "kind", "rank", "activation", "number", "key", "class", "row", "column")
SIDES = ("top", "left", "bottom", "right")
COLUMNS += (*(f"window_{side}" for side in SIDES), *(f"original_{side}" for side in SIDES), "quantile")


def _back_projection(rule: str, meaning: str) -> tuple[Field, Field]:
    """The two datasets of one rule."""
    return (
        Field(rule, "u1", ("unit", "rank", "y", "x", "rgb"),
              f"{meaning}, cropped to the frame, zero outside the window; value = (byte - {ZERO_BYTE}) * scale, "
              "red, green, blue", "activation per pixel level / scale", required=False),
        Field(f"{rule}_scale", "f4", ("unit", "rank"), f"scale of {rule}; NaN where there is no back-projection",
              "activation per pixel level", required=False),
    )  # fmt: skip


TOPS = Group(
    "/layers/<layer>/tops/<kind>",
    "images of the dataset for each unit, one position in each: largest (most exciting first), smallest "
    "(least exciting first), quantile (evenly spaced over the per-image maxima of a sample, from most to least), class "
    "(most exciting of the unit's own class)",
    (
        Attribute("kind", "text", "largest, smallest, quantile or class, the group's own name"),
        MEASURE,
        Attribute("height", "int", "height of a frame in pixels: of the layer's whole window, at most the image's"),
        Attribute("width", "int", "width of a frame in pixels"),
        Attribute("revision", "int", "revision of the program that mined the images", required=False),
        Attribute(BACKPROJECTED, "int", "revision of the program that projected the hits back; absent for 1",
                  required=False),
        Attribute("lrn", "text",
                  "how deconvnet passes local response normalization: derivative, or ignore (as it is)",
                  required=False),
    ),
    (
        Field("image", "i4", ("unit", "rank"), "row of the image in /dataset/images; -1 where there is no hit",
              rows_of=ROWS_OF_IMAGES),
        Field("activation", "f4", ("unit", "rank"), "the unit's largest activation in the image", "activation"),
        Field("position", "i4", ("unit", "rank", "plane"), "where in the layer's map it is; -1 where there is no hit",
              "positions"),
        Field("window", "i4", ("unit", "rank", "side"),
              "pixels of the network's input that the position depends on, cut at the image's border; bottom and right "
              "are the first outside; -1 where there is no hit", "pixels"),
        Field("frame", "i4", ("unit", "rank", "plane"),
              "row and column of the network's input where the frame begins: that of the window where it may stick "
              "out of the image, so negative at near borders; 0 along a side where the frame is the whole image",
              "pixels"),
        Field("quantile", "f4", ("rank",), "quantile of each rank, 1 the most; for kind quantile only",
              "share", required=False),
        *_back_projection("deconvnet", "what excited the unit, by the deconvnet rule (Zeiler & Fergus 2013)"),
        *_back_projection("guided", "what excited the unit, by guided backpropagation (Springenberg et al. 2014)"),
        *_back_projection("gradient", "derivative of the activation with respect to the pixels"),
        Field("reason", "text", ("unit",), "why back-projections of the unit are missing, or empty", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (TOPS,)


@dataclass(frozen=True)
class Hit:
    """An image that excites a unit, and the position with its largest activation.

    rank : place among the hits, from 0.
    row : of the image among the dataset's stored ones.
    number : place of the image in the dataset.
    key : name of the image in the dataset.
    label : class number, -1 for none.
    class_name : name of the class, or empty.
    activation : of the unit, at the position.
    position : row and column in the layer's map.
    window : pixels of the network's input that the position depends on: top, left, bottom, right, half-open.
    original : the same in pixels of the original image.
    quantile : of the rank; None for other kinds.
    """

    rank: int
    row: int
    number: int
    key: str
    label: int
    class_name: str
    activation: float
    position: tuple[int, int]
    window: tuple[int, int, int, int]
    original: tuple[float, float, float, float]
    quantile: float | None


@dataclass(frozen=True)
class Patch:
    """The part of an image in a position's window, in a frame that may extend beyond the image.

    pixels : (y, x, rgb) uint8, zero outside the image.
    inside : (y, x) bool, whether a pixel belongs to the image.
    """

    pixels: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class Tops:
    """The hits of one kind of one layer. Arrays begin with (unit, rank); row i belongs to unit units[i].

    layer : the group of the layer; in an atlas of parts, `group` is in another file.
    """

    group: h5py.Group
    units: np.ndarray
    dataset: Dataset
    input_size: tuple[int, int]
    layer: h5py.Group

    @classmethod
    def of(cls, layer: Layer) -> dict[str, Tops]:
        """The hits of a layer by kind, in the order in which pages show them; empty without a dataset."""
        tops, dataset, size = subgroup(layer.group, "tops"), layer.atlas.dataset, layer.atlas.input_size
        if dataset is None:
            return {}
        groups = ((kind, subgroup(tops, kind)) for kind in KINDS)
        return {kind: cls(one, layer.units, dataset, size, layer.group) for kind, one in groups if one is not None}

    @cached_property
    def kind(self) -> str:
        """largest, quantile, smallest or class."""
        return str(self.group.attrs["kind"])

    @cached_property
    def measure(self) -> str:
        """What an activation is here."""
        return str(self.group.attrs["measure"])

    @cached_property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of patches and back-projections in pixels."""
        return int(self.group.attrs["height"]), int(self.group.attrs["width"])

    @property
    def lrn(self) -> str:
        """How deconvnet passes local response normalization: derivative or ignore; empty where it is not stored."""
        return str(self.group.attrs.get("lrn", ""))

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """The back-projections that are stored."""
        return tuple(rule for rule in RULES if rule in self.group)

    @cached_property
    def image(self) -> np.ndarray:
        """(unit, rank) row of the image in the dataset's arrays, -1 where there is no hit."""
        return self.group["image"][...]

    @cached_property
    def activation(self) -> np.ndarray:
        """(unit, rank) activation at the hit's position; NaN where there is no hit."""
        return self.group["activation"][...]

    @cached_property
    def position(self) -> np.ndarray:
        """(unit, rank, plane) row and column of the layer's map."""
        return self.group["position"][...]

    @cached_property
    def window(self) -> np.ndarray:
        """(unit, rank, side) pixels of the network's input that the position depends on."""
        return self.group["window"][...]

    @cached_property
    def frame(self) -> np.ndarray:
        """(unit, rank, plane) row and column of the network's input where the frame begins; may be negative."""
        return self.group["frame"][...]

    @cached_property
    def quantile(self) -> np.ndarray | None:
        """(rank,) the quantile of each rank, 1 the most; None for other kinds."""
        return self.group["quantile"][...] if "quantile" in self.group else None

    @cached_property
    def reason(self) -> tuple[str, ...]:
        """Why back-projections of each unit are missing, or empty."""
        return tuple(self.group["reason"].asstr()[...]) if "reason" in self.group else ("",) * len(self.units)

    @cached_property
    def there(self) -> np.ndarray:
        """(unit, rank) whether the hit exists."""
        return self.image >= 0

    def inside(self, row: int, rank: int) -> tuple[int, int, int, int]:
        """The hit's window inside the frame: top, left, bottom, right; empty where it is all padding."""
        (y, x), (top, left, bottom, right) = self.frame[row, rank].tolist(), self.window[row, rank].tolist()
        if top >= bottom or left >= right:
            return 0, 0, 0, 0
        return top - y, left - x, bottom - y, right - x

    def patch(self, row: int, rank: int) -> Patch:
        """The patch of a hit, cut from its image; nothing is inside one whose image has not been read.

        Raises MissingError where the atlas has no pixels.
        """
        pixels, inside = np.zeros((*self.frame_size, 3), np.uint8), np.zeros(self.frame_size, bool)
        if self.there[row, rank] and self.dataset.is_read(int(self.image[row, rank])):
            top, left, bottom, right = self.inside(row, rank)
            y, x = self.frame[row, rank].tolist()
            image = self.dataset.pixels(int(self.image[row, rank]))
            pixels[top:bottom, left:right] = image[y + top : y + bottom, x + left : x + right]
            inside[top:bottom, left:right] = True
        return Patch(pixels, inside)

    def encoded(self, rule: str, row: int) -> np.ndarray:
        """A unit's back-projections as they are stored, uint8 (rank, y, x, rgb)."""
        self._refuse_unknown(rule)
        return self._stored[rule][row]

    def scale(self, rule: str) -> np.ndarray:
        """(unit, rank) float32, the scale of each back-projection; NaN for none."""
        self._refuse_unknown(rule)
        return self._scales[rule]

    @cached_property
    def _stored(self) -> dict[str, h5py.Dataset]:
        """The datasets, opened once: opening one of an atlas in parts puts it together from many pieces."""
        return {rule: self.group[rule] for rule in self.rules}

    @cached_property
    def _scales(self) -> dict[str, np.ndarray]:
        return {rule: self.group[f"{rule}_scale"][...] for rule in self.rules}

    def _refuse_unknown(self, rule: str) -> None:
        if rule not in self.rules:
            names = ", ".join(self.rules) if self.rules else "none"
            where = f"layer {self.layer.attrs['layer']}, {self.kind} hits"
            raise MissingError(f"{where}: no back-projection {rule}{nearest(rule, self.rules)}; it has {names}")

    def to_csv(self, path: Path | str) -> Path:
        """Write the hits as a table, one line per hit; the path is returned."""
        return write_hits_csv((self,), Path(path))

    def to_pandas(self) -> Any:
        """The hits as a pandas.DataFrame: one row per hit, columns as in `to_csv`."""
        return _frame((self,))

    def at(self, row: int) -> UnitTops:
        """The hits of the unit in a row."""
        return UnitTops(self, row)


@dataclass(frozen=True)
class UnitTops:
    """The hits of one kind of one unit; arrays begin with (rank,)."""

    tops: Tops
    row: int

    @cached_property
    def hits(self) -> tuple[Hit, ...]:
        """The existing hits, in their order."""
        return tuple(self._hit(rank) for rank in np.flatnonzero(self.tops.there[self.row]).tolist())

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def activation(self) -> np.ndarray:
        """(rank,) activations; NaN where there is no hit."""
        return self.tops.activation[self.row]

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the hits; empty for those without a class."""
        return tuple(hit.class_name for hit in self.hits)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the hits' images in the dataset."""
        return tuple(hit.key for hit in self.hits)

    @cached_property
    def patches(self) -> np.ndarray:
        """(rank, y, x, rgba) uint8: the window of each position, transparent outside the image."""
        drawn = [self.tops.patch(self.row, rank) for rank in range(self.tops.image.shape[1])]
        pictures = [np.dstack([patch.pixels, np.where(patch.inside, np.uint8(255), np.uint8(0))]) for patch in drawn]
        return np.stack(pictures) if pictures else np.zeros((0, *self.tops.frame_size, 4), np.uint8)

    def back_projection(self, rule: str) -> np.ndarray:
        """(rank, y, x, rgb) float32, activation per pixel level; NaN for none."""
        encoded, scale = self.tops.encoded(rule, self.row), self.tops.scale(rule)[self.row]
        return (encoded.astype(np.float32) - ZERO_BYTE) * scale[:, None, None, None]

    def __repr__(self) -> str:
        hits = ", ".join(f"{hit.activation:.4g} {hit.class_name or hit.key}" for hit in self.hits)
        return f"tops/{self.tops.kind}: {len(self)} hits; {self.tops.measure}: {hits}"

    def _hit(self, rank: int) -> Hit:
        tops, dataset = self.tops, self.tops.dataset
        row, window = int(tops.image[self.row, rank]), tuple(tops.window[self.row, rank].tolist())
        label = int(dataset.label[row])
        return Hit(
            rank=rank,
            row=row,
            number=int(dataset.number[row]),
            key=dataset.key[row],
            label=label,
            class_name=dataset.class_name(label),
            activation=float(tops.activation[self.row, rank]),
            position=tuple(tops.position[self.row, rank].tolist()),
            window=window,
            original=dataset.original(row, window, tops.input_size),
            quantile=None if tops.quantile is None else float(tops.quantile[rank]),
        )


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between the hits of an open file, the network's input and the dataset's images."""
    for tops in TOPS.within(file):
        kind = tops.name.rsplit("/", 1)[1]
        if kind not in KINDS or tops.attrs["kind"] != kind:
            yield f"{tops.name}: kind {tops.attrs['kind']!r}, expected the group's name, one of {', '.join(KINDS)}"
        elif "dataset/images" not in file:
            yield f"{tops.name}: hits, but no /dataset/images"
        else:
            yield from (f"{tops.name}{fault}" for fault in _hit_faults(file, tops))


def _hit_faults(file: h5py.File, tops: h5py.Group) -> Iterator[str]:
    image, activation, window = tops["image"][...], tops["activation"][...], tops["window"][...]
    exists, (height, width) = image >= 0, input_size(file)
    size = int(tops.attrs["height"]), int(tops.attrs["width"])
    rows = len(file["dataset/images/number"])
    if not (1 <= size[0] <= height and 1 <= size[1] <= width):
        yield f": a frame of {size[0]}x{size[1]} pixels, in an input of {height}x{width}"
    if image.size and image.max() >= rows:
        yield f"/image: a row outside 0 to {rows - 1}"
    if not np.isfinite(activation[exists]).all():
        yield "/activation: not finite where there is a hit"
    sides = window[exists]
    if not ((sides[:, :2] >= 0) & (sides[:, :2] <= sides[:, 2:]) & (sides[:, 2:] <= (height, width))).all():
        yield "/window: outside the network's input"
    seen = (sides[:, :2] < sides[:, 2:]).all(axis=1)  # a position's window may be all padding
    sides, begins = sides[seen], tops["frame"][...][exists][seen]
    if not ((sides[:, :2] >= begins) & (sides[:, 2:] <= begins + size)).all():
        yield "/window: outside the frame"
    for rule in RULES:
        if (rule in tops) != (f"{rule}_scale" in tops):
            yield f"/{rule}: only one of {rule} and {rule}_scale is present"
        elif rule in tops and tops[rule].shape[2:4] != size:
            yield f"/{rule}: size {tops[rule].shape[2:4]}, expected the frame's {size}"


def write_hits_csv(tops: Iterable[Tops], path: Path) -> Path:
    """Write one line per hit, kind by kind. NaN stays empty."""
    return write(path, COLUMNS, _rows(tops))


def write_tables(layer: Layer, folder: Path) -> Iterator[Path]:
    """Write <layer>.tops.csv, one line per hit, where the layer has hits."""
    tops = Tops.of(layer)
    if tops:
        yield write_hits_csv(tops.values(), folder / f"{layer.key}.tops.csv")


def _frame(tops: Iterable[Tops]) -> Any:
    """A pandas.DataFrame with one row per hit."""
    require("pandas", "to_pandas")
    import pandas

    return pandas.DataFrame(_rows(tops), columns=list(COLUMNS))


def _rows(tops: Iterable[Tops]) -> Iterator[tuple[object, ...]]:
    for kind in tops:
        layer = kind.layer
        name, labels = layer.attrs["layer"], layer["units/label"].asstr()[...].tolist()
        for row, unit in enumerate(kind.units.tolist()):
            for hit in kind.at(row).hits:
                where = (*hit.position, *hit.window, *hit.original)
                about = (hit.rank, hit.activation, hit.number, hit.key, hit.class_name)
                spaced = math.nan if hit.quantile is None else hit.quantile
                yield (name, unit, labels[row], kind.kind, *about, *where, spaced)
