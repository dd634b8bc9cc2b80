"""Addresses of units: the layers and units that a request names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pipeline.card import LayerCard, NetworkCard
from pipeline.errors import UnitError, nearest

Units = dict[str, tuple[int, ...]]  # name of a layer → its units, ascending
Member = tuple[int, float]  # a unit and the weight of its activation
Members = tuple[Member, ...]  # units that are excited together

LONGEST_PATTERN = 1000  # letters of a layer's name or pattern; matching takes the square of it
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")  # of longer numbers, none is a unit


def select_units(card: NetworkCard, addresses: Sequence[str] | None) -> Units:
    """The units that the addresses name, layers in the order of the network.

    An address is LAYER or LAYER:UNITS. LAYER may hold * and ?; UNITS is * or a comma-separated list of
    numbers, ranges 3-17 (both ends included) and, in the class layer, labels. None means every unit of the
    layers that an atlas shows by default. A further name of a layer means the layer.
    Raises UnitError with the nearest match for an unknown layer, unit or label.
    """
    if addresses is None:
        wanted = [layer for layer in card.layers if layer.shown or layer.name == card.class_layer]
        return {layer.name: tuple(range(layer.channels)) for layer in wanted}
    chosen: dict[str, set[int]] = {}
    for address in addresses:
        pattern, numbers = split_address(card, str(address).strip())
        for layer in _layers(card, pattern):
            chosen.setdefault(layer.name, set()).update(_numbers(card, layer, numbers))
    return {layer.name: tuple(sorted(chosen[layer.name])) for layer in card.layers if layer.name in chosen}


def address(layer: str, units: Iterable[int]) -> str:
    """The shortest address of these units of a layer, as `conv5:0-63,70`."""
    runs: list[list[int]] = []
    for unit in sorted(units):
        if runs and unit == runs[-1][1] + 1:
            runs[-1][1] = unit
        else:
            runs.append([unit, unit])
    return f"{layer}:" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def unit_number(card: NetworkCard, layer: LayerCard, text: str) -> int:
    """The unit of a layer that a number or, in the class layer, a label names. Raises UnitError if there is none."""
    numbers = list(_numbers(card, layer, text))
    if len(numbers) != 1:
        raise UnitError(f"units {layer.name}:{text}: got {len(numbers)} units, expected one; give its number or label")
    return numbers[0]


def split_address(card: NetworkCard, text: str) -> tuple[str, str]:
    """Layer and units of an address; "*" if it names no units. The name of a layer may contain a colon."""
    names = {layer.name for layer in card.layers}
    if text in names or ":" not in text:
        return text, "*"
    pattern, _, numbers = text.rpartition(":")
    return pattern, numbers


def _layers(card: NetworkCard, pattern: str) -> list[LayerCard]:
    if len(pattern) > LONGEST_PATTERN:
        raise UnitError(f"units {pattern}: {len(pattern)} letters, more than {LONGEST_PATTERN}; name one layer")
    exact = [layer for layer in card.layers if layer.name == pattern]
    if exact:
        return [card.layer(layer.same_as) if layer.same_as else layer for layer in exact]
    if not any(sign in pattern for sign in "*?["):
        card.layer(pattern)  # raises with the nearest match
    matched = [layer for layer in card.layers if layer.has_units and fnmatchcase(layer.name, pattern)]
    if not matched:
        names = [layer.name for layer in card.layers]
        raise UnitError(
            f"units {pattern}: matches no layer of {card.name}{nearest(pattern.strip('*?'), names)}; "
            "make layers, with the same MODEL and ARGS, lists them"
        )
    return matched


def _numbers(card: NetworkCard, layer: LayerCard, text: str) -> Iterable[int]:
    if text == "*":
        return range(layer.channels)
    units: set[int] = set()
    for piece in _pieces(card, layer, text):
        piece = piece.strip()
        match = _RANGE.fullmatch(piece)
        if match is None:
            units.add(_labelled(card, layer, piece))
            continue
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first or last >= layer.channels:
            raise UnitError(
                f"units {layer.name}:{piece}: layer {layer.name} has units 0-{layer.channels - 1}; "
                f"ask for some of these"
            )
        units.update(range(first, last + 1))
    return units


def _pieces(card: NetworkCard, layer: LayerCard, text: str) -> Sequence[str]:
    """The text split at its commas, unless it is a class label, whose names commas may separate."""
    labels = card.labels if card.names_classes(layer.name) else ()
    return [text] if text.casefold() in (label.casefold() for label in labels if "," in label) else text.split(",")


def _labelled(card: NetworkCard, layer: LayerCard, label: str) -> int:
    """The unit of a layer of classes whose label, or one of whose names, this is."""
    labels = card.labels if card.names_classes(layer.name) else ()
    for unit, text in enumerate(labels):
        names = [text, *text.split(",")]
        if label.casefold() in (name.strip().casefold() for name in names):
            return unit
    first_names = [text.split(",")[0] for text in labels]
    raise UnitError(
        f"units {layer.name}:{label}: not a number, a range or a label of the layer{nearest(label, first_names)}; "
        f"write for example {layer.name}:0-{layer.channels - 1}, a whole label or its first name"
    )
