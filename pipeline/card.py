"""Cards: what plans, merges and pages need of a network or a prior, without its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import get_type_hints

import numpy as np

from pipeline.errors import SettingsError, UnitError, nearest
from pipeline.records import fits

Pair = tuple[int, int]  # (rows, columns)
Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right are the first outside

_ONCE_SHOWN = ("conv", "deconv", "fc")  # kinds of layers that a card of before `shown` shows by default


@dataclass(frozen=True)
class LayerCard:
    """One layer: its map, its receptive fields, the window of its centre position and the cost of a forward pass.

    window : input pixels that the centre position depends on, clipped to the image.
    open_window : the same window, not clipped.
    measure : the value that an activation of the layer is, in words.
    shown : whether an atlas shows the layer's units by default.
    same_as : the layer whose values these are too, under another name; "" for a value's first name.
    window_status : "exact", "probed", "upper bound" or "whole image": what is known of the windows.
    macs : canvas ("window" or "image") → multiply-accumulates of one item's forward pass.
    bytes : canvas → bytes of the maps of that pass.
    """

    name: str
    kind: str
    channels: int
    height: int
    width: int
    centre: Pair
    window_size: Pair
    window_stride: Pair
    window_offset: Pair
    window: Box
    open_window: Box
    measure: str
    has_units: bool
    macs: Mapping[str, int]
    bytes: Mapping[str, int]
    shown: bool
    same_as: str = ""
    window_status: str = "exact"

    def picture(self, canvas: str, image: Pair) -> Pair:
        """Height and width of a unit's picture."""
        top, left, bottom, right = self.window
        return (bottom - top, right - left) if canvas == "window" else image


@dataclass(frozen=True)
class NetworkCard:
    """A network without its weights: everything that plan, merge and tables need of it.

    mean : float32 (channel, 1 or height, 1 or width), as nested tuples.
    interpolation : filter that resizes photos to the input; records of before it are of bilinear.
    edges : pairs of node names.
    class_layer_guessed : whether nothing says that the class layer's units are classes.
    """

    name: str
    digest: str
    layers: tuple[LayerCard, ...]
    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    class_layer: str | None
    height: int
    width: int
    order: str
    mean: tuple[tuple[tuple[float, ...], ...], ...]
    gain: tuple[float, ...]
    class_layer_guessed: bool = False
    interpolation: str = "bilinear"

    @property
    def image(self) -> Pair:
        return self.height, self.width

    @cached_property
    def below(self) -> Mapping[str, frozenset[str]]:
        """Node → all nodes that it depends on."""
        parents: dict[str, list[str]] = {}
        for parent, node in self.edges:
            parents.setdefault(node, []).append(parent)
        below: dict[str, frozenset[str]] = {}
        for node in self.nodes:  # parents first
            direct = parents.get(node, [])
            below[node] = frozenset(direct).union(*(below[parent] for parent in direct))
        return below

    def layer(self, name: str) -> LayerCard:
        """The layer of that name. Raises UnitError with the nearest name if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        raise UnitError(
            f"layer {name}: not in network {self.name}{nearest(name, names)}; "
            "make layers, with the same MODEL and ARGS, lists them"
        )

    def names_classes(self, layer: str) -> bool:
        """Whether the layer's units are the classes: the class layer, or a softmax with as many units."""
        if self.class_layer is None or layer == self.class_layer:
            return layer == self.class_layer
        candidate = self.layer(layer)
        return candidate.kind == "softmax" and candidate.channels == self.layer(self.class_layer).channels

    def label(self, layer: str, unit: int) -> str:
        """Name of the unit's class, or ""."""
        return self.labels[unit] if unit < len(self.labels) and self.names_classes(layer) else ""

    def record(self) -> dict[str, object]:
        """The card as plain JSON values; bilinear interpolation is left out, as in records of before it."""
        record = asdict(self)
        if self.interpolation == "bilinear":
            del record["interpolation"]
        return record

    @classmethod
    def of_record(cls, record: Mapping[str, object]) -> NetworkCard:
        """The inverse of `record`. Raises ValueError, TypeError, KeyError or AttributeError for a damaged one."""
        values = {key: _tuples(value) for key, value in record.items() if key != "layers"}
        layers = tuple(
            LayerCard(**{"shown": layer["kind"] in _ONCE_SHOWN} | {key: _tuples(value) for key, value in layer.items()})
            for layer in record["layers"]  # type: ignore[attr-defined]
        )
        card = cls(layers=layers, **values)
        for part in (card, *layers):
            hints = get_type_hints(type(part))
            wrong = next((name for name, value in vars(part).items() if not fits(hints[name], value)), None)
            if wrong is not None:
                raise ValueError(f"the card of {part.name} has {wrong} {getattr(part, wrong)!r}")
        return card


@dataclass(frozen=True)
class PriorCard:
    """A prior without its weights.

    macs : multiply-accumulates of the generator's forward pass for one code.
    bytes : bytes of the maps of that pass.
    """

    name: str
    digest: str
    network: str
    network_digest: str
    code_layer: str
    code_shape: tuple[int, ...]
    rectified: bool
    height: int
    width: int
    order: str
    macs: int
    bytes: int

    @property
    def entries(self) -> int:
        """Number of entries of a code."""
        total = 1
        for length in self.code_shape:
            total *= length
        return total

    def check_fits(self, card: NetworkCard) -> None:
        """Raise SettingsError unless the network can read the prior's images."""
        if self.height < card.height or self.width < card.width:
            raise SettingsError(
                f"prior {self.name}: its images of {self.height} x {self.width} pixels are smaller than the input of "
                f"{card.name}, {card.height} x {card.width}; choose another by priors=[…]"
            )
        if (self.order == "L") != (card.order == "L"):
            raise SettingsError(
                f"prior {self.name}: its images have channels {self.order}, {card.name} reads {card.order}; choose "
                f"another by priors=[…]"
            )


def mean_colour(order: str, mean: Sequence) -> tuple[int, int, int]:
    """The mean colour, RGB, which fills what a picture does not cover.

    order : channel order of `mean`.
    mean : (channel, row, column), pixel levels.
    """
    levels = np.array([np.mean(plane) for plane in mean])
    colour = {"RGB": levels, "BGR": levels[::-1], "L": np.repeat(levels, 3)}[order]
    red, green, blue = (int(round(float(level))) for level in np.clip(colour, 0, 255))
    return red, green, blue


def _tuples(value: object) -> object:
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value
