"""What an atlas says about its network and its priors, without their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.errors import SettingsError, UnitError, nearest

Pair = tuple[int, int]  # (rows, columns)
Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right are the first outside

SHOWN_KINDS = ("conv", "deconv", "fc")  # the layers whose units an atlas shows unless others are asked for


@dataclass(frozen=True)
class LayerCard:
    """One layer: its map, its receptive fields, the window of its centre unit and what that costs.

    window : of the centre position, inside the image. open_window : the same as if the image went on.
    macs, bytes : multiply-accumulates of one forward pass of one item and bytes of its maps, by canvas
    ("window" or "image").
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

    def picture(self, canvas: str, image: Pair) -> Pair:
        """Height and width of a unit's picture."""
        top, left, bottom, right = self.window
        return (bottom - top, right - left) if canvas == "window" else image


@dataclass(frozen=True)
class NetworkCard:
    """A network without its weights: everything that plan, merge and tables need of it.

    mean : float32 (channel, 1 or height, 1 or width) as nested tuples. edges : pairs of node names.
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

    @property
    def image(self) -> Pair:
        return self.height, self.width

    def layer(self, name: str) -> LayerCard:
        """The layer of that name; UnitError names the nearest."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        raise UnitError(
            f"layer {name}: not in network {self.name}{nearest(name, names)}; "
            f"list layers with make layers MODEL={self.name}"
        )

    def names_classes(self, layer: str) -> bool:
        """Whether the layer's units are the classes: the class layer, or a softmax of as many units."""
        if self.class_layer is None or layer == self.class_layer:
            return layer == self.class_layer
        known = self.layer(layer)
        return known.kind == "softmax" and known.channels == self.layer(self.class_layer).channels

    def label(self, layer: str, unit: int) -> str:
        """The class that the unit stands for, or ""."""
        return self.labels[unit] if unit < len(self.labels) and self.names_classes(layer) else ""

    def record(self) -> dict[str, object]:
        """The card as plain JSON values."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, object]) -> NetworkCard:
        """The card of such values."""
        values = {key: _tuples(value) for key, value in record.items() if key != "layers"}
        layers = tuple(
            LayerCard(**{key: _tuples(value) for key, value in layer.items()})
            for layer in record["layers"]  # type: ignore[attr-defined]
        )
        return cls(layers=layers, **values)


@dataclass(frozen=True)
class PriorCard:
    """A prior without its weights.

    macs, bytes : of the generator's forward pass and of its maps, for one code.
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
        """Numbers of a code."""
        total = 1
        for length in self.code_shape:
            total *= length
        return total

    def check_fits(self, card: NetworkCard) -> None:
        """Raise SettingsError unless the network can read the prior's images."""
        where = f"prior {self.name}: for {card.name}"
        if self.height < card.height or self.width < card.width:
            raise SettingsError(
                f"{where}, its images of {self.height} x {self.width} pixels are smaller than the network's input of "
                f"{card.height} x {card.width}; choose another by priors=[…]"
            )
        if (self.order == "L") != (card.order == "L"):
            raise SettingsError(
                f"{where}, its images have channels {self.order}, the network reads {card.order}; choose another by "
                f"priors=[…]"
            )


def mean_colour(order: str, mean: Sequence) -> tuple[int, int, int]:
    """The mean colour, RGB: the fill of what a picture does not cover. mean : (channel, row, column), in `order`."""
    levels = np.array([np.mean(plane) for plane in mean])
    colour = {"RGB": levels, "BGR": levels[::-1], "L": np.repeat(levels, 3)}[order]
    red, green, blue = (int(round(float(level))) for level in np.clip(colour, 0, 255))
    return red, green, blue


def _tuples(value: object) -> object:
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value
