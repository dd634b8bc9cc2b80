"""Addresses of units: which layers, and which units of them, a request means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pipeline.card import SHOWN_KINDS, LayerCard, NetworkCard
from pipeline.errors import UnitError, nearest

Units = dict[str, tuple[int, ...]]  # name of a layer → its units, rising
Member = tuple[int, float]  # a unit and the weight of its activation
Members = tuple[Member, ...]  # what is excited together

_RANGE = re.compile(r"(\d+)(?:-(\d+))?$")


def select_units(card: NetworkCard, addresses: Sequence[str] | None) -> Units:
    """The units that the addresses name, layers in the order of the network.

    An address is LAYER or LAYER:UNITS. LAYER may hold * and ?; UNITS is * or a comma-separated list of
    numbers, ranges 3-17 (both ends included) and, in the class layer, labels. None means every unit of the
    convolutional and fully connected layers and of the class layer.
    Raises UnitError with the near match for a layer, unit or label that is not there.
    """
    if addresses is None:
        wanted = [layer for layer in card.layers if layer.kind in SHOWN_KINDS or layer.name == card.class_layer]
        return {layer.name: tuple(range(layer.channels)) for layer in wanted}
    found: dict[str, set[int]] = {}
    for address in addresses:
        pattern, numbers = split_address(card, str(address).strip())
        for layer in _layers(card, pattern):
            found.setdefault(layer.name, set()).update(_numbers(card, layer, numbers))
    return {layer.name: tuple(sorted(found[layer.name])) for layer in card.layers if layer.name in found}


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
    """The unit of a layer that a number or, in the class layer, a label names; UnitError if there is none."""
    numbers = list(_numbers(card, layer, text))
    if len(numbers) != 1:
        raise UnitError(f"units {layer.name}:{text}: got {len(numbers)} units, expected one; give its number or label")
    return numbers[0]


def split_address(card: NetworkCard, text: str) -> tuple[str, str]:
    """Layer and units of an address, "*" where it names none; a layer's own name may hold a colon."""
    names = {layer.name for layer in card.layers}
    if text in names or ":" not in text:
        return text, "*"
    pattern, _, numbers = text.rpartition(":")
    return pattern, numbers


def _layers(card: NetworkCard, pattern: str) -> list[LayerCard]:
    exact = [layer for layer in card.layers if layer.name == pattern]
    if exact:
        return exact
    if not any(sign in pattern for sign in "*?["):
        card.layer(pattern)  # raises with the near match
    matched = [layer for layer in card.layers if layer.has_units and fnmatchcase(layer.name, pattern)]
    if not matched:
        names = [layer.name for layer in card.layers]
        raise UnitError(
            f"units {pattern}: matches no layer of {card.name}{nearest(pattern.strip('*?'), names)}; "
            f"list layers with make layers MODEL={card.name}"
        )
    return matched


def _numbers(card: NetworkCard, layer: LayerCard, text: str) -> Iterable[int]:
    if text == "*":
        return range(layer.channels)
    units: set[int] = set()
    for piece in _pieces(card, layer, text):
        piece = piece.strip()
        match = _RANGE.match(piece)
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
    """The text at its commas; whole where it is a label of several names, which has commas of its own."""
    labels = card.labels if card.names_classes(layer.name) else ()
    return [text] if text.casefold() in (label.casefold() for label in labels if "," in label) else text.split(",")


def _labelled(card: NetworkCard, layer: LayerCard, label: str) -> int:
    """The unit of a layer of classes whose label (or its first name) this is."""
    labels = card.labels if card.names_classes(layer.name) else ()
    for unit, known in enumerate(labels):
        names = [known, *known.split(",")]
        if label.casefold() in (name.strip().casefold() for name in names):
            return unit
    first_names = [known.split(",")[0] for known in labels]
    raise UnitError(
        f"units {layer.name}:{label}: not a number, a range or a label of the layer{nearest(label, first_names)}; "
        f"write for example {layer.name}:0-{layer.channels - 1}, a label whole or by the first of its names"
    )
